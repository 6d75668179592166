"""The state of an engine in a form that any backend and the storage can hold: JSON values and arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["EngineState"]


@attrs.frozen(kw_only=True, eq=False)
class EngineState:
    """What an engine learned, without any of its code.

    Attributes
    ----------
    kind : str
        What it is a state of, e.g. ``learner/q-learning/1``; the number is the layout's version.
    manifest : mapping of str to JSON value
        Parameters, names, the generator's state.
    arrays : mapping of str to ndarray
        Numeric arrays (never of dtype object).
    """

    kind: str
    manifest: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]] = attrs.field(factory=dict)
