"""Repairing a data file: what can be read of it goes into a new one, which takes its place.

What is in the new file is right: a row whose checksum is wrong, or that refers to something lost, is left out and
listed. What is derived (vectors, engine states, the text index, the journal) is dropped when in doubt and made anew.
"""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING, Any

import apsw

from aqe_core.contracts.maintenance import LostRow, Repair
from aqe_core.errors import CorruptStorageError, FutureSchemaError, NoWorkspaceError, StorageError
from aqe_storage_sqlite import catalog, checksums, files, pages, salvage, schema, text_index, verify
from aqe_storage_sqlite import connection as sqlite
from aqe_storage_sqlite import patterns as pattern_table
from aqe_storage_sqlite import points as point_table
from aqe_storage_sqlite import vectors as vector_table
from aqe_storage_sqlite.legacy import tables as legacy_tables

if TYPE_CHECKING:
    from pathlib import Path

    from aqe_storage_sqlite.salvage import Salvaged

__all__ = ["repair"]

_DERIVED = frozenset(("vector_spaces", "vector_blocks", "states", "state_arrays", "journal"))
"""Tables of which nothing is lost for good."""

_Rows = dict[object, dict[str, Any]]


def repair(path: Path, *, timeout_s: float) -> Repair:
    """Save what can be read; see `aqe_core.contracts.maintenance.StorageMaintenance`.

    The damaged file is read as bytes, not opened as a database, and kept with its log in the folder ``backups``.
    O(file), which must fit into memory.
    """
    if not path.is_file():
        raise NoWorkspaceError(f"there is no file {path}.", fix="run `aqe init`, or restore a backup.")
    before = verify.verify(path, timeout_s=timeout_s)
    if before.ok:
        return Repair(path=path, damaged=None, rows=before.rows, lost=(), notes=())
    with files.drafted(path) as draft, sqlite.translated(path), files.locked(path, timeout_s):
        file = _read(path)
        version = _version(file, path)
        with closing(apsw.Connection(":memory:")) as reference:
            catalog.build(version, reference)
            tables = catalog.tables(reference)
        found = salvage.salvage(file, tables)
        if not any(found.rows.values()):
            raise CorruptStorageError(
                f"nothing of an aqe data file can be found in {path}.",
                fix="restore a backup with `aqe restore`, or move the file away and ingest again.",
            )
        notes = _check(found)
        states = {each.row: each.message for each in before.findings if each.check == "states"}
        rows = _write(draft, version, tables, found, notes, states)
        verify.require_sound(draft, "what was saved", timeout_s=timeout_s)
        files.sync(draft)
        kept = files.backup_name(path, "damaged")
        files.keep_untouched_and_replace(path, draft, kept)
    lost = tuple(row for row in found.lost if row.table not in _DERIVED)
    return Repair(path=path, damaged=kept, rows=rows, lost=lost, notes=tuple(notes))


def _read(path: Path) -> pages.PageFile:
    log = pages.log_of(path)
    try:
        return pages.PageFile(path.read_bytes(), log.read_bytes() if log.exists() else b"")
    except OSError as error:
        raise StorageError(f"{path} cannot be read ({error.strerror}).", fix="check its permissions.") from error


def _version(file: pages.PageFile, path: Path) -> int:
    """Return the schema version that the header states, or the newest one where it makes no sense."""
    newest = len(schema.MIGRATIONS)
    version, application = file.header(60), file.header(68)
    if application == schema.APPLICATION_ID and newest < version < newest + 1000:
        raise FutureSchemaError(
            f"{path} has schema version {version}; this aqe knows versions up to {newest}.", fix="update aqe-core."
        )
    return version if 1 <= version <= newest else newest


# -- what is right ---------------------------------------------------------------------------------------------------


def _check(found: Salvaged) -> list[str]:
    """Take out of the rows what is damaged or refers to nothing; return what else is worth knowing."""
    notes = [
        f"{count} rows of {table} were found outside of their table; some may have been removed before"
        for table, count in found.strays.items()
        if count
    ]
    _check_patterns(found)
    _check_runs(found)
    _check_taken_over(found)
    _name_namespaces(found, notes)
    _check_vectors(found, notes)
    found.rows["journal"].clear()
    return notes


def _drop(found: Salvaged, table: str, key: object, reason: str, shown: object = None) -> None:
    found.rows[table].pop(key)
    found.lost.append(LostRow(table=table, row=f"{key if shown is None else shown}", reason=reason))


def _check_patterns(found: Salvaged) -> None:
    patterns: _Rows = found.rows["patterns"]
    for key, row in list(patterns.items()):
        reason = ""
        try:
            values: Any = [row.get(name) for name in pattern_table.Row._fields]
            fields = pattern_table.Row._make(values)
            pattern = pattern_table.to_pattern((row["key"], *fields))
            is_summed = fields.crc32 is not None and not fields.content_hash
            if not is_summed and pattern.content_hash() != fields.content_hash:
                reason = "its content does not fit its hash"
        except CorruptStorageError:
            reason = "its checksum is wrong"
        except (TypeError, AttributeError):
            reason = "values are missing"
        if reason:
            _drop(found, "patterns", key, reason, f"{key} ({row.get('id')!r:.100})")


def _check_runs(found: Salvaged) -> None:
    runs: _Rows = found.rows["runs"]
    tests: _Rows = found.rows["tests"]
    by_run: dict[object, list[dict[str, Any]]] = {number: [] for number in runs}
    for key, row in sorted(found.rows["results"].items(), key=lambda item: item[0]):  # type: ignore[arg-type, return-value]  # pairs of int
        if row["run"] not in by_run or row["test"] not in tests:
            _drop(found, "results", key, "the run or test that it belongs to is lost")
            by_run.setdefault(row["run"], []).append({"position": -1})
        else:
            by_run[row["run"]].append(row)
    for number, row in list(runs.items()):
        results = by_run[number]
        if _is_whole(row, results, tests):
            continue
        shown = f"{number} ({row['id']!r:.100})"
        _drop(found, "runs", number, "it or its results are damaged or missing in part; ingest its file again", shown)
        for result in results:
            if result["position"] >= 0:
                _drop(found, "results", (number, result["position"]), "its run is damaged")


def _is_whole(run: dict[str, Any], results: list[dict[str, Any]], tests: _Rows) -> bool:
    if [result["position"] for result in results] != list(range(len(results))):
        return False
    total = run.get("crc32")
    if total is None:
        return True
    head = (run["id"], run["source"], run["tool"], run["started_s"])
    if None in head:
        return False
    rows = [
        (tests[each["test"]]["name"], each["outcome"], float(each["duration_s"]), each["message"]) for each in results
    ]
    return checksums.is_run(total, (*head[:3], float(head[3])), rows)


def _check_taken_over(found: Salvaged) -> None:
    for table in schema.TAKEN_OVER:
        rows: _Rows = found.rows.get(table, {})
        for key, row in list(rows.items()):
            values = [value for column, value in row.items() if column != "crc32"]
            try:
                right = legacy_tables.is_right(values, row.get("crc32"))
            except (TypeError, ValueError, OverflowError):
                right = False
            if not right:
                _drop(found, table, key, "its checksum is wrong", f"source {row['source']}, row {row['row']}")


def _name_namespaces(found: Salvaged, notes: list[str]) -> None:
    namespaces = found.rows["namespaces"]
    for table in ("patterns", "vector_spaces"):
        for row in found.rows[table].values():
            number: Any = row["namespace"]
            if number not in namespaces:
                name = f"recovered-{number}"
                namespaces[number] = {"id": number, "name": name}
                notes.append(f"the name of namespace {number} is lost; its patterns are now in {name!r}")


def _check_vectors(found: Salvaged, notes: list[str]) -> None:
    spaces: _Rows = found.rows["vector_spaces"]
    patterns: _Rows = found.rows["patterns"]
    blocks: _Rows = found.rows["vector_blocks"]
    dropped = 0
    for key, row in list(blocks.items()):
        space = spaces.get(row["space"])
        try:
            sound = space is not None and not vector_table.problem_of(
                row["block"], row["slots"], row["crc32"], row["data"], space["dim"]
            )
            sound = sound and all(
                patterns.get(each, {}).get("namespace") == space["namespace"]  # type: ignore[index]  # checked above
                for each in vector_table.keys_of(row["block"], row["slots"])
            )
        except (TypeError, ValueError, OverflowError):
            sound = False
        if not sound:
            del blocks[key]
            dropped += 1
    if dropped:
        notes.append(f"{dropped} blocks of vectors are left out; their patterns are embedded again at the next search")


def _drop_damaged_states(connection: apsw.Connection, known: dict[str, str]) -> list[str]:
    """Remove the engine states that cannot be loaded or disagree with the truth; return what to say about it.

    ``known`` says what was wrong with some before the journal, which they are compared with, was left out.
    """
    notes = []
    names: Any = connection.execute("SELECT name FROM states").fetchall()
    for (name,) in names:
        if problem := known.get(name) or verify.problem_of_state(connection, name):
            connection.execute("DELETE FROM states WHERE name = ?", (name,))
            notes.append(
                f"the kept state {name!r:.100} is left out ({problem}); what is made of patterns or results is made "
                "again, a learner starts anew"
            )
    return notes


def _drop_damaged_points(connection: apsw.Connection) -> list[LostRow]:
    lost = []
    for table, row, series, reason in list(point_table.damaged(connection)):
        connection.execute(f"DELETE FROM {table} WHERE rowid = ?", (row,))  # noqa: S608  # one of two
        lost.append(LostRow(table=table, row=f"{row} of series {series}", reason=reason))
    return lost


# -- the new file ----------------------------------------------------------------------------------------------------


def _write(
    draft: Path,
    version: int,
    tables: list[catalog.Table],
    found: Salvaged,
    notes: list[str],
    states: dict[str, str],
) -> dict[str, int]:
    """Write the rows into a new file of the version that they had, then bring it to the newest one."""
    rows: Counter[str] = Counter()
    with closing(sqlite.connect(str(draft), sqlite.WRITE, timeout_s=1)) as connection:
        connection.execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL").fetchall()
        catalog.build(version, connection)
        with sqlite.transaction(connection):
            for table in tables:
                rows[table.name] = _insert(connection, table, found)
            _set_counters(connection, tables, found)
        for number in range(version, len(schema.MIGRATIONS)):
            schema.apply(connection, number)
        with sqlite.transaction(connection):
            notes += _drop_damaged_states(connection, states)
            found.lost.extend(_drop_damaged_points(connection))
            text_index.rebuild(connection)
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    return dict(rows)


def _insert(connection: apsw.Connection, table: catalog.Table, found: Salvaged) -> int:
    names = ", ".join(map(catalog.quoted, table.columns))
    marks = ", ".join("?" * len(table.columns))
    sql = f"INSERT INTO {catalog.quoted(table.name)} ({names}) VALUES ({marks})"  # noqa: S608  # quoted
    count = 0
    for key, row in sorted(found.rows[table.name].items(), key=lambda item: item[0]):  # type: ignore[arg-type, return-value]  # keys of one kind
        try:
            connection.execute(sql, tuple(row[name] for name in table.columns))
            count += 1
        except (apsw.ConstraintError, apsw.MismatchError, apsw.TooBigError) as error:
            found.lost.append(LostRow(table=table.name, row=str(key), reason=f"it does not fit the table ({error})"))
    return count


def _set_counters(connection: apsw.Connection, tables: list[catalog.Table], found: Salvaged) -> None:
    """Never give a key twice: engines elsewhere may know it. The journal goes on, so that all engines notice."""
    least = dict(found.sequences)
    least["journal"] = least.get("journal", 0) + 1
    for table in tables:
        if table.has_rowid and found.rows[table.name]:
            largest = max(key for key in found.rows[table.name] if isinstance(key, int))
            if table.name in least or table.name in {"patterns", "runs"}:
                least[table.name] = max(least.get(table.name, 0), largest)
    for name, number in least.items():
        connection.execute("DELETE FROM sqlite_sequence WHERE name = ?", (name,))
        if name in {table.name for table in tables}:
            connection.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (name, min(number, 2**62)))
