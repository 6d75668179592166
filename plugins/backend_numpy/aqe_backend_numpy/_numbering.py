"""Numbers in place of the keys of states and actions, many at once."""

from __future__ import annotations

import struct
from contextlib import suppress
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

__all__ = ["Key", "Numbering", "packed"]

Key: TypeAlias = str | int

N = TypeVar("N", np.int64, np.float64)

MAX_DENSE = 1 << 20  # integer keys below it are in an array as well (8 MiB at most)


class Numbering:
    """Numbers of keys, in a dict; those of small integer keys in an array, too, where an array of keys finds them.

    Parameters
    ----------
    reserve : callable
        Returns the numbers, above 0, of so many new keys.

    Attributes
    ----------
    of : dict
        Number by key, in order of appearance.
    """

    def __init__(self, reserve: Callable[[int], range]) -> None:
        self.of: dict[Key, int] = {}
        self._reserve = reserve
        self._small = np.zeros(0, np.int64)  # number by key; 0: none

    def find(self, keys: NDArray[np.int64] | list[Key]) -> NDArray[np.int64]:
        """Return the number of each key, 0 where there is none."""
        small = self._as_small(keys)
        if small is not None:
            return self._small.take(small, mode="clip")  # all are in range; to "clip" takes less time than to look
        if isinstance(keys, list):
            with suppress(KeyError):
                return packed(_looked_up(self.of, keys), np.int64)
            return packed([self.of.get(key, 0) for key in keys], np.int64)
        distinct, inverse = np.unique(keys, return_inverse=True)
        return self.find(distinct.tolist())[inverse]

    def add(self, keys: NDArray[np.int64] | list[Key]) -> NDArray[np.int64]:
        """Return the number of each key; new ones get theirs in order of appearance."""
        small = self._as_small(keys)
        if small is not None:
            return self._add_small(small)
        if isinstance(keys, list):
            with suppress(KeyError):
                return packed(_looked_up(self.of, keys), np.int64)
            self._enter(dict.fromkeys(keys))
            return packed(_looked_up(self.of, keys), np.int64)
        distinct, at, inverse = np.unique(keys, return_index=True, return_inverse=True)
        order = np.argsort(at)
        found = np.empty(distinct.size, np.int64)
        found[order] = self.add(distinct[order].tolist())
        return found[inverse]

    def _add_small(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        numbers = self._small.take(keys, mode="clip")
        if np.count_nonzero(numbers) < numbers.size:
            missing = np.flatnonzero(numbers == 0)
            asked = keys[missing]
            # Of equal indices the last assignment stays: written backwards, each key keeps its first position.
            order, first = np.arange(asked.size), np.empty_like(self._small)
            first[asked[::-1]] = order[::-1]
            new = asked[first[asked] == order]
            # Ctrl-C may have come after the next line once: whoever has a number then keeps it.
            given = [*map(self.of.setdefault, new.tolist(), self._reserve(new.size))]
            self._small[new] = packed(given, np.int64)
            numbers[missing] = self._small[asked]
        return numbers

    def add_one(self, key: Key) -> int:
        """Return the number of a key, a new one if need be."""
        if key not in self.of:
            self._enter([key])
        return self.of[key]

    def _enter(self, keys: Iterable[Key]) -> None:
        """Give a number to those of distinct keys that have none."""
        new = [key for key in keys if key not in self.of]
        self.of.update(zip(new, self._reserve(len(new)), strict=True))
        small = [key for key in keys if type(key) is int and 0 <= key < MAX_DENSE]
        if small:
            self._reach(max(small))
            self._small[packed(small, np.int64)] = packed(_looked_up(self.of, small), np.int64)

    def _as_small(self, keys: NDArray[np.int64] | list[Key]) -> NDArray[np.int64] | None:
        """Return the keys as an array if they are small integers all; then there is a place for each."""
        if isinstance(keys, list):
            if not keys or type(keys[0]) is not int:
                return None
            try:
                keys = packed(cast("list[int]", keys), np.int64)
            except struct.error:  # a text is among them
                return None
        high = int(np.maximum.reduce(keys.view(np.uint64)))  # negative keys look huge
        if high >= MAX_DENSE:
            return None
        self._reach(high)
        return keys

    def _reach(self, high: int) -> None:
        if high >= self._small.size:
            grown = np.zeros(max(1024, 1 << high.bit_length()), np.int64)
            grown[: self._small.size] = self._small
            self._small = grown


def packed(numbers: Sequence[float], dtype: type[N]) -> NDArray[N]:
    """Return Python's numbers as an array of int64 or float64; a third of the time that `numpy.fromiter` takes."""
    array = np.empty(len(numbers), dtype)
    struct.pack_into(f"{len(numbers)}{array.dtype.char}", array.data, 0, *numbers)
    return array


def _looked_up(numbers: dict[Key, int], keys: Sequence[Any]) -> Sequence[int]:
    # What itemgetter does it does several times as fast as a loop; of one key it returns no tuple.
    return itemgetter(*keys)(numbers) if len(keys) > 1 else [numbers[key] for key in keys]
