"""The PatternStore contract: vectors under keys, found by nearness."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    import os

    import numpy as np
    from numpy.typing import ArrayLike, NDArray

__all__ = ["METRICS", "NO_KEY", "Hits", "PatternStore", "SnapshotStore"]

METRICS = ("cosine", "dot", "l2")
"""``cosine``: dot product of unit vectors; ``dot``: dot product; ``l2``: minus the squared Euclidean distance."""

NO_KEY = 2**64 - 1
"""Fills ``Hits.keys`` where there were fewer than ``k`` rows; never a key of its own."""


class Hits(NamedTuple):
    """The answer of a search, as arrays.

    Attributes
    ----------
    keys : ndarray of uint64, shape (k,) or (m, k)
        Keys, best first; `NO_KEY` where there was nothing left to return.
    scores : ndarray of float32, shape (k,) or (m, k)
        Scores, larger is better; ``-inf`` beside `NO_KEY`. Ties are in ascending order of key.
    """

    keys: NDArray[np.uint64]
    scores: NDArray[np.float32]


@runtime_checkable
class PatternStore(Protocol):
    """Vectors under 64-bit keys, searched by nearness.

    A store holds nothing that cannot be rebuilt from storage. It is made by a factory
    ``factory(*, dim: int, metric: str, **options)`` and is empty then.

    Rules that every store keeps, and the conformance kit checks:

    - Arrays given to it may be read-only, non-contiguous or of another numeric dtype; they are never changed, and
      changing them afterwards does not change the store.
    - A call that raises has changed nothing.
    - A score is a function of the query and the one row: the same row gives the same score whatever else is stored,
      alone or in a batch, to within the capability ``score_tolerance`` (1e-5 unless declared) of the largest magnitude
      involved (1 for ``cosine``, the product of the norms for ``dot``, the square of their sum for ``l2``). Ties are
      ties of the returned float32 score.
    """

    @property
    def dim(self) -> int:
        """Number of dimensions."""
        ...

    @property
    def metric(self) -> str:
        """One of `METRICS`."""
        ...

    def __len__(self) -> int:
        """Return the number of keys stored. O(1)."""
        ...

    def keys(self) -> NDArray[np.uint64]:
        """Return the stored keys in ascending order, as a copy, shape (n,)."""
        ...

    def add(self, keys: ArrayLike, vectors: ArrayLike) -> None:
        """Store vectors under keys; a key that is there already gets the new vector.

        The effect is that of adding the rows one at a time: of equal keys in one call the last row counts.
        Rows are searchable when the call returns.

        Parameters
        ----------
        keys : array of uint64, shape (n,)
            0 .. 2**64 - 2. ``n`` may be 0.
        vectors : array of float32, shape (n, dim)
            Finite. For ``cosine`` no row may be all zeros.

        Raises
        ------
        KeyRangeError, DimensionError, NonFiniteError, InputError
            Bad input; nothing was stored.
        CapabilityError
            A key exists and the store is not ``mutable``.
        """
        ...

    def remove(self, keys: ArrayLike) -> int:
        """Remove keys; unknown ones are passed over. Return how many distinct ones were there.

        Parameters
        ----------
        keys : array of uint64, shape (n,)

        Raises
        ------
        KeyRangeError
            Bad key; nothing was removed.
        CapabilityError
            The store is not ``mutable``.
        """
        ...

    def search(self, queries: ArrayLike, k: int = 10, *, among: ArrayLike | None = None) -> Hits:
        """Find the ``k`` nearest rows of each query.

        Parameters
        ----------
        queries : array of float32, shape (dim,) or (m, dim)
            Finite; for ``cosine`` not all zeros. ``m`` may be 0.
        k : int
            How many, at least 1. May exceed the number of rows: the rest is `NO_KEY` and ``-inf``.
        among : array of uint64, shape (a,), optional
            Only these keys may be returned (unknown ones are passed over). Needs the capability ``filtered``.

        Returns
        -------
        Hits
            Arrays of shape (k,) for one query of shape (dim,), else (m, k).

        Raises
        ------
        DimensionError, NonFiniteError, InputError
            Bad input.
        CapabilityError
            ``among`` was given and the store is not ``filtered``.
        """
        ...


@runtime_checkable
class SnapshotStore(PatternStore, Protocol):
    """A pattern store that can be kept in a file and be there again sooner than its vectors could be added.

    What a store declares with the capability ``snapshots``. The file is a cache: whoever loads it has the vectors, too.
    """

    def save(self, path: str | os.PathLike[str]) -> str:
        """Write everything to a file, atomically: a crash leaves the old file or the new one.

        Returns
        -------
        str
            A name of the content: equal names, equal contents.

        Raises
        ------
        ReadOnlyError
            The file cannot be written.
        """
        ...

    def load(self, path: str | os.PathLike[str]) -> str:
        """Replace all that is stored by what a file holds; the store then answers as the saved one did.

        The file is not trusted: however it was changed, it is refused, or the answers are those of the saved store.

        Returns
        -------
        str
            The name of the content, as ``save`` returned it.

        Raises
        ------
        InputError
            The file is absent, damaged, or of a store that was made with other options; nothing was changed.
        DimensionError
            It is of a store of another dimension; nothing was changed.
        """
        ...
