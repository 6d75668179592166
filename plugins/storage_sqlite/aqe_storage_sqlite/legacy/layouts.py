"""What a table of the ancestor holds, told by its columns, and its rows as our records.

A table's name tells nothing (three tables called ``patterns`` have nothing in common), nor does a version number.
What a record has no field for goes into its ``extra``, ``metadata`` or ``labels``, so that nothing is dropped.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from aqe_core.contracts.records import Pattern
from aqe_core.errors import AqeError
from aqe_storage_sqlite.encoding import encode_json
from aqe_storage_sqlite.legacy.javascript import action_key, as_json, parse_json, plain, seconds, state_key, vector

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

__all__ = [
    "Entry",
    "Experience",
    "KeptPattern",
    "Metric",
    "QValue",
    "Record",
    "UnfitError",
    "as_pattern",
    "converter_for",
]


class UnfitError(Exception):
    """A row does not fit its table's layout; it is archived, with this reason."""


class Experience(NamedTuple):
    """Who did what in which situation, and what came of it; fields as in the table ``experiences``."""

    agent: str
    task: str | None
    type: str | None
    state: str | None
    action: str | None
    reward: float | None
    next_state: str | None
    done: int | None
    at_s: float | None
    origin: str
    extra: str
    embedding: bytes | None


class QValue(NamedTuple):
    """The stored value of an action in a state."""

    agent: str
    state: str
    action: str
    value: float
    visits: int
    lost: int
    extra: str


class Entry(NamedTuple):
    """A value under a key in a partition."""

    partition: str
    key: str
    value: str
    owner: str | None
    access: str | None
    team: str | None
    swarm: str | None
    created_s: float | None
    expires_s: float | None
    extra: str


class Metric(NamedTuple):
    """A measured value."""

    series: str
    name: str
    value: float
    at_s: float
    labels: str


class KeptPattern(NamedTuple):
    """A pattern with its embedding, if it has one."""

    pattern: Pattern
    embedding: bytes | None


Record: TypeAlias = Experience | QValue | Entry | Metric | KeptPattern
Converter: TypeAlias = "Callable[[str, dict[str, Any]], Record]"


def converter_for(columns: Collection[str]) -> Converter | None:
    """Return the function ``(table's name, row) -> record`` for a table with these columns; None to archive it.

    The function takes from the row what it uses, and raises `UnfitError` for one that does not fit.
    """
    there = set(columns)
    return next((converter for needed, converter in _LAYOUTS if needed <= there), None)


# -- experiences ------------------------------------------------------------------------------------------------------


def _experience(_: str, row: dict[str, Any]) -> Experience:
    agent, reward = _text(row, "agent_id"), _number(row, "reward")
    texts, values = zip(
        *(_json_or_text(row.pop(name), name) for name in ("state", "action", "next_state")), strict=True
    )
    origin = _origin(row.get("timestamp", row.get("created_at")), *values)
    at_s = _time(row, "timestamp", "created_at")
    return Experience(
        agent=agent,
        task=_text_or_none(row, "task_id"),
        type=_text_or_none(row, "task_type"),
        state=texts[0],
        action=texts[1],
        reward=reward,
        next_state=texts[2],
        done=None,  # the ancestor has no notion of an end
        at_s=at_s,
        origin=origin,
        extra=_rest(row, "metadata"),
        embedding=None,
    )


def _origin(at: Any, before: Any, action: Any, after: Any) -> str:
    """Tell whose row it is: ``engine``, ``tool`` (a remote call) or ``other``.

    Only tools write times as milliseconds; only the engine steps to one more attempt with nine tenths of the
    resources, to the last bit.
    """
    try:
        if isinstance(at, (int, float)) and seconds(at) != at:
            return "tool"
        if set(before) == {"type", "timestamp"}:
            return "tool"
        state_key(before), state_key(after), action_key(action)
        stepped = after["previousAttempts"] == before["previousAttempts"] + 1
        drained: bool = after["availableResources"] == before["availableResources"] * 0.9
    except (KeyError, TypeError, ValueError, ArithmeticError, AttributeError):
        return "other"
    return "engine" if stepped and drained else "other"


def _captured(_: str, row: dict[str, Any]) -> Experience:
    agent = _text(row, "agent_id")
    outcome, parsed = _json_or_text(row.pop("outcome"), "outcome")
    reward = parsed.get("quality_score") if isinstance(parsed, dict) else None
    if isinstance(reward, bool) or not isinstance(reward, (int, float)):
        reward = None
    embedding = row.pop("embedding", None)
    if vector(embedding) is None and embedding is not None:
        row["embedding"], embedding = embedding, None
    return Experience(
        agent=agent,
        task=_text_or_none(row, "id"),
        type=_text_or_none(row, "task_type"),
        state=_json_or_text(row.pop("context"), "context")[0],
        action=_json_or_text(row.pop("execution"), "execution")[0],
        reward=None if reward is None else float(reward),
        next_state=outcome,
        done=None,
        at_s=_time(row, "created_at", "captured_at"),
        origin="captured",
        extra=_rest(row),
        embedding=embedding,
    )


# -- values -----------------------------------------------------------------------------------------------------------


def _q_value(_: str, row: dict[str, Any]) -> QValue:
    agent = _text(row, "agent_id")
    state, action = _text(row, "state_key", "state"), _text(row, "action_key", "action")
    value = _number(row, "q_value", "value")
    visits = row.get("update_count", row.get("visits"))
    if isinstance(visits, int) and visits > 0:
        row.pop("update_count", row.pop("visits", None))
    else:
        visits = 1  # what it was stays in the extra
    return QValue(agent, state, action, value, visits, int(_is_lost(state, value)), _rest(row, "metadata"))


def _is_lost(state: str, value: float) -> bool:
    """Say whether the ancestor wrote 0 here because it looked the value up under a key that no learner has.

    That key has six numbers where the learners' have five.
    """
    parts = state.split(",")
    return value == 0 and len(parts) == 6 and all(part.replace(".", "", 1).isdigit() for part in parts)


# -- entries ----------------------------------------------------------------------------------------------------------


def _entry(_: str, row: dict[str, Any]) -> Entry:
    key, partition = _text(row, "key"), _text(row, "partition", "namespace")
    value, parsed = _json_or_text(row.pop("value"), "value")
    if value is None:
        raise UnfitError("value is NULL")
    if isinstance(parsed, dict) and {"key", "value", "namespace"} <= set(parsed) and parsed["key"] == key:
        # The fleet's database keeps the whole record in the place of the value.
        value = as_json(parsed.pop("value"))
        row["record"] = as_json(parsed)
    return Entry(
        partition=partition,
        key=key,
        value=value,
        owner=_text_or_none(row, "owner", "agent_id"),
        access=_text_or_none(row, "access_level"),
        team=_text_or_none(row, "team_id"),
        swarm=_text_or_none(row, "swarm_id"),
        created_s=_time(row, "created_at"),
        expires_s=_time(row, "expires_at", strict=True),
        extra=_rest(row, "metadata", "record"),
    )


# -- metrics ----------------------------------------------------------------------------------------------------------


def _metric(table: str, row: dict[str, Any]) -> Metric:
    name = _text(row, "metric_name", "metric_type", "metric")
    value = _number(row, "metric_value", "value")
    at_s = _time(row, "timestamp", "recorded_at", "created_at")
    if at_s is None:
        raise UnfitError("the time cannot be read")
    return Metric(table, name, value, at_s, _rest(row, "dimensions", "tags", "context"))


# -- patterns ---------------------------------------------------------------------------------------------------------


def as_pattern(table: str, row: dict[str, Any]) -> KeptPattern:
    """Convert a row of a table of patterns."""
    id_ = _text(row, "id")
    embedding = row.pop("embedding", None)
    if vector(embedding) is None and embedding is not None:
        row["embedding"], embedding = embedding, None
    if row.get("pattern_id") == id_:
        del row["pattern_id"]
    fields = {name: value for name, value in row.items() if value is not None}
    for name in ("created_at", "updated_at", "expires_at"):
        at_s = seconds(fields.get(name))
        if at_s is not None:
            fields[f"{name.removesuffix('_at')}_s"] = at_s
            del fields[name]
    for name in ("metadata", "examples"):
        fields[name] = _parsed(fields.get(name))
        if fields[name] is None:
            del fields[name]
    inner = fields.get("metadata")
    texts = (*(fields.get(name) for name in _TEXTS), inner.get("text") if isinstance(inner, dict) else None)
    text = next((text for text in texts if isinstance(text, str) and text), id_)
    fields = {name: value for name, value in fields.items() if not (name in _TEXTS and value == text)}
    name = fields.pop("name", text)
    docstring = fields.pop("description", "")
    if not isinstance(name, str) or not isinstance(docstring, str):
        raise UnfitError("name or description is not text")
    metadata = {name: plain(value) for name, value in fields.items()}
    try:
        (id_ + name + text + docstring + encode_json(metadata, "metadata")).encode()
    except (AqeError, ValueError) as error:
        raise UnfitError(f"not to be said in JSON: {error}") from None
    return KeptPattern(
        Pattern(id=id_, name=name, text=text, docstring=docstring, metadata=metadata, origin=table), embedding
    )


_TEXTS = ("pattern", "template", "content")


def _parsed(value: Any) -> Any:
    try:
        return parse_json(value)
    except ValueError:
        return value


# -- fields -----------------------------------------------------------------------------------------------------------


def _text(row: dict[str, Any], *names: str) -> str:
    name = next((name for name in names if name in row), names[0])
    value = row.get(name)
    if not isinstance(value, str):
        raise UnfitError(f"{name} is {'NULL' if value is None else 'not text'}")
    del row[name]
    return value


def _text_or_none(row: dict[str, Any], *names: str) -> str | None:
    """Take a text; anything else stays in the row, for its extra."""
    name = next((name for name in names if isinstance(row.get(name), str)), None)
    return None if name is None else str(row.pop(name))


def _number(row: dict[str, Any], *names: str) -> float:
    name = next((name for name in names if name in row), names[0])
    value = row.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise UnfitError(f"{name} is {'NULL' if value is None else 'no finite number'}")
    del row[name]
    return float(value)


def _time(row: dict[str, Any], *names: str, strict: bool = False) -> float | None:
    """Take the first time that can be read; others that say the same go with it, and stay in the row if they differ."""
    at_s = None
    for name in names:
        value = row.get(name)
        if value is None:
            continue
        read = seconds(value)
        if read is None and strict:
            raise UnfitError(f"{name} cannot be read as a time")
        if at_s is None:
            at_s = read
        if read is not None and read == at_s:
            del row[name]
    return at_s


def _json_or_text(value: Any, name: str) -> tuple[str | None, Any]:
    """Return JSON as it stands, and any other text as a JSON string; with its value."""
    if value is None:
        return None, None
    if isinstance(value, bytes):
        raise UnfitError(f"{name} is not text")
    if not isinstance(value, str):
        return as_json(value), value
    try:
        return value, parse_json(value)
    except ValueError:
        return as_json(value), value


def _rest(row: dict[str, Any], *json_columns: str) -> str:
    """Return what was not taken, without NULLs, as JSON."""
    rest = {name: value for name, value in row.items() if value is not None}
    for name in json_columns:
        if name in rest:
            rest[name] = _parsed(rest[name])
    return as_json(rest)


_LAYOUTS: tuple[tuple[frozenset[str], Converter], ...] = tuple(
    (frozenset(columns.split()), converter)
    for columns, converter in (
        ("agent_id state action reward next_state", _experience),
        ("agent_id task_type execution context outcome", _captured),
        ("agent_id state_key action_key q_value", _q_value),
        ("agent_id state action value visits", _q_value),
        ("key value partition", _entry),
        ("key value namespace", _entry),
        ("metric_name metric_value timestamp", _metric),
        ("metric_name metric_value recorded_at", _metric),
        ("metric_type metric_value timestamp", _metric),
        ("metric value unit timestamp", _metric),
        ("id pattern confidence", as_pattern),
        ("id type embedding metadata confidence", as_pattern),
        ("id name template examples", as_pattern),
        ("id type content confidence", as_pattern),
    )
)
"""Columns that a table must have, and how its rows are read; the first that fits counts."""
