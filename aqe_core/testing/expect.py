"""What checks say things with: each raises `AssertionError` with a message that needs no assertion rewriting."""

from __future__ import annotations

import copy
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_core.errors import AqeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = [
    "close",
    "equal",
    "raises",
    "raises_alike",
    "require",
    "run_threads",
    "same_array",
    "same_state",
    "unchanged",
]


def require(condition: object, message: str) -> None:
    """Raise unless the condition is true (also under ``python -O``)."""
    if not condition:
        raise AssertionError(message)


def equal(actual: object, expected: object, what: str) -> None:
    """Require equality of two plain values."""
    require(actual == expected, f"{what} is {actual!r}, expected {expected!r}")


def same_array(actual: Any, expected: Any, what: str) -> None:
    """Require an array of the same dtype, shape and values (NaN equals NaN)."""
    wanted = np.asarray(expected)
    require(isinstance(actual, np.ndarray), f"{what} is a {type(actual).__name__}, expected an ndarray")
    equal(actual.dtype, wanted.dtype, f"dtype of {what}")
    equal(actual.shape, wanted.shape, f"shape of {what}")
    same = np.array_equal(actual, wanted, equal_nan=wanted.dtype.kind == "f")
    require(same, f"{what} is {_short(actual)}, expected {_short(wanted)}")


def close(actual: Any, expected: Any, tolerance: Any, what: str) -> None:
    """Require equal shapes and values within an absolute tolerance (NaN equals NaN)."""
    values, wanted = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    equal(values.shape, wanted.shape, f"shape of {what}")
    with np.errstate(invalid="ignore"):
        near = (values == wanted) | (np.abs(values - wanted) <= tolerance)
    near |= np.isnan(values) & np.isnan(wanted)
    if not near.all():
        where = tuple(int(i) for i in np.argwhere(~near)[0])
        raise AssertionError(
            f"{what} is {values[where]!r} at {where}, expected {wanted[where]!r} within {np.max(tolerance):.3g}"
        )


def raises(error: type[BaseException], call: Callable[[], object], what: str) -> BaseException:
    """Require that a call raises exactly this class of error, and return it."""
    try:
        answer = call()
    except Exception as raised:
        caught = raised
    else:
        raise AssertionError(f"{what} returns {answer!r:.200}, expected {error.__name__}")
    require(type(caught) is error, f"{what} raises {type(caught).__name__} ({caught}), expected {error.__name__}")
    return caught


def raises_alike(reference: Callable[[], object], call: Callable[[], object], what: str) -> None:
    """Require that a call raises the error, in class and words, that `aqe_core.validate` raises for the same input."""
    try:
        reference()
    except AqeError as raised:
        wanted = raised
    else:
        raise AssertionError(f"{what}: aqe_core.validate accepts it, so this check is wrong")
    caught = raises(type(wanted), call, what)
    require(str(caught) == str(wanted), f"{what} says {str(caught)!r}, expected {str(wanted)!r}")


def same_state(actual: Any, expected: Any, what: str) -> None:
    """Require two engine states to be equal: kind, manifest, and arrays bit for bit."""
    equal(actual.kind, expected.kind, f"kind of {what}")
    equal(dict(actual.manifest), dict(expected.manifest), f"manifest of {what}")
    equal(sorted(actual.arrays), sorted(expected.arrays), f"names of arrays of {what}")
    for name, array in expected.arrays.items():
        same_array(actual.arrays[name], array, f"array {name!r} of {what}")


@contextmanager
def unchanged(*arguments: Any) -> Iterator[None]:
    """Require that arrays, or lists, hold the same after the block as before it."""
    before = [copy.deepcopy(argument) for argument in arguments]
    yield
    for argument, was in zip(arguments, before, strict=True):
        array = isinstance(was, np.ndarray)
        same = np.array_equal(argument, was, equal_nan=was.dtype.kind == "f") if array else argument == was
        require(same, f"an argument was changed: it was {was!r:.80}")


def run_threads(
    background: Sequence[Callable[[], None]],
    work: Sequence[Callable[[], None]],
    stop: threading.Event,
    failures: list[str],
) -> None:
    """Run work in threads beside background threads that end when ``stop`` is set; failures are collected.

    A hang of two minutes is a failure. The interpreter switches threads as often as it can, so that races show.
    """

    def guarded(function: Callable[[], None]) -> None:
        try:
            function()
        except BaseException as error:  # a panic of a native engine is no Exception
            failures.append(f"{type(error).__name__}: {error}")

    threads = [threading.Thread(target=guarded, args=(one,), daemon=True) for one in (*work, *background)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads[: len(work)]:
            thread.join(timeout=120.0)
        stop.set()
        for thread in threads[len(work) :]:
            thread.join(timeout=120.0)
    finally:
        sys.setswitchinterval(interval)
    if any(thread.is_alive() for thread in threads):
        failures.append("a thread hangs")


def _short(array: Any) -> str:
    return np.array2string(array, threshold=20, edgeitems=5).replace("\n", "")
