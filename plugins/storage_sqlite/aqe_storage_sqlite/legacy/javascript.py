"""Values as the ancestor's JavaScript wrote them: numbers, keys of states and actions, times, JSON, vectors."""

from __future__ import annotations

import base64
import json
import math
import re
from datetime import UTC, datetime
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_core.encoding import ancestor_action_key as action_key
from aqe_core.encoding import ancestor_state_key as state_key
from aqe_core.encoding import number_text, round_half_up

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "action_key",
    "as_json",
    "number_text",
    "parse_json",
    "plain",
    "round_half_up",
    "seconds",
    "state_key",
    "vector",
]

_SECONDS_BELOW = 1e11
"""Integer times below this are seconds (the year 5138), others are milliseconds (from 1973 on)."""

_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?")


def seconds(value: Any) -> float | None:
    """Return a time as seconds since 1970 UTC; None if it is no time.

    Examples
    --------
    >>> seconds(1767692322996), seconds(1767692322)
    (1767692322.996, 1767692322.0)
    >>> seconds("2026-01-06 09:38:42"), seconds("2026-01-06T09:38:42.996Z")
    (1767692322.0, 1767692322.996)
    """
    if isinstance(value, str):
        text = value.strip()
        if _TIME.fullmatch(text):
            try:
                moment = datetime.fromisoformat(text)
            except ValueError:
                return None
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        try:
            value = float(text)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value) if abs(value) < _SECONDS_BELOW else value / 1000


_TOO_DEEP = "nested too deeply"
_DEEPEST = 100  # levels of JSON; what goes through here once can be gone through anywhere


def _refuse(constant: str) -> Any:
    raise ValueError(constant)


_decode = json.JSONDecoder(parse_constant=_refuse).decode


def parse_json(text: Any) -> Any:
    """Return the value of a JSON text.

    Raises
    ------
    ValueError
        It is no text, no JSON (NaN and infinity are not), or nested too deeply.
    """
    if not isinstance(text, str):
        raise ValueError("not a text")  # noqa: TRY004  # one error for all that is not JSON
    try:
        value = _decode(text)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    if text.count("[") + text.count("{") > _DEEPEST and _is_too_deep(value):
        raise ValueError(_TOO_DEEP)
    return value


def _is_too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(_DEEPEST + 1):
        inner = (each.values() if isinstance(each, dict) else each for each in level if isinstance(each, (dict, list)))
        level = list(chain.from_iterable(inner))
    return bool(level)


def as_json(value: Any) -> str:
    """Return any SQLite value, or lists and dicts of them, as JSON text.

    A blob is ``{"$blob": base64}``, a number without a JSON form ``{"$float": "inf"}``.
    """
    try:
        return _encode(value)
    except ValueError:  # not finite
        return _encode(plain(value))


def plain(value: Any) -> Any:
    """Return a value as `as_json` writes it."""
    if isinstance(value, bytes):
        return {"$blob": base64.b64encode(value).decode("ascii")}
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": repr(value)}
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False, default=plain).encode


def vector(blob: Any) -> NDArray[np.float32] | None:
    """Return an embedding of little-endian float32; None if it cannot be one."""
    if not isinstance(blob, bytes) or not blob or len(blob) % 4:
        return None
    values = np.frombuffer(blob, "<f4").astype(np.float32)
    return values if np.isfinite(values).all() else None
