"""What the adapters share: keys of dense rows, and the order of hits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_core.contracts.pattern_store import Hits
from aqe_core.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["KeyList", "as_count", "cosine_rows", "in_order", "last_of_each"]


def as_count(value: Any, what: str, least: int = 1, most: int = 1_000_000) -> int:
    """Return an option that counts something."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not least <= value <= most:
        raise InputError(
            f"{what} is {value!r}, but must be an integer in {least} .. {most}.", fix="choose one in range."
        )
    return int(value)


def cosine_rows(rows: NDArray[np.float32], metric: str) -> NDArray[np.float32]:
    """Return rows brought to unit length for ``cosine``, as they are else.

    Computed in float64: these libraries square in float32, which underflows below 1e-23 and overflows above 1e19.
    """
    if metric != "cosine":
        return rows
    wide = rows.astype(np.float64)
    wide /= np.sqrt(np.einsum("nd,nd->n", wide, wide))[:, None]
    return wide.astype(np.float32)


def in_order(keys: NDArray[np.uint64], scores: NDArray[np.float32]) -> Hits:
    """Return hits, shape (m, k), by descending score; of equal ones the lower key first."""
    order = np.lexsort((keys, -scores), axis=1)
    return Hits(np.take_along_axis(keys, order, axis=1), np.take_along_axis(scores, order, axis=1))


def last_of_each(keys: NDArray[np.uint64], rows: NDArray[np.float32]) -> tuple[NDArray[np.uint64], NDArray[np.float32]]:
    """Return distinct keys, ascending, each with its last row."""
    distinct, first = np.unique(keys[::-1], return_index=True)
    return distinct, rows[len(keys) - 1 - first]


class KeyList:
    """Keys of rows that a library knows by their position."""

    def __init__(self) -> None:
        self._chunks: list[NDArray[np.uint64]] = []
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def append(self, keys: NDArray[np.uint64]) -> range:
        """Add keys; return their positions."""
        self._chunks.append(keys.copy())
        start, self._size = self._size, self._size + len(keys)
        return range(start, self._size)

    def array(self) -> NDArray[np.uint64]:
        """Return the keys in order of position."""
        if len(self._chunks) != 1:
            self._chunks = [np.concatenate([np.empty(0, np.uint64), *self._chunks])]
        return self._chunks[0]

    def sorted(self) -> NDArray[np.uint64]:
        """Return the keys in ascending order, as a copy."""
        return np.sort(self.array())
