"""Patterns in and out of their table."""

from __future__ import annotations

import json
from bisect import bisect_left
from functools import cache
from math import inf
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from aqe_core.contracts.records import Pattern, PutReport
from aqe_core.errors import CorruptStorageError, InputError
from aqe_storage_sqlite import checksums, journal, namespaces, text_index, vectors
from aqe_storage_sqlite.checksums import crc32
from aqe_storage_sqlite.encoding import DAMAGED, MAX_INTEGER, as_text, decode_json, encode_json, reading
from aqe_storage_sqlite.filters import to_sql

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    import apsw
    from numpy.typing import NDArray

__all__ = [
    "BY_ID",
    "WHOLE",
    "Fields",
    "Given",
    "Put",
    "Row",
    "by_id",
    "by_key",
    "count",
    "from_joined",
    "keys_where",
    "origins",
    "put",
    "put_together",
    "remove",
    "to_pattern",
    "to_rows",
]

_get_given = attrgetter(
    *("id", "line", "name", "path", "class_name", "origin", "markers", "metadata", "docstring", "text")
)
_TEXTS = ("id", "name", "text", "path", "class_name", "docstring", "origin")


class Row(NamedTuple):
    """A pattern as its row holds it, without key and namespace."""

    id: str
    content_hash: str
    line: int
    name: str
    path: str
    class_name: str
    origin: str
    markers: str
    metadata: str
    docstring: str
    text: str
    crc32: int | None


Fields: TypeAlias = tuple[Any, ...]
"""A `Row` that was given, as a plain tuple, which is made in a third of the time."""


class Put(NamedTuple):
    """What `put` did."""

    keys: list[int]
    added: int
    changed: int
    unchanged: int
    written: list[int]
    removed: list[int]

    def report(self) -> PutReport:
        """Return it as the contract has it."""
        keys = np.array(self.keys, np.uint64)
        return PutReport(
            keys=keys,
            added=self.added,
            changed=self.changed,
            unchanged=self.unchanged,
            removed=len(self.removed),
            written_keys=keys.copy() if self.written == self.keys else np.array(self.written, np.uint64),
            removed_keys=np.array(self.removed, np.uint64),
        )


_FIELDS = ", ".join(Row._fields)
_INSERT = f"INSERT INTO patterns (namespace, {_FIELDS}) VALUES (?, {', '.join('?' * len(Row._fields))})"  # noqa: S608  # ours
_UPDATE = f"UPDATE patterns SET {', '.join(f'{field} = ?' for field in Row._fields)} WHERE key = ?"  # noqa: S608  # ours
_COMPARED = (*("line", "origin"), *("name", "path", "class_name", "docstring", "text"), *("markers", "metadata"))
_STORED = f"""
SELECT key, id, {" AND ".join(f"{name} = ?" for name in _COMPARED[:2])},
    {" AND ".join(f"{name} = ?" for name in _COMPARED[2:-2])},
    {", ".join(f"CASE WHEN {name} = ? THEN NULL ELSE CAST({name} AS BLOB) END" for name in _COMPARED[-2:])}
FROM patterns WHERE namespace = ? AND id = ?
"""  # noqa: S608  # ours
"""Finds key, id, whether place and texts are the same, and the JSON that is not. SQLite compares bytes, whatever damage
has made of them."""
_get_compared = itemgetter(*map(Row._fields.index, _COMPARED))
_NAME, _TEXT, _MARKERS, _METADATA = map(Row._fields.index, ("name", "text", "markers", "metadata"))
_WORTH_ASKING = 100
"""So many rows are worth asking first whether the namespace has any at all."""

_NAMESPACE = "(SELECT id FROM namespaces WHERE name = ?)"
_JOINED = f"SELECT key, crc32, concat_ws(char(0), {', '.join(Row._fields[:-1])}) FROM patterns"  # noqa: S608  # ours
_BY_KEY = f"{_JOINED} WHERE key = ? AND namespace = {_NAMESPACE}"
BY_ID = f"{_JOINED} WHERE namespace = {_NAMESPACE} AND id = ?"
"""Finds the row, for `from_joined`, of a namespace and id."""
WHOLE = f"SELECT key, {_FIELDS} FROM patterns WHERE key = ?"  # noqa: S608  # ours
"""Finds the row, for `to_pattern`, of a key."""


def to_rows(patterns: Iterable[Pattern]) -> dict[str, Fields]:
    """Check and encode patterns, by id; of equal ids the last one counts.

    Raises
    ------
    InputError, NonFiniteError
        One cannot be stored.
    """
    given = list(patterns)
    try:
        return {row[0]: row for row in map(_to_row, given)}
    except (TypeError, AttributeError):  # `join` wants strings, which is what most checks would ask
        for each in given:
            _check(each)
        raise


def _to_row(pattern: Pattern) -> Fields:
    # A call costs as much as what it does here, so that one fetches all fields, and the checksum is taken in place.
    id_, line, name, path, class_name, origin, given_markers, given_metadata, docstring, text = _get_given(pattern)
    if type(pattern) is not Pattern or type(line) is not int or not 0 <= line <= MAX_INTEGER:
        _check(pattern)
        line = int(line)
    markers = _encode_markers(given_markers, id_) if given_markers else "[]"
    metadata = _encode_metadata(given_metadata, id_) if given_metadata else "{}"
    joined = "\0".join((id_, "", str(line), name, path, class_name, origin, markers, metadata, docstring, text))
    checksum = crc32(joined.encode("utf-8", "surrogatepass"))
    return id_, "", line, name, path, class_name, origin, markers, metadata, docstring, text, checksum


def _check(pattern: Any) -> None:
    if not isinstance(pattern, Pattern):
        raise InputError(f"{pattern!r:.60} is no Pattern.", fix="pass aqe_core.contracts.Pattern.")
    # Types are told apart by hand: the fields are declared, but nothing has enforced that yet.
    given: Any = pattern
    for field in _TEXTS:
        as_text(getattr(given, field), f"{field} of pattern {given.id!r:.80}")
    if not (isinstance(given.line, int) and 0 <= given.line <= MAX_INTEGER):
        raise InputError(
            f"line of pattern {given.id!r:.80} must be an integer in 0 .. 2**63 - 1.",
            fix="pass 0 when it is unknown.",
        )


def _encode_markers(markers: Any, id_: str) -> str:
    if not isinstance(markers, (tuple, list)):
        raise InputError(f"markers of pattern {id_!r:.80} are no tuple.", fix="pass a tuple of strings.")
    for marker in markers:
        as_text(marker, f"a marker of pattern {id_!r:.80}")
    return encode_json(markers, "markers")


def _encode_metadata(metadata: Any, id_: str) -> str:
    if not isinstance(metadata, dict):
        raise InputError(f"metadata of pattern {id_!r:.80} is no dict.", fix="pass a dict.")
    return encode_json(metadata, f"metadata of pattern {id_!r:.80}")


def from_joined(row: tuple[Any, Any, Any]) -> Pattern | None:
    """Return the pattern of a key, checksum and the other fields of a `Row`, joined as for `checksums.of_pattern`.

    One text is fetched, checked and parted in less time than eleven columns are. None where a field holds the
    separator itself, or NULL: then `to_pattern` has to take the columns.

    Raises
    ------
    CorruptStorageError
        The checksum is wrong, or the row holds broken JSON.
    """
    key, expected, joined = row
    try:
        fields = joined.split("\0")
        if len(fields) != _N_JOINED:
            return None
        if crc32(joined.encode()) != expected and expected is not None:
            raise _wrong_checksum(key)
        return _to_record(key, fields)
    except Exception:
        with reading(f"the pattern with key {key}"):
            raise


def to_pattern(row: tuple[Any, ...]) -> Pattern:
    """Return the pattern of a key and a `Row`.

    Raises
    ------
    CorruptStorageError
        The row's checksum is wrong, or it holds broken JSON.
    """
    key, *fields, expected = row
    try:
        if expected is not None and checksums.of_pattern(tuple(fields)) != expected:
            raise _wrong_checksum(key)
        return _to_record(key, fields)
    except Exception:
        with reading(f"the pattern with key {key}"):
            raise


_N_JOINED = len(Row._fields) - 1


def _wrong_checksum(key: int) -> CorruptStorageError:
    return CorruptStorageError(f"the pattern with key {key} has a wrong checksum.", fix=DAMAGED)


def _to_record(key: int, fields: list[Any]) -> Pattern:
    """Return the pattern of the fields of a `Row` without its checksum.

    What was stored needs no constructor, which takes as long as all else here: its fields are set as that would.
    """
    record: Pattern = object.__new__(Pattern)
    its = record.__dict__
    (
        its["id"],
        _,
        line,
        its["name"],
        its["path"],
        its["class_name"],
        its["origin"],
        markers,
        metadata,
        its["docstring"],
        its["text"],
    ) = fields
    its["line"] = int(line)
    its["markers"] = () if markers == "[]" else tuple(decode_json(markers))
    its["metadata"] = {} if metadata == "{}" else decode_json(metadata)
    its["key"] = key
    return record


# -- writing ----------------------------------------------------------------------------------------------------------


class Given(NamedTuple):
    """What one call of `put` stores."""

    namespace: str
    ids: Sequence[str]
    rows: Mapping[str, Fields]
    complete: Collection[str] = ()
    """Origins of which the rows are all there is."""


def put(connection: apsw.Connection, given: Given) -> Put:
    """Insert what is new, replace what differs, and remove what vanished from the complete origins.

    O(n log N) for n entries given and N stored.
    """
    return put_together(connection, [given])[0]


def put_together(connection: apsw.Connection, calls: Sequence[Given]) -> list[Put]:
    """Do what as many calls of `put` in a row would do, with fewer statements."""
    return [done for group in _independent(calls) for done in _put_group(connection, group)]


def _independent(calls: Sequence[Given]) -> Iterator[list[Given]]:
    """Part calls into runs whose order makes no difference: one namespace, and no pattern twice."""
    group: list[Given] = []
    seen: set[str] = set()
    for call in calls:
        alone = call.complete or (group and (group[0].complete or group[0].namespace != call.namespace))
        if group and (alone or not seen.isdisjoint(call.rows)):
            yield group
            group, seen = [], set()
        group.append(call)
        seen.update(call.rows)
    yield group


def _put_group(connection: apsw.Connection, group: list[Given]) -> Iterator[Put]:
    namespace, _, rows, complete = group[0]
    if len(group) > 1:
        rows = {id_: row for call in group for id_, row in call.rows.items()}
    number = (namespaces.ensure if rows else namespaces.number_of)(connection, namespace)
    keys, changed, new = _write(connection, number, rows)
    vanished = _vanished(connection, number, rows, complete) if complete else []
    _delete(connection, number, vanished)
    if len(new) == len(rows) == sum([len(call.ids) for call in group]):  # all are new, and none is given twice
        stop = new.start
        for call in group:
            start, stop = stop, stop + len(call.ids)
            own = [*range(start, stop)]
            yield Put(own, stop - start, 0, 0, own, vanished)
        return
    first = new.start if new else inf
    keys.update(zip([id_ for id_ in rows if id_ not in keys], new, strict=True))
    for call in group:
        own = [keys[id_] for id_ in call.rows]
        written = sorted(key for key in own if key >= first or key in changed)
        n_changed = bisect_left(written, first)
        counts = len(written) - n_changed, n_changed, len(own) - len(written)
        yield Put([keys[id_] for id_ in call.ids], *counts, written, vanished)


def _write(
    connection: apsw.Connection, number: int, rows: Mapping[str, Fields]
) -> tuple[dict[str, int], set[int], range]:
    """Return the keys by id of the rows that were there, those of the changed ones, and those of the others."""
    keys: dict[str, int] = {}
    changed, updates = [], []
    for key, id_, in_place, alike, *structures in _stored(connection, number, rows):
        keys[id_] = key
        row = rows[id_]
        if in_place and alike and structures == [None, None]:
            continue
        updates.append((*row, key))
        if not (alike and all(map(_means, structures, (row[_MARKERS], row[_METADATA])))):
            changed.append((key, row[_NAME], row[_TEXT]))
    changed.sort()
    if updates:
        connection.executemany(_UPDATE, updates)
        vectors.drop(connection, number, np.array([key for key, *_ in changed], np.int64))
        text_index.put(connection, changed)
    added = [row for id_, row in rows.items() if id_ not in keys] if keys else list(rows.values())
    new = range(0)
    if added:
        connection.executemany(_INSERT, map((number,).__add__, added))
        newest = connection.last_insert_rowid()
        new = range(newest + 1 - len(added), newest + 1)  # AUTOINCREMENT gives consecutive keys
        text_index.add(connection, new, [row[_NAME] for row in added], [row[_TEXT] for row in added])
    replaced = [key for key, *_ in changed]
    journal.append(connection, number, written=[*replaced, *new] if replaced else new)
    return keys, set(replaced), new


def _stored(connection: apsw.Connection, number: int, rows: Mapping[str, Fields]) -> Iterable[Any]:
    """Return what `_STORED` finds of the rows that are there."""
    asked: list[Any]
    if len(rows) >= _WORTH_ASKING:
        sql, asked = "SELECT 1 FROM patterns WHERE namespace = ? LIMIT 1", [number]
    else:
        sql, asked = _any_of(len(rows)), [number, *rows]
    if len(rows) > 1 and connection.execute(sql, asked).get is None:
        return ()
    return connection.executemany(_STORED, [(*_get_compared(row), number, id_) for id_, row in rows.items()])


@cache
def _any_of(n: int) -> str:
    return f"SELECT 1 FROM patterns WHERE namespace = ? AND id IN ({', '.join('?' * n)}) LIMIT 1"  # noqa: S608  # ours


def _means(stored: bytes | None, given: str) -> bool:
    """Say whether JSON that was put in another way means the same; None: it is the same."""
    try:
        return stored is None or _canonical(stored) == _canonical(given)
    except (ValueError, RecursionError):  # it is damaged
        return False


def _canonical(text: str | bytes) -> str:
    return json.dumps(decode_json(text), sort_keys=True)


def _vanished(connection: apsw.Connection, number: int, ids: Collection[str], complete: Collection[str]) -> list[int]:
    """Return the ascending keys of what is stored of some origins and not among the ids."""
    found = connection.executemany(
        "SELECT id, key FROM patterns WHERE namespace = ? AND origin = ?",
        [(number, origin) for origin in set(complete)],
    )
    return sorted(key for id_, key in found if id_ not in ids)


def remove(connection: apsw.Connection, namespace: str, keys: Iterable[int]) -> int:
    """Remove those of the keys that are patterns of the namespace; return their number."""
    number = namespaces.number_of(connection, namespace)
    there = namespaces.present(connection, number, keys)
    _delete(connection, number, there)
    return len(there)


def _delete(connection: apsw.Connection, number: int, keys: list[int]) -> None:
    if not keys:
        return
    vectors.drop(connection, number, np.array(keys, np.int64))
    text_index.remove(connection, keys)
    connection.executemany("DELETE FROM patterns WHERE key = ?", ((key,) for key in keys))
    journal.append(connection, number, removed=keys)


# -- reading ----------------------------------------------------------------------------------------------------------


def by_key(connection: apsw.Connection, namespace: str, keys: Iterable[int]) -> dict[int, Pattern]:
    """Return those of the keys that are patterns of the namespace."""
    rows = connection.executemany(_BY_KEY, ((key, namespace) for key in keys if key <= MAX_INTEGER))
    return {row[0]: _of_joined(connection, row) for row in rows}


def by_id(connection: apsw.Connection, namespace: str, ids: Iterable[str]) -> dict[str, Pattern]:
    """Return those of the ids that are patterns of the namespace."""
    rows = connection.executemany(BY_ID, ((namespace, id_) for id_ in ids))
    return {pattern.id: pattern for pattern in (_of_joined(connection, row) for row in rows)}


def _of_joined(connection: apsw.Connection, row: Any) -> Pattern:
    return from_joined(row) or to_pattern(connection.execute(WHOLE, (row[0],)).get)


def keys_where(connection: apsw.Connection, namespace: str, where: Mapping[str, Any] | None) -> NDArray[np.uint64]:
    """Return ascending keys of the patterns that fit; O(N) where a metadata key or marker is asked for."""
    condition, bindings = to_sql(where)
    keys = np.fromiter(
        connection.execute(
            f"SELECT p.key FROM patterns AS p WHERE p.namespace = {_NAMESPACE} AND {condition}",  # noqa: S608  # bound
            (namespace, *bindings),
        ),
        [("key", np.uint64)],
    )["key"]
    keys.sort()  # the index that answers is not in this order
    return keys


def count(connection: apsw.Connection, namespace: str) -> int:
    """Return the number of patterns."""
    sql = f"SELECT count(*) FROM patterns WHERE namespace = {_NAMESPACE}"  # noqa: S608  # ours
    return int(connection.execute(sql, (namespace,)).get)


def origins(connection: apsw.Connection, namespace: str) -> dict[str, int]:
    """Return the number of patterns by origin, in the order of their names."""
    sql = f"SELECT origin, count(*) FROM patterns WHERE namespace = {_NAMESPACE} GROUP BY origin"  # noqa: S608  # ours
    rows: list[Any] = connection.execute(sql, (namespace,)).fetchall()
    return dict(rows)
