"""NumPy's generator as numbers: what a saved state holds of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_core.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["as_count", "as_seed", "restored", "words_of"]

_LOW = 2**64 - 1


def as_count(value: Any, what: str, low: int = 1) -> int:
    """Return a count as an int of at least ``low``."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not low <= value < 2**53:
        raise InputError(f"{what} is {value!r}, but must be an integer of at least {low}.", fix="choose one in range.")
    return int(value)


def as_seed(seed: Any) -> int:
    """Return a seed as an int in 0 .. 2**64 - 1."""
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**64:
        raise InputError(f"seed is {seed!r}, but must be an integer in 0 .. 2**64 - 1.", fix="pass e.g. seed=0.")
    return int(seed)


def words_of(generator: np.random.Generator) -> NDArray[np.uint64]:
    """Return the state of a PCG64 generator, shape (6,): state and increment, high word first, and the spare half."""
    whole: Any = generator.bit_generator.state
    state, increment = whole["state"]["state"], whole["state"]["inc"]
    halves = (state >> 64, state & _LOW, increment >> 64, increment & _LOW)
    return np.array([*halves, whole["has_uint32"], whole["uinteger"]], np.uint64)


def restored(words: NDArray[np.uint64]) -> np.random.Generator:
    """Return the generator that `words_of` looked at."""
    if words.shape != (6,) or words.dtype != np.uint64:
        raise InputError("the generator is not six uint64.", fix="take a state exported by aqe.")
    high, low, increment_high, increment_low, spare, number = words.tolist()
    if spare > 1 or number >= 2**32:
        raise InputError("this is not the state of a generator.", fix="take a state exported by aqe.")
    bits = np.random.PCG64()
    bits.state = {
        "bit_generator": "PCG64",
        "state": {"state": (high << 64) | low, "inc": (increment_high << 64) | increment_low},
        "has_uint32": spare,
        "uinteger": number,
    }
    return np.random.Generator(bits)
