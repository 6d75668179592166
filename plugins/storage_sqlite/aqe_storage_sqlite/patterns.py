"""Patterns in and out of their table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from aqe_core.contracts.records import Pattern, PutReport
from aqe_core.errors import CorruptStorageError, InputError
from aqe_storage_sqlite import checksums, journal, namespaces, text_index, vectors
from aqe_storage_sqlite.encoding import DAMAGED, MAX_INTEGER, as_text, decode_json, encode_json, reading
from aqe_storage_sqlite.filters import to_sql

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    import apsw
    from numpy.typing import NDArray

__all__ = ["Row", "by_id", "by_key", "count", "keys_where", "origins", "put", "remove", "to_pattern", "to_rows"]

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


_SELECT = f"SELECT p.key, {', '.join(f'p.{field}' for field in Row._fields)} FROM patterns AS p "  # noqa: S608  # ours
_INSERT = (
    f"INSERT INTO patterns (key, namespace, {', '.join(Row._fields)}) "  # noqa: S608  # ours
    f"VALUES (?, ?, {', '.join('?' * len(Row._fields))})"
)
_UPDATE = f"UPDATE patterns SET {', '.join(f'{field} = ?' for field in Row._fields)} WHERE key = ?"  # noqa: S608  # ours
_NAMESPACE = "(SELECT id FROM namespaces WHERE name = ?)"


def to_rows(patterns: Iterable[Pattern]) -> dict[str, Row]:
    """Check and encode patterns, by id; of equal ids the last one counts."""
    return {row.id: row for row in map(_to_row, patterns)}


def _to_row(pattern: Any) -> Row:
    if not isinstance(pattern, Pattern):
        raise InputError(f"{pattern!r:.60} is no Pattern.", fix="pass aqe_core.contracts.Pattern.")
    # Types are told apart by hand: the fields are declared, but nothing has enforced that yet.
    given: Any = pattern
    for field in _TEXTS:
        if type(getattr(given, field)) is not str:
            as_text(getattr(given, field), f"{field} of pattern {given.id!r:.80}")
    if not (isinstance(given.line, int) and 0 <= given.line <= MAX_INTEGER):
        raise InputError(
            f"line of pattern {given.id!r:.80} must be an integer in 0 .. 2**63 - 1.",
            fix="pass 0 when it is unknown.",
        )
    row = Row(
        id=pattern.id,
        markers=_encode_markers(given.markers, pattern.id) if given.markers else "[]",
        metadata=_encode_metadata(given.metadata, pattern.id) if given.metadata else "{}",
        content_hash=pattern.content_hash(),
        line=int(pattern.line),
        name=pattern.name,
        path=pattern.path,
        class_name=pattern.class_name,
        origin=pattern.origin,
        docstring=pattern.docstring,
        text=pattern.text,
        crc32=None,
    )
    return row._replace(crc32=checksums.of_pattern(row[:-1]))


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


def to_pattern(row: tuple[Any, ...]) -> Pattern:
    """Return the pattern of a key and a `Row`.

    Raises
    ------
    CorruptStorageError
        The row's checksum is wrong, or it holds broken JSON.
    """
    key, fields = row[0], Row._make(row[1:])
    with reading(f"the pattern with key {key}"):
        if fields.crc32 is not None and checksums.of_pattern(fields[:-1]) != fields.crc32:
            raise CorruptStorageError(f"the pattern with key {key} has a wrong checksum.", fix=DAMAGED)
        return Pattern(
            id=fields.id,
            name=fields.name,
            text=fields.text,
            path=fields.path,
            class_name=fields.class_name,
            docstring=fields.docstring,
            markers=tuple(decode_json(fields.markers)) if fields.markers != "[]" else (),
            line=fields.line,
            metadata=decode_json(fields.metadata) if fields.metadata != "{}" else {},
            origin=fields.origin,
            key=key,
        )


# -- writing ----------------------------------------------------------------------------------------------------------


def put(
    connection: apsw.Connection,
    namespace: str,
    ids: Sequence[str],
    rows: Mapping[str, Row],
    complete: Collection[str],
) -> PutReport:
    """Insert what is new, replace what differs, and remove what vanished from the complete origins.

    O(n log N) for n rows given and N stored.
    """
    number = (namespaces.ensure if rows else namespaces.number_of)(connection, namespace)
    stored = {
        stored_id: rest
        for stored_id, *rest in connection.executemany(
            "SELECT id, key, content_hash, line, origin FROM patterns WHERE namespace = ? AND id = ?",
            ((number, id_) for id_ in rows),
        )
    }
    new = [row for id_, row in rows.items() if id_ not in stored]
    reworded, changed, moved = [], [], []
    for id_, (key, content_hash, line, origin) in stored.items():
        row = rows[id_]
        if row.content_hash != content_hash:
            reworded.append((key, row.name, row.text))
            changed.append((*row, key))
        elif (row.line, row.origin) != (line, origin):
            moved.append((*row, key))

    first = (connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'patterns'").get or 0) + 1
    connection.executemany(_INSERT, ((key, number, *row) for key, row in enumerate(new, first)))
    connection.executemany(_UPDATE, changed + moved)
    reworded += [(key, row.name, row.text) for key, row in enumerate(new, first)]
    text_index.put(connection, reworded)
    changed_keys = sorted(row[-1] for row in changed)
    vectors.drop(connection, number, np.array(changed_keys, np.int64))
    written = [*changed_keys, *range(first, first + len(new))]
    journal.append(connection, number, written=written)

    vanished = sorted(
        key
        for id_, key in connection.executemany(
            "SELECT id, key FROM patterns WHERE namespace = ? AND origin = ?",
            ((number, origin) for origin in set(complete)),
        )
        if id_ not in rows
    )
    _delete(connection, number, vanished)
    keys = {id_: rest[0] for id_, rest in stored.items()}
    keys.update((row.id, key) for key, row in enumerate(new, first))
    return PutReport(
        keys=np.fromiter((keys[id_] for id_ in ids), np.uint64, len(ids)),
        added=len(new),
        changed=len(changed),
        unchanged=len(stored) - len(changed),
        removed=len(vanished),
        written_keys=np.array(written, np.uint64),
        removed_keys=np.array(vanished, np.uint64),
    )


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
    rows = connection.executemany(
        f"{_SELECT} WHERE p.key = ? AND p.namespace = {_NAMESPACE}",
        ((key, namespace) for key in keys if key <= MAX_INTEGER),
    )
    return {row[0]: to_pattern(row) for row in rows}


def by_id(connection: apsw.Connection, namespace: str, ids: Iterable[str]) -> dict[str, Pattern]:
    """Return those of the ids that are patterns of the namespace."""
    rows = connection.executemany(
        f"{_SELECT} WHERE p.namespace = {_NAMESPACE} AND p.id = ?", ((namespace, id_) for id_ in ids)
    )
    return {pattern.id: pattern for pattern in map(to_pattern, rows)}


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
