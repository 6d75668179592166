"""Our tables for what was taken over: written in batches, each with its progress."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from attrs import evolve

from aqe_core.errors import CorruptStorageError
from aqe_storage_sqlite import checksums, namespaces
from aqe_storage_sqlite import patterns as pattern_table
from aqe_storage_sqlite.encoding import DAMAGED
from aqe_storage_sqlite.legacy.layouts import Entry, Experience, KeptPattern, Metric, QValue
from aqe_storage_sqlite.legacy.source import BEFORE_ALL
from aqe_storage_sqlite.schema import TAKEN_OVER

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import apsw

    from aqe_storage_sqlite.legacy.layouts import Record

__all__ = [
    "Progress",
    "begin_file",
    "begin_table",
    "counts_of",
    "end_file",
    "end_table",
    "is_right",
    "problems_of",
    "require_right",
    "store",
]


def _insert(table: str, fields: Sequence[str]) -> str:
    names = ", ".join(("source", "row", *fields, "crc32"))
    marks = ", ".join("?" * (len(fields) + 3))
    return f"INSERT OR REPLACE INTO {table} ({names}) VALUES ({marks})"  # noqa: S608  # names of ours


_EXPERIENCE_FIELDS = tuple(field for field in Experience._fields if field != "embedding")
_PLAIN: dict[type, str] = {
    QValue: _insert("q_values", QValue._fields),
    Entry: _insert("entries", Entry._fields),
    Metric: _insert("metrics", Metric._fields),
}
_INSERT_EXPERIENCE = _insert("experiences", _EXPERIENCE_FIELDS)
_INSERT_EMBEDDING = _insert("legacy_embeddings", ("kind", "id", "data"))
_INSERT_ARCHIVED = _insert("archive", ("data",))


def _insert_checked(connection: apsw.Connection, sql: str, rows: Iterable[tuple[Any, ...]]) -> None:
    connection.executemany(sql, ((*row, checksums.of_row(row)) for row in rows))


def is_right(row: Sequence[Any], crc32: int | None) -> bool:
    """Say whether a taken-over row, its columns in their order, is as it was stored."""
    return crc32 is None or checksums.of_row(row) == crc32


def require_right(table: str, row: Sequence[Any], crc32: int | None) -> None:
    """Raise `CorruptStorageError` unless a taken-over row is as it was stored."""
    if not is_right(row, crc32):
        raise CorruptStorageError(f"the row {row[1]} of source {row[0]} in {table} has a wrong checksum.", fix=DAMAGED)


class Progress(NamedTuple):
    """How far a table has come.

    Attributes
    ----------
    id : int
    last_row : int
        Rows up to this number are stored.
    done : bool
    counts : dict
        ``converted`` and ``archived`` numbers of rows, ``reasons`` with numbers of rows.
    """

    id: int
    last_row: int
    done: bool
    counts: dict[str, Any]


def begin_file(connection: apsw.Connection, path: str, sha256: str) -> tuple[int, bool]:
    """Return a file's number, and whether this content of it was taken over completely.

    A file is known by its content wherever it lies now, else by its path; with new content its tables are begun anew.
    """
    known = connection.execute("SELECT id, done FROM legacy_files WHERE sha256 = ?", (sha256,)).get
    if known is not None:
        return int(known[0]), bool(known[1])
    connection.execute(
        "INSERT INTO legacy_files (path, sha256, kind, problems, done) VALUES (?, ?, 'sqlite', '[]', 0) "
        "ON CONFLICT (path) DO UPDATE SET sha256 = excluded.sha256, problems = '[]', done = 0",
        (path, sha256),
    )
    number = connection.execute("SELECT id FROM legacy_files WHERE path = ?", (path,)).get
    connection.execute(
        "UPDATE legacy_tables SET last_row = ?, done = 0, counts = '{}' WHERE file = ?", (BEFORE_ALL, number)
    )
    return int(number), False


def end_file(connection: apsw.Connection, file: int, problems: list[str]) -> None:
    """Note that a file is taken over, and what is wrong with it; of a sound one, forget the tables that are gone."""
    gone: list[Any] = connection.execute("SELECT id FROM legacy_tables WHERE file = ? AND NOT done", (file,)).fetchall()
    for (table,) in () if problems else gone:
        _forget(connection, table)
        connection.execute("DELETE FROM legacy_tables WHERE id = ?", (table,))
    connection.execute("UPDATE legacy_files SET problems = ?, done = 1 WHERE id = ?", (json.dumps(problems), file))


def problems_of(connection: apsw.Connection, file: int) -> list[str]:
    """Return what is wrong with a file."""
    found: list[str] = json.loads(connection.execute("SELECT problems FROM legacy_files WHERE id = ?", (file,)).get)
    return found


def begin_table(connection: apsw.Connection, file: int, name: str, *, anew: bool = False) -> Progress:
    """Return how far a table has come; with ``anew``, for a damaged file, nowhere, unless it is done.

    Where a sound file begins, what its earlier content left is removed. Behind a damaged one it stays, since nobody
    knows whether a row was deleted there or cannot be read, and rows of the same number are replaced.
    """
    connection.execute(
        "INSERT INTO legacy_tables (file, name, last_row, done, counts) VALUES (?, ?, ?, 0, '{}') "
        "ON CONFLICT DO NOTHING",
        (file, name, BEFORE_ALL),
    )
    number, last_row, done, counts = connection.execute(
        "SELECT id, last_row, done, counts FROM legacy_tables WHERE file = ? AND name = ?", (file, name)
    ).get
    none: dict[str, Any] = {"converted": 0, "archived": 0, "reasons": {}}
    if anew and not done:
        return Progress(number, BEFORE_ALL, False, none)
    if last_row == BEFORE_ALL:
        _forget(connection, number)
    return Progress(number, last_row, bool(done), none | json.loads(counts))


def _forget(connection: apsw.Connection, table: int) -> None:
    """Remove what was taken over from a table, but for its patterns: those are the project's now."""
    for name in TAKEN_OVER:
        connection.execute(f"DELETE FROM {name} WHERE source = ?", (table,))  # noqa: S608  # names of ours


def end_table(connection: apsw.Connection, table: int, counts: dict[str, Any]) -> None:
    """Note that a table is taken over."""
    connection.execute("UPDATE legacy_tables SET done = 1, counts = ? WHERE id = ?", (json.dumps(counts), table))


def counts_of(connection: apsw.Connection, file: int) -> dict[str, dict[str, Any]]:
    """Return the counts of a file's tables, by name."""
    sql = "SELECT name, counts FROM legacy_tables WHERE file = ? AND done ORDER BY name"
    rows = connection.execute(sql, (file,))
    return {name: json.loads(counts) for name, counts in rows}


def store(
    connection: apsw.Connection,
    progress: Progress,
    records: Sequence[tuple[int, Record]],
    archived: Sequence[tuple[int, str]],
    *,
    namespace: str,
    path: str,
) -> None:
    """Store a batch with its progress: records, all of one kind, and rows kept as JSON, by row number."""
    source = progress.id
    kind = type(records[0][1]) if records else None
    if kind is KeptPattern:
        _store_patterns(connection, source, records, namespace, path)
    elif kind is Experience:
        _store_experiences(connection, source, records)
    elif kind is not None:
        _insert_checked(connection, _PLAIN[kind], ((source, row, *record) for row, record in records))
    _insert_checked(connection, _INSERT_ARCHIVED, ((source, row, data) for row, data in archived))
    connection.execute(
        "UPDATE legacy_tables SET last_row = ?, counts = ? WHERE id = ?",
        (progress.last_row, json.dumps(progress.counts), source),
    )


def _store_experiences(connection: apsw.Connection, source: int, records: Sequence[tuple[int, Any]]) -> None:
    _insert_checked(connection, _INSERT_EXPERIENCE, ((source, row, *record[:-1]) for row, record in records))
    _insert_checked(
        connection,
        _INSERT_EMBEDDING,
        (
            (source, row, "experience", record.task or str(row), record.embedding)
            for row, record in records
            if record.embedding is not None
        ),
    )


def _store_patterns(
    connection: apsw.Connection, source: int, records: Sequence[tuple[int, Any]], namespace: str, path: str
) -> None:
    """Store patterns; one whose id another file or program has taken gets its own file's name behind the id."""
    number = namespaces.number_of(connection, namespace)
    ids = [record.pattern.id for _, record in records]
    known: list[Any] = connection.executemany(
        "SELECT id, origin FROM patterns WHERE namespace = ? AND id = ?", ((number, id_) for id_ in ids)
    ).fetchall()
    taken: dict[str, str] = dict(known)
    patterns, embeddings = [], []
    for row, record in records:
        origin = f"{path}#{record.pattern.origin}"
        id_ = record.pattern.id
        if taken.get(id_, origin) != origin:
            id_ = f"{id_}@{origin}"
        patterns.append(evolve(record.pattern, id=id_, origin=origin))
        if record.embedding is not None:
            embeddings.append((source, row, "pattern", id_, record.embedding))
    pattern_table.put(connection, pattern_table.Given(namespace, [], pattern_table.to_entries(patterns)))
    _insert_checked(connection, _INSERT_EMBEDDING, embeddings)
