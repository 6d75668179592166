"""``where=`` as SQL: names from a fixed list, everything that users say bound."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from aqe_core.errors import InputError
from aqe_storage_sqlite.encoding import MAX_INTEGER

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["to_sql"]

# Texts are bound as one JSON array, so that "any of" takes any number of values in one statement.
_ANY_OF = "IN (SELECT value FROM json_each(?))"
_COLUMNS = {column: f"p.{column} {_ANY_OF}" for column in ("id", "name", "path", "class_name", "origin")}
_COLUMNS["marker"] = f"EXISTS (SELECT 1 FROM json_each(p.markers) AS m WHERE m.value {_ANY_OF})"  # noqa: S608  # constants only
# JSON's types are compared too: true is not 1, and null is not an absent key.
_METADATA = (
    "EXISTS (SELECT 1 FROM json_each(p.metadata) AS m WHERE m.key = ? AND ("  # noqa: S608  # constants only
    f"m.type = 'text' AND m.atom {_ANY_OF} OR "
    f"m.type IN ('integer', 'real') AND m.atom {_ANY_OF} OR "
    f"m.type {_ANY_OF}))"
)
_LITERALS = {None: "null", True: "true", False: "false"}


def to_sql(where: Mapping[str, Any] | None) -> tuple[str, list[str]]:
    """Return a condition on the table ``patterns AS p``, and its bindings.

    Raises
    ------
    InputError
        A key is not a string; a value is not a string, number, boolean, None or list of these.
    """
    conditions, bindings = [], []
    for key, wanted in (where or {}).items():
        if not isinstance(key, str):
            raise InputError(f"where has the key {key!r:.60}, but keys are strings.", fix="use str.")
        texts, numbers, literals = _sorted_out(key, wanted)
        if key in _COLUMNS:
            conditions.append(_COLUMNS[key])
            bindings.append(_array(texts))  # a column holds text, which equals no number
        else:
            conditions.append(_METADATA)
            bindings += [key, _array(texts), _array(numbers), _array(literals)]
    return " AND ".join(conditions) or "TRUE", bindings


def _array(values: list[Any]) -> str:
    return json.dumps(values, ensure_ascii=False)


def _sorted_out(key: str, wanted: Any) -> tuple[list[str], list[int | float], list[str]]:
    texts: list[str] = []
    numbers: list[int | float] = []
    literals: list[str] = []
    for value in wanted if isinstance(wanted, (list, tuple, set, frozenset)) else (wanted,):
        if isinstance(value, str):
            texts.append(value)
        elif value is None or isinstance(value, bool):
            literals.append(_LITERALS[value])
        elif (isinstance(value, int) and -MAX_INTEGER <= value <= MAX_INTEGER) or (
            isinstance(value, float) and math.isfinite(value)
        ):
            numbers.append(value)
        else:
            raise InputError(
                f"where[{key!r:.60}] holds a value of type {type(value).__name__} that nothing stored could equal.",
                fix="compare with strings, 64-bit integers, finite floats, booleans, None, or a list of these.",
            )
    return texts, numbers, literals
