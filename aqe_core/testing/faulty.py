"""Engines that are wrong in one known way each, to prove that the checks see it.

`faults` returns the table: what is wrong, how to make it, what it declares, and which checks must catch it. A kit that
finds nothing in these would find nothing anywhere.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from aqe_core.testing.backend_bandit import RidgeBandit
from aqe_core.testing.backend_learner import DictLearner
from aqe_core.testing.backend_policy import DictPolicy
from aqe_core.testing.backend_ranker import REFERENCE_RANKER, ShareRanker
from aqe_core.testing.backend_text_index import PlainTextIndex
from aqe_core.testing.backends import (
    REFERENCE_ANALYZER,
    REFERENCE_BANDIT,
    REFERENCE_EMBEDDER,
    REFERENCE_LEARNER,
    REFERENCE_POLICY,
    REFERENCE_STORE,
    REFERENCE_TEXT_INDEX,
    BruteForceStore,
    HashEmbedder,
    PlainAnalyzer,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Borrowed", "BorrowedQuantizer", "Fault", "faults", "wrong"]


class Borrowed:
    """The built-in policy, or with ``capacity`` the built-in replay, to be spoilt in a subclass."""

    def __init__(self, **options: Any) -> None:
        from aqe_core import engines  # only these need it

        opened: Any = engines.open_replay if "capacity" in options else engines.open_learner
        self.inner = opened("numpy", **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def __len__(self) -> int:
        return len(self.inner)


class BorrowedQuantizer(Borrowed):
    """A built-in quantizer, to be spoilt in a subclass."""

    def __init__(self, **options: Any) -> None:
        from aqe_core import engines  # as above

        self.inner: Any = engines.open_quantizer("numpy", **options)


@attrs.frozen
class Fault:
    """One deliberately wrong engine.

    Attributes
    ----------
    engine : type
        Its class; the docstring says what is wrong.
    kind : str
        Kind of engine.
    caught_by : tuple of str
        Checks of that kind, each of which must fail for it.
    capabilities : StoreCapabilities, LearnerCapabilities, AnalyzerCapabilities or EmbedderCapabilities
        What it declares.
    """

    engine: type
    kind: str
    caught_by: tuple[str, ...]
    capabilities: Any

    def __str__(self) -> str:
        """Return the name of the class."""
        return self.engine.__name__


_FAMILIES: tuple[tuple[type, str, Any], ...] = (
    (BruteForceStore, "pattern_store", REFERENCE_STORE),
    (DictLearner, "learner", REFERENCE_LEARNER),
    (DictPolicy, "learner", REFERENCE_POLICY),
    (RidgeBandit, "learner", REFERENCE_BANDIT),
    (BorrowedQuantizer, "pattern_store", REFERENCE_STORE),
    (Borrowed, "learner", REFERENCE_LEARNER),
    (ShareRanker, "ranker", REFERENCE_RANKER),
    (PlainAnalyzer, "analyzer", REFERENCE_ANALYZER),
    (HashEmbedder, "embedder", REFERENCE_EMBEDDER),
    (PlainTextIndex, "text_index", REFERENCE_TEXT_INDEX),
)

_faults: list[Fault] = []

_T = TypeVar("_T", bound=type)


def wrong(*caught_by: str, **declared: Any) -> Callable[[_T], _T]:
    """Enter a class derived from a reference engine into the table.

    Parameters
    ----------
    *caught_by : str
        Names of the checks that must fail.
    **declared
        Capabilities that differ from those of the reference engine.
    """

    def enter(engine: _T) -> _T:
        kind, reference = next((kind, caps) for base, kind, caps in _FAMILIES if issubclass(engine, base))
        _faults.append(Fault(engine, kind, caught_by, attrs.evolve(reference, **declared)))
        return engine

    return enter


def faults() -> tuple[Fault, ...]:
    """Return all deliberately wrong engines."""
    for module in (
        "faulty_stores",
        "faulty_store_inputs",
        "faulty_store_snapshots",
        "faulty_quantizers",
        "faulty_learners",
        "faulty_policies",
        "faulty_bandits",
        "faulty_vector_policies",
        "faulty_rankers",
        "faulty_others",
        "faulty_text_indexes",
    ):
        import_module(f"aqe_core.testing.{module}")
    return tuple(_faults)
