"""Python values as SQLite keeps them: text, and JSON that comes back as it was."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

from aqe_core.errors import AqeError, CorruptStorageError, InputError, NonFiniteError

__all__ = ["DAMAGED", "MAX_INTEGER", "as_text", "decode_json", "encode_json", "reading"]

DAMAGED = "run `aqe verify`, then `aqe repair`."

MAX_INTEGER = 2**63 - 1
"""SQLite's largest integer."""

_MAX_DEPTH = 100  # far below where JSON readers, SQLite's (1,000) and Python's, give up

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode

decode_json = json.loads


def as_text(value: Any, what: str) -> str:
    """Return a string as it is, and refuse anything else."""
    if not isinstance(value, str):
        raise InputError(f"{what} is of type {type(value).__name__}, but must be a string.", fix="pass a str.")
    return value


def encode_json(value: Any, what: str) -> str:
    """Return compact JSON, from which `decode_json` makes an equal value (tuples become lists).

    Raises
    ------
    InputError
        The value holds something that JSON cannot say, or is nested too deeply.
    NonFiniteError
        It holds NaN or infinity.
    """
    _check(value, what, 0)
    try:
        return _encode(value)
    except ValueError as error:  # an integer of thousands of digits
        raise InputError(f"{what} cannot be written as JSON ({error}).", fix="pass it as a string.") from None


_UNREADABLE = (TypeError, ValueError, LookupError, ArithmeticError, RecursionError, MemoryError, struct.error)


class reading:  # noqa: N801  # used as a function; a generator would take as long as what it guards
    """Turn what fails in the block, which only decodes what is stored, into `CorruptStorageError`.

    In a damaged file a value can be of any type, or NULL where the schema forbids it.
    """

    __slots__ = ("_what",)

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if isinstance(error, _UNREADABLE) and not isinstance(error, AqeError):
            raise CorruptStorageError(f"{self._what} cannot be read ({error}).", fix=DAMAGED) from error


_HARMLESS = frozenset((str, int, bool, type(None)))


def _check(value: Any, what: str, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise InputError(f"{what} is nested deeper than {_MAX_DEPTH}.", fix="flatten it.")
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise InputError(f"{what} has the key {key!r:.60}, but JSON's keys are strings.", fix="use str.")
            if type(item) not in _HARMLESS:
                _check(item, f"{what}[{key!r:.60}]", depth + 1)
    elif isinstance(value, (list, tuple)):
        for position, item in enumerate(value):
            if type(item) not in _HARMLESS:
                _check(item, f"{what}[{position}]", depth + 1)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise NonFiniteError(f"{what} is {value}, which JSON cannot say.", fix="use None instead.")
    elif not isinstance(value, (str, int)):
        raise InputError(
            f"{what} is of type {type(value).__name__}, which JSON cannot say.",
            fix="use str, int, float, bool, None, list and dict.",
        )
