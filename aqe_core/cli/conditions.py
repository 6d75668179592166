"""``--where``: filters as they are typed."""

from __future__ import annotations

import json
import re
from typing import Any

from aqe_core.errors import UsageError

__all__ = ["to_filter"]

_CONDITION = re.compile(r"([^=<>!]+)(!=|>=|<=|=|>|<)(.*)", re.DOTALL)
_BOUNDS = {">": "$gt", ">=": "$gte", "<": "$lt", "<=": "$lte"}


def to_filter(conditions: tuple[str, ...]) -> dict[str, Any]:
    """Return the filter (see `aqe_core.filtering`) that all conditions make together; empty for none.

    Raises
    ------
    UsageError
        A condition is neither ``KEY=VALUE`` or its like nor JSON.
    """
    parts = [_to_filter(condition) for condition in conditions]
    return {} if not parts else parts[0] if len(parts) == 1 else {"$and": parts}


def _to_filter(condition: str) -> dict[str, Any]:
    if condition.startswith("{"):
        try:
            found: dict[str, Any] = json.loads(condition)
        except ValueError as error:
            raise UsageError(f"--where {condition!r} is not JSON: {error}.", fix="correct that place.") from None
        return found
    match = _CONDITION.fullmatch(condition)
    if match is None:
        raise UsageError(
            f"--where {condition!r} is not KEY=VALUE.", fix="e.g. --where marker=slow,network or --where 'line>=100'"
        )
    key, sign, text = match.groups()
    if sign in _BOUNDS:
        value = _readings(text)[-1]
        return {key: {_BOUNDS[sign]: text if isinstance(value, bool) else value}}
    fits = {key: [each for part in text.split(",") for each in _readings(part)]}
    return {"$not": fits} if sign == "!=" else fits


def _readings(text: str) -> list[Any]:
    """Return the text, and the number or truth value that it looks like."""
    try:
        value = json.loads(text)
    except ValueError:
        return [text]
    return [text, value] if isinstance(value, (bool, int, float)) else [text]
