"""Patterns in and out of their table."""

from __future__ import annotations

from bisect import bisect_left
from math import inf
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

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
    "Entry",
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
    "to_entries",
    "to_pattern",
]

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


class Entry(NamedTuple):
    """A pattern made ready to be stored, as much of the work as needs no transaction."""

    row: Row
    words: tuple[str, str]
    """Name and text as the text index takes them."""


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
_NAMESPACE = "(SELECT id FROM namespaces WHERE name = ?)"
_JOINED = f"SELECT key, crc32, concat_ws(char(0), {', '.join(Row._fields[:-1])}) FROM patterns"  # noqa: S608  # ours
_BY_KEY = f"{_JOINED} WHERE key = ? AND namespace = {_NAMESPACE}"
BY_ID = f"{_JOINED} WHERE namespace = {_NAMESPACE} AND id = ?"
"""Finds the row, for `from_joined`, of a namespace and id."""
WHOLE = f"SELECT key, {_FIELDS} FROM patterns WHERE key = ?"  # noqa: S608  # ours
"""Finds the row, for `to_pattern`, of a key."""


def to_entries(patterns: Iterable[Pattern]) -> dict[str, Entry]:
    """Check and encode patterns, by id; of equal ids the last one counts."""
    return {entry.row.id: entry for entry in map(_to_entry, patterns)}


_get_texts = attrgetter(*_TEXTS)


def _to_entry(pattern: Any) -> Entry:
    if not isinstance(pattern, Pattern):
        raise InputError(f"{pattern!r:.60} is no Pattern.", fix="pass aqe_core.contracts.Pattern.")
    # Types are told apart by hand: the fields are declared, but nothing has enforced that yet.
    given: Any = pattern
    if set(map(type, _get_texts(given))) != {str}:
        for field in _TEXTS:
            as_text(getattr(given, field), f"{field} of pattern {given.id!r:.80}")
    if not (isinstance(given.line, int) and 0 <= given.line <= MAX_INTEGER):
        raise InputError(
            f"line of pattern {given.id!r:.80} must be an integer in 0 .. 2**63 - 1.",
            fix="pass 0 when it is unknown.",
        )
    markers = _encode_markers(given.markers, pattern.id) if given.markers else "[]"
    metadata = _encode_metadata(given.metadata, pattern.id) if given.metadata else "{}"
    content_hash = pattern.content_hash()
    fields = (
        pattern.id,
        content_hash,
        int(pattern.line),
        pattern.name,
        pattern.path,
        pattern.class_name,
        pattern.origin,
        markers,
        metadata,
        pattern.docstring,
        pattern.text,
    )
    row = Row(*fields, checksums.of_pattern(fields))
    return Entry(row, (text_index.parted(pattern.name), text_index.parted(pattern.text)))


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
    entries: Mapping[str, Entry]
    complete: Collection[str] = ()
    """Origins of which the entries are all there is."""


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
        if group and (alone or not seen.isdisjoint(call.entries)):
            yield group
            group, seen = [], set()
        group.append(call)
        seen.update(call.entries)
    yield group


def _put_group(connection: apsw.Connection, group: list[Given]) -> Iterator[Put]:
    namespace, _, entries, complete = group[0]
    if len(group) > 1:
        entries = {id_: entry for call in group for id_, entry in call.entries.items()}
    number = (namespaces.ensure if entries else namespaces.number_of)(connection, namespace)
    keys, changed, first = _write(connection, number, entries)
    vanished = _vanished(connection, number, entries, complete) if complete else []
    _delete(connection, number, vanished)
    for call in group:
        own = [keys[id_] for id_ in call.entries]
        written = sorted(key for key in own if key >= first or key in changed)
        n_changed = bisect_left(written, first)
        counts = len(written) - n_changed, n_changed, len(own) - len(written)
        yield Put([keys[id_] for id_ in call.ids], *counts, written, vanished)


def _write(
    connection: apsw.Connection, number: int, entries: Mapping[str, Entry]
) -> tuple[dict[str, int], set[int], float]:
    """Return the keys of the entries by id, those of the changed ones, and the first one that is new."""
    keys: dict[str, int] = {}
    changed, updates = [], []
    for id_, key, content_hash, line, origin in connection.executemany(
        "SELECT id, key, content_hash, line, origin FROM patterns WHERE namespace = ? AND id = ?",
        [(number, id_) for id_ in entries],
    ):
        keys[id_] = key
        row = entries[id_].row
        if row.content_hash != content_hash:
            changed.append((key, *entries[id_].words))
            updates.append((*row, key))
        elif (row.line, row.origin) != (line, origin):
            updates.append((*row, key))
    changed.sort()
    if updates:
        connection.executemany(_UPDATE, updates)
        vectors.drop(connection, number, np.array([key for key, *_ in changed], np.int64))
        text_index.put(connection, changed)
    added = [(id_, entry) for id_, entry in entries.items() if id_ not in keys]
    first: float = inf
    if added:
        connection.executemany(_INSERT, [(number, *entry.row) for _, entry in added])
        first = connection.last_insert_rowid() + 1 - len(added)  # AUTOINCREMENT gives consecutive keys
        keys.update((id_, key) for key, (id_, _) in enumerate(added, first))
        text_index.add(connection, [(key, *entry.words) for key, (_, entry) in enumerate(added, first)])
    replaced = [key for key, *_ in changed]
    journal.append(connection, number, written=[*replaced, *(keys[id_] for id_, _ in added)])
    return keys, set(replaced), first


def _vanished(
    connection: apsw.Connection, number: int, entries: Collection[str], complete: Collection[str]
) -> list[int]:
    """Return the ascending keys of what is stored of some origins and not among the entries."""
    found = connection.executemany(
        "SELECT id, key FROM patterns WHERE namespace = ? AND origin = ?",
        [(number, origin) for origin in set(complete)],
    )
    return sorted(key for id_, key in found if id_ not in entries)


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
