"""The Embedder contract: texts to vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from aqe_core.state import EngineState

__all__ = ["Document", "Embedder"]


class Document(NamedTuple):
    """What is embedded of a pattern: two fields that an embedder may weight differently.

    Attributes
    ----------
    name : str
        The test's name; may be empty.
    text : str
        Everything else.
    """

    name: str
    text: str


@runtime_checkable
class Embedder(Protocol):
    """Texts to unit vectors. Made by a factory ``factory(**options)``.

    Vectors are comparable only when they were made under the same ``fingerprint``; whoever stores vectors stores it
    beside them. No vector is all zeros, whatever the text.
    """

    @property
    def dim(self) -> int:
        """Number of dimensions."""
        ...

    @property
    def fingerprint(self) -> str:
        """Names algorithm, version, parameters and fitted state; changes whenever a vector could."""
        ...

    def fit(self, documents: Sequence[Document]) -> None:
        """Learn from the collection (an idf table, say). Does nothing for an embedder that has nothing to learn."""
        ...

    def embed(self, documents: Sequence[Document]) -> NDArray[np.float32]:
        """Embed what is stored. Returns shape (n, dim), rows of unit length, in order."""
        ...

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed what is asked. Returns shape (n, dim), rows of unit length, in order."""
        ...

    def export_state(self) -> EngineState:
        """Return the fitted state."""
        ...

    def import_state(self, state: EngineState) -> None:
        """Replace the fitted state.

        Raises
        ------
        InputError
            It is not a state of this embedder; nothing was changed.
        """
        ...
