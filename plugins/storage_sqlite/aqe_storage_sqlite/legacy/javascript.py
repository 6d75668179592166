"""Values as the ancestor's JavaScript wrote them: numbers, keys of states and actions, times, JSON, vectors."""

from __future__ import annotations

import base64
import json
import math
import re
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

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
_LARGEST_PLAIN = 1e21
_TIME_LIMIT_MS = 300_000


def round_half_up(value: float) -> float:
    """Return ``Math.round(value)``: half goes up, also below zero.

    Examples
    --------
    >>> round_half_up(2.5), round_half_up(-0.5), round_half_up(0.49999999999999994)
    (3.0, 0.0, 0.0)
    """
    below = math.floor(value)
    return float(below + 1 if value - below >= 0.5 else below)  # the difference is exact, value + 0.5 is not


def number_text(value: float) -> str:
    """Return a number as JavaScript prints it, for those between 1e-6 and 1e21 and zero.

    Examples
    --------
    >>> number_text(1.0), number_text(0.3), number_text(-0.0), number_text(1e16)
    ('1', '0.3', '0', '10000000000000000')
    """
    return str(int(value)) if value == int(value) and abs(value) < _LARGEST_PLAIN else repr(float(value))


def state_key(state: Mapping[str, Any]) -> str:
    """Return the five-part key under which the ancestor's learners know a state.

    Raises
    ------
    KeyError, TypeError, ValueError, OverflowError
        It is no such state.

    Examples
    --------
    >>> state_key({"taskComplexity": 0.65, "requiredCapabilities": ["a"], "previousAttempts": 8,
    ...            "availableResources": 0.1, "timeConstraint": 60000})
    '0.7,0.1,1.6,0.1,0.2'
    """
    limit_ms = state.get("timeConstraint")
    features = (
        state["taskComplexity"],
        len(state["requiredCapabilities"]) / 10,
        state["previousAttempts"] / 5,
        state["availableResources"],
        min(limit_ms / _TIME_LIMIT_MS, 1) if limit_ms else 1,
    )
    return ",".join(number_text(round_half_up(feature * 10) / 10) for feature in features)


def action_key(action: Mapping[str, Any]) -> str:
    """Return the key of an action: strategy, parallelization as ``toFixed(1)`` prints it, retry policy.

    Raises
    ------
    KeyError, TypeError, ValueError, ArithmeticError
        It is no such action.

    Examples
    --------
    >>> action_key({"strategy": "snapshot", "parallelization": 0.25, "retryPolicy": "none"})
    'snapshot:0.3:none'
    """
    exact = Decimal(action["parallelization"])  # of the double's binary value: 0.35 lies below the tie
    return f"{action['strategy']}:{exact.quantize(Decimal('0.1'), ROUND_HALF_UP)}:{action['retryPolicy']}"


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
        return _decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


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
