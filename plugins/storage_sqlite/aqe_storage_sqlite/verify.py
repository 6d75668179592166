"""Examining a data file: its structure, its checksums, and whether its tables agree with each other."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

import apsw

from aqe_core.contracts.maintenance import Finding, Verification
from aqe_core.errors import AqeError, CorruptStorageError, NoWorkspaceError
from aqe_storage_sqlite import catalog, checksums, claims, files, pages, schema, text_index
from aqe_storage_sqlite import connection as sqlite
from aqe_storage_sqlite import patterns as pattern_table
from aqe_storage_sqlite import points as point_table
from aqe_storage_sqlite import states as state_table
from aqe_storage_sqlite import vectors as vector_table
from aqe_storage_sqlite.legacy import tables as legacy_tables

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["examine", "open_to_read", "problem_of_state", "require_sound", "verify"]

_REPAIR = "run `aqe repair`, or restore a backup with `aqe restore`."
_DERIVED = "run `aqe repair`; it is derived, and made anew when it is needed."
_DAMAGED_LIMIT_S = 2.0
"""How long one check may run once the structure is known to be damaged: pages may then point in circles."""


def verify(
    path: Path, *, timeout_s: float = 10.0, alone: bool = False, structure: _Structure | None = None
) -> Verification:
    """Examine a file of whatever state; see `aqe_core.contracts.maintenance.StorageMaintenance`.

    ``alone``: as in `open_to_read`; ``structure``: as in `examine`.
    """
    if not path.is_file():
        raise NoWorkspaceError(f"there is no file {path}.", fix="run `aqe init`, or restore a backup.")
    findings = list(_log(path))  # before SQLite reads it: it passes over what it cannot use, without a word
    rows: dict[str, int] = {}
    version = 0
    try:
        with closing(open_to_read(path, timeout_s, alone=alone)) as connection:
            if structure is not None:
                connection.execute(_ONCE)
            findings += _size(path, connection)
            try:
                version = schema.version_of(connection, path)
            finally:
                damaged = bool(findings)
                findings += examine(connection, version, rows, damaged=damaged, structure=structure)
    except AqeError as error:
        findings.append(Finding(severity="error", check="schema", message=error.message, fix=error.fix))
    except (apsw.Error, UnicodeDecodeError) as error:
        findings.append(_unreadable("structure", error))
    newest = len(schema.MIGRATIONS)
    pending = tuple(range(version + 1, newest + 1)) if version else ()
    if pending:
        message = f"schema version {version}; {newest} is the newest. It is backed up, then migrated, when written to."
        findings.append(Finding(severity="note", check="migrations", message=message))
    findings.sort(key=lambda finding: ("error", "warning", "note").index(finding.severity))
    return Verification(
        path=path,
        findings=tuple(findings),
        rows=rows,
        schema_version=version,
        newest_schema_version=newest,
        pending_migrations=pending,
    )


def require_sound(path: Path, what: str, *, timeout_s: float = 10.0, alone: bool = False) -> dict[str, int]:
    """Return the rows by table of a file without errors.

    Looked at is what cannot be made anew: the structure (beside the rest, on another core), the schema, and patterns,
    runs, time series and what was taken over with their checksums. What is derived from them is left out.

    Raises
    ------
    CorruptStorageError
        There is an error; the message names the first one.
    """
    structure = _Structure(path, timeout_s, alone=alone)
    structure.start()
    try:
        found = verify(path, timeout_s=timeout_s, alone=alone, structure=structure)
    finally:
        structure.join()
    findings = [*structure.findings, *(each for each in found.findings if each.severity == "error")]
    if findings:
        first = findings[0]
        where = " ".join(part for part in (first.table, first.row) if part)
        raise CorruptStorageError(
            f"{what} is damaged: {first.message}{f' ({where})' if where else ''}",
            fix="run `aqe verify` for all that is wrong, and `aqe repair` to save what can be read.",
        )
    return found.rows


_ONCE = f"PRAGMA cache_size = -{files.COPYING_KIB}"  # most pages are looked at once, as in copying


class _Structure(threading.Thread):
    """Looks at a file's structure on a connection of its own, beside the thread that started it."""

    def __init__(self, path: Path, timeout_s: float, *, alone: bool) -> None:
        super().__init__(name="aqe-verify", daemon=True)
        self._path = path
        self._timeout_s = timeout_s
        self._alone = alone
        self.findings: list[Finding] = []

    def run(self) -> None:
        try:
            with closing(open_to_read(self._path, self._timeout_s, alone=self._alone)) as connection:
                connection.execute(_ONCE)
                connection.drop_modules(None)  # else the text index is compared with itself, which is derived
                self.findings = list(_structure(connection, 0, {}))
        except Exception as error:  # told by the thread that waits
            self.findings = [_unreadable("structure", error)]


def open_to_read(path: Path, timeout_s: float, *, alone: bool = False) -> apsw.Connection:
    """Open a file for reading only; one without a log also where no file may be made beside it.

    With ``alone`` nobody else is expected to have it open, so that nothing is made beside a backup.
    """
    immutable = path.resolve().as_uri() + "?immutable=1"
    if alone and not any(path.with_name(path.name + suffix).exists() for suffix in ("-wal", "-shm", "-journal")):
        return sqlite.connect(immutable, sqlite.READ | apsw.SQLITE_OPEN_URI, timeout_s=timeout_s)
    try:
        connection = sqlite.connect(str(path), sqlite.READ, timeout_s=timeout_s)
        try:
            connection.execute("PRAGMA schema_version").fetchall()
        except BaseException:
            connection.close(True)
            raise
    except (apsw.ReadOnlyError, apsw.CantOpenError):
        if pages.log_bytes(path):
            raise
        return sqlite.connect(immutable, sqlite.READ | apsw.SQLITE_OPEN_URI, timeout_s=timeout_s)
    return connection


def examine(
    connection: apsw.Connection,
    version: int,
    rows: dict[str, int],
    *,
    damaged: bool = False,
    structure: _Structure | None = None,
) -> list[Finding]:
    """Run every check that works at a schema version; ``rows`` gets the numbers of rows by table.

    With ``structure``, which somebody else is about to find out, only the checks of what cannot be made anew are run,
    and broken off when it turns out to be damaged.
    """
    findings: list[Finding] = []
    connection.execute("BEGIN")  # all checks see one state, whoever writes meanwhile
    if structure is None:
        whole: tuple[_Check, ...] = (_schema, *_TRUTH, _points, *_MADE_ANEW) if version else ()
        checks: tuple[_Check, ...] = (_structure, _references, *whole)
    else:
        checks = (_references, *((_schema, *_TRUTH, _sums_of_points) if version else ()))
        connection.set_progress_handler(partial(_is_damaged, structure), 10_000)
    for check in checks:
        if check is _words and any(finding.severity == "error" for finding in findings):
            continue
        if structure is None and (damaged or findings):
            deadline_s = time.monotonic() + _DAMAGED_LIMIT_S
            connection.set_progress_handler(partial(_is_past, deadline_s), 10_000)
        try:
            findings.extend(check(connection, version, rows))
        except (apsw.Error, UnicodeDecodeError, ValueError, TypeError, OverflowError) as error:
            findings.append(_unreadable(check.__name__.strip("_"), error))
    connection.set_progress_handler(None)
    return findings


def _is_damaged(structure: _Structure) -> bool:
    return bool(structure.findings)


def _is_past(deadline_s: float) -> bool:
    return time.monotonic() > deadline_s


def _unreadable(check: str, error: Exception) -> Finding:
    return Finding(severity="error", check=check, message=f"cannot be read ({error})", fix=_REPAIR)


# -- structure -------------------------------------------------------------------------------------------------------


def _log(path: Path) -> Iterator[Finding]:
    lost = pages.unusable_frames(path)
    if lost == 1:
        message = (
            "the last page in the log cannot be used: a commit was cut short by the end of its process, or damaged"
        )
        yield Finding(
            severity="warning", check="log", message=message, fix="open the workspace; what is whole is kept."
        )
    elif lost:
        message = f"{lost} pages in the log cannot be used after a damaged one; the commits they belong to are lost"
        yield Finding(severity="error", check="log", message=message, fix=_REPAIR)


def _size(path: Path, connection: apsw.Connection) -> Iterator[Finding]:
    if pages.log_bytes(path):
        return  # it may be in the midst of being folded in
    if path.stat().st_size % connection.execute("PRAGMA page_size").get:
        message = "the file ends in the middle of a page: it was cut off"
        yield Finding(severity="error", check="structure", message=message, fix=_REPAIR)


def _structure(connection: apsw.Connection, _version: int, _rows: dict[str, int]) -> Iterator[Finding]:
    for (line,) in connection.execute("PRAGMA integrity_check(1000)"):
        message = str(line).removeprefix("*** in database main ***\n")
        if message != "ok":
            yield Finding(severity="error", check="structure", message=message, fix=_REPAIR)


def _references(connection: apsw.Connection, _version: int, _rows: dict[str, int]) -> Iterator[Finding]:
    dangling: Any = connection.execute("PRAGMA foreign_key_check").fetchall()
    for table, row, parent, _ in dangling:
        message = f"refers to a row of {parent} that is not there"
        yield Finding(severity="error", check="references", table=table, row=str(row), message=message, fix=_REPAIR)


def _schema(connection: apsw.Connection, version: int, rows: dict[str, int]) -> Iterator[Finding]:
    found, wanted = catalog.objects(connection), catalog.reference(version)
    for name, sql in wanted.items():
        if found.get(name) != sql:
            message = f"the table or index {'was changed' if name in found else 'is missing'}"
            yield Finding(severity="error", check="schema", table=name, message=message, fix=_REPAIR)
    for name in sorted(found.keys() - wanted.keys()):
        yield Finding(severity="note", check="schema", table=name, message="the table or index is not aqe's own")
    for name in catalog.names(connection):
        rows[name] = connection.execute(f"SELECT count(*) FROM {catalog.quoted(name)}").get  # noqa: S608  # quoted


# -- content ---------------------------------------------------------------------------------------------------------


def _has_checksums(version: int) -> bool:
    return version >= schema.CHECKSUMS_SINCE


def _patterns(connection: apsw.Connection, version: int, _rows: dict[str, int]) -> Iterator[Finding]:
    fields = [name if name != "crc32" or _has_checksums(version) else "NULL" for name in pattern_table.Row._fields]
    for row in _doubtful_patterns(connection, fields):
        try:
            pattern = pattern_table.to_pattern(row)
            fits = row[-1] is not None or pattern.content_hash() == row[2]
            message = "" if fits else "its content does not fit its hash"
        except CorruptStorageError as error:
            message = error.message
        if message:
            yield Finding(
                severity="error", check="patterns", table="patterns", row=f"{row[0]}", message=message, fix=_REPAIR
            )


def _doubtful_patterns(connection: apsw.Connection, fields: list[str]) -> Iterator[tuple[Any, ...]]:
    """Yield the rows whose checksum does not fit what SQLite puts together, or that have none."""
    together = f"SELECT key, {fields[-1]}, CAST(concat_ws(char(0), {', '.join(fields[:-1])}) AS BLOB) FROM patterns"  # noqa: S608  # ours
    one = f"SELECT key, {', '.join(fields)} FROM patterns WHERE key = ?"  # noqa: S608  # ours
    for key, crc32, data in connection.execute(together):
        if crc32 is None or checksums.crc32(data) != crc32:
            yield from connection.execute(one, (key,))


def _runs(connection: apsw.Connection, version: int, _rows: dict[str, int]) -> Iterator[Finding]:
    crc32 = "crc32" if _has_checksums(version) else "NULL"
    for number, total, *head in connection.execute(f"SELECT number, {crc32}, id, source, tool, started_s FROM runs"):  # noqa: S608  # ours
        results: Any = connection.execute(
            "SELECT position, t.name, outcome, duration_s, message FROM results AS r JOIN tests AS t ON t.id = r.test "
            "WHERE run = ? ORDER BY position",
            (number,),
        ).fetchall()
        message = ""
        if total is not None and not checksums.is_run(total, tuple(head), [row[1:] for row in results]):
            message = f"the run {head[0]!r:.80} or its results have a wrong checksum"
        elif [row[0] for row in results] != list(range(len(results))):
            message = f"results of the run {head[0]!r:.80} are missing"
        if message:
            yield Finding(
                severity="error", check="results", table="runs", row=str(number), message=message, fix=_REPAIR
            )


def _vectors(connection: apsw.Connection, _version: int, _rows: dict[str, int]) -> Iterator[Finding]:
    spaces: Any = connection.execute("SELECT id, namespace, dim FROM vector_spaces").fetchall()
    for space, namespace, dim in spaces:
        blocks = connection.execute(
            "SELECT block, slots, crc32, data FROM vector_blocks WHERE space = ? ORDER BY block", (space,)
        )
        for block, slots, crc32, data in blocks:
            message = vector_table.problem_of(block, slots, crc32, data, dim)
            if not message:
                gone = [
                    key
                    for key in vector_table.keys_of(block, slots)
                    if connection.execute(
                        "SELECT count(*) FROM patterns WHERE key = ? AND namespace = ?", (key, namespace)
                    ).get
                    == 0
                ]
                message = f"it holds vectors of patterns that are not there: {gone}" if gone else ""
            if message:
                yield Finding(
                    severity="warning",
                    check="vectors",
                    table="vector_blocks",
                    row=f"space {space}, block {block}",
                    message=message,
                    fix=_DERIVED,
                )


def _states(connection: apsw.Connection, _version: int, _rows: dict[str, int]) -> Iterator[Finding]:
    names: Any = connection.execute("SELECT name FROM states").fetchall()
    for (name,) in names:
        message = problem_of_state(connection, name)
        if message:
            yield Finding(severity="warning", check="states", table="states", row=name, message=message, fix=_DERIVED)


def problem_of_state(connection: apsw.Connection, name: str) -> str:
    """Say what is wrong with a kept engine state; nothing if it can be loaded and agrees with the truth."""
    encoded = state_table.fetch(connection, name)
    if encoded is None:
        return "its checksum is wrong"
    try:
        state = state_table.decode(encoded)
    except (ValueError, TypeError) as error:
        return f"it cannot be loaded ({error})"
    return claims.disagreement(connection, encoded.seq, dict(state.manifest))


def _journal(connection: apsw.Connection, version: int, _rows: dict[str, int]) -> Iterator[Finding]:
    def found(row: int, message: str) -> Finding:
        return Finding(
            severity="warning", check="journal", table="journal", row=str(row), message=message, fix=_DERIVED
        )

    last: dict[int, tuple[int, int, int]] = {}
    expected = None
    crc32 = "crc32" if _has_checksums(version) else "NULL"
    for seq, namespace, written, key, count, total in connection.execute(
        f"SELECT seq, namespace, written, key, {_count(version)}, {crc32} FROM journal ORDER BY seq"  # noqa: S608  # ours
    ):
        fits = (total is None and count == 1) or checksums.of_entry(namespace, written, key, count) == total
        if not fits:
            yield found(seq, "its checksum is wrong")
        first = seq - count + 1 if fits else seq if expected is None else expected
        if expected is not None and first > expected:
            yield found(seq, f"the entries {expected} to {first - 1} are missing")
        elif expected is not None and first < expected:
            yield found(seq, f"it begins at {first}, where the one before it ends at {expected - 1}")
        expected = seq + 1
        if fits:
            last.update((each, (seq, namespace, written)) for each in range(key, key + count))
    if expected is not None and expected - 1 != _sequence(connection, "journal"):
        yield found(expected - 1, f"the newest entry should be {_sequence(connection, 'journal')}")
    for key, (seq, namespace, written) in last.items():
        there = connection.execute(
            "SELECT count(*) FROM patterns WHERE key = ? AND namespace = ?", (key, namespace)
        ).get
        if there != written:
            yield found(seq, f"the pattern {key} should {'' if written else 'not '}be there")


def _count(version: int) -> str:
    return "count" if version >= schema.RANGES_SINCE else "1"


def _sequences(connection: apsw.Connection, version: int, _rows: dict[str, int]) -> Iterator[Finding]:
    for table, key, also in (
        ("patterns", "key", f"SELECT max(key + {_count(version)} - 1) FROM journal"),  # noqa: S608  # ours
        ("runs", "number", "SELECT max(run) FROM results"),
    ):
        largest = max(
            connection.execute(f"SELECT max({key}) FROM {table}").get or 0,  # noqa: S608  # ours
            connection.execute(also).get or 0,
        )
        if largest > _sequence(connection, table):
            message = f"keys of {table} up to {largest} were given, but the counter says {_sequence(connection, table)}"
            yield Finding(
                severity="error", check="counters", table="sqlite_sequence", row=table, message=message, fix=_REPAIR
            )


def _points(connection: apsw.Connection, version: int, _rows: dict[str, int]) -> Iterator[Finding]:
    return _damaged_points(connection, version, unpack=True)


def _sums_of_points(connection: apsw.Connection, version: int, _rows: dict[str, int]) -> Iterator[Finding]:
    return _damaged_points(connection, version, unpack=False)


def _damaged_points(connection: apsw.Connection, version: int, *, unpack: bool) -> Iterator[Finding]:
    if version >= schema.POINTS_SINCE:
        for table, row, _, message in point_table.damaged(connection, unpack=unpack):
            yield Finding(severity="error", check="points", table=table, row=str(row), message=message, fix=_REPAIR)


def _taken_over(connection: apsw.Connection, version: int, _rows: dict[str, int]) -> Iterator[Finding]:
    if version >= schema.LEGACY_CHECKSUMS_SINCE:
        for table in schema.TAKEN_OVER:
            for *row, crc32 in connection.execute(f"SELECT * FROM {table}"):  # noqa: S608  # ours
                if not legacy_tables.is_right(row, crc32):
                    where, message = f"source {row[0]}, row {row[1]}", "its checksum is wrong"
                    yield Finding(
                        severity="error", check="taken-over", table=table, row=where, message=message, fix=_REPAIR
                    )


def _text_index(connection: apsw.Connection, version: int, _rows: dict[str, int]) -> Iterator[Finding]:
    if version >= schema.POINTS_SINCE:
        lacking, orphaned = text_index.out_of_step(connection)
        for keys, what in ((lacking, "are not in the text index"), (orphaned, "are in the text index but not there")):
            if keys:
                message = f"{len(keys)} patterns {what}: {', '.join(map(str, keys[:10]))}"
                yield Finding(
                    severity="warning", check="text-index", table="pattern_words", message=message, fix=_DERIVED
                )


def _words(connection: apsw.Connection, version: int, _rows: dict[str, int]) -> Iterator[Finding]:
    """Compare the index with the texts, which have to be right for that."""
    if version < schema.POINTS_SINCE or text_index.out_of_step(connection) != ([], []):
        return
    if not text_index.is_whole(connection):
        message = "the text index is damaged, or of other texts: searching may miss patterns"
        yield Finding(severity="warning", check="text-index", table="pattern_words", message=message, fix=_DERIVED)


def _sequence(connection: apsw.Connection, table: str) -> int:
    return connection.execute("SELECT max(seq) FROM sqlite_sequence WHERE name = ?", (table,)).get or 0


_Check = Callable[[apsw.Connection, int, dict[str, int]], Iterator[Finding]]

_TRUTH: tuple[_Check, ...] = (_patterns, _runs, _sequences, _taken_over)
_MADE_ANEW: tuple[_Check, ...] = (_vectors, _states, _journal, _text_index, _words)
"""Checks of what can be made anew from the rest; none of them finds an error, only warnings."""
