"""Taking an old project over: file by file, table by table, batch by batch, and on from where it was cut off.

A batch of rows and the note how far its table has come are one transaction, so that a second run, or one after a
crash, goes on behind the last batch; a file whose content was taken over before is passed by.
"""

from __future__ import annotations

from collections import Counter
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Any

from aqe_core.scratch import scratch_folder
from aqe_storage_sqlite.legacy import agents, source, tables
from aqe_storage_sqlite.legacy.javascript import as_json
from aqe_storage_sqlite.legacy.layouts import KeptPattern, UnfitError, as_pattern, converter_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import apsw

    from aqe_storage_sqlite.database import Database
    from aqe_storage_sqlite.legacy.layouts import Converter, Record

    Progress = Callable[[str, int, int], None]

__all__ = ["take_over"]

BATCH = 2000
"""Rows to a transaction."""

_NOTES = {
    "aqe": "a database of aqe itself; nothing to take over",
    "redb": "a vector file of the ancestor's native module (redb), not SQLite; it holds vectors without their patterns",
    "empty": "an empty file",
    "unknown": "no SQLite database, nor any other format that is known",
    "unreadable": "cannot be opened; check its permissions",
}
NO_LAYOUT = "no table of ours holds these"
SAME_ID = "another row has its id"
DAMAGED = "damaged: cannot be read"
DAMAGED_UNCOUNTED = "damaged: cannot be read, and nothing says how many more there are"


def take_over(database: Database, place: Path, *, namespace: str, progress: Progress | None) -> dict[str, Any]:
    """Take over what is at a place; see `SqliteStorage.take_over`."""
    found = source.find(place)
    files: dict[str, dict[str, Any]] = {}
    numbers: list[int] = []
    with scratch_folder() as folder:
        for file in found:
            if file.kind != source.SQLITE:
                files[file.name] = {"kind": file.kind, "tables": {}, "problems": [_NOTES[file.kind]]}
                continue
            with source.copied(file, folder) as (copy, sha256):
                number = _take_file(database, file, copy, sha256, namespace, progress)
            numbers.append(number)
            with database.read() as connection:
                files[file.name] = {
                    "kind": file.kind,
                    "tables": tables.counts_of(connection, number),
                    "problems": tables.problems_of(connection, number),
                }
    with database.read() as connection:
        q_values = agents.summary(connection, set(numbers))
    return {"files": files, "q_values": q_values}


def _take_file(
    database: Database, file: source.SourceFile, copy: Path, sha256: str, namespace: str, progress: Progress | None
) -> int:
    number, done = database.write(tables.begin_file, str(file.path), sha256)
    if done:
        return number
    with source.opened(copy) as old:
        problems = source.problems(old)
        try:
            found = source.tables(old)
        except (*source.UNREADABLE, UnicodeDecodeError) as error:
            found = []
            problems.append(f"its list of tables cannot be read ({error})")
        for position, table in enumerate(found):
            if progress is not None:
                progress(file.name, position, len(found))
            _take_table(database, number, old, table, namespace, str(file.path), damaged=bool(problems))
    database.write(_finish, number, str(file.path), problems)
    return number


def _finish(connection: apsw.Connection, file: int, path: str, problems: list[str]) -> None:
    agents.finish(connection, file, path)
    tables.end_file(connection, file, problems)


def _take_table(
    database: Database,
    file: int,
    old: apsw.Connection,
    table: source.Table,
    namespace: str,
    path: str,
    *,
    damaged: bool,
) -> None:
    # Rows of a damaged file come in no certain order, so that it cannot be gone on with, only begun anew.
    progress = database.write(tables.begin_table, file, table.name, anew=damaged)
    if progress.done:
        return
    convert = converter_for(table.columns)
    ids = _ids_until(old, table, convert, progress.last_row)
    rows = source.rows(old, table, progress.last_row, damaged=damaged)
    counts = progress.counts
    while batch := list(islice(rows, BATCH)):
        records, archived, reasons = _sorted_out(table, convert, batch, ids)
        counts["converted"] += len(records)
        counts["archived"] += len(archived)
        counts["reasons"] = dict(Counter(counts["reasons"]) + reasons)
        progress = progress._replace(last_row=batch[-1][0])
        database.write(tables.store, progress, records, archived, namespace=namespace, path=path)
    read = counts["converted"] + counts["archived"]
    expected = source.total(old, table)
    # Where not even an index tells how many rows there were, one at least is gone.
    skipped = 1 if expected is None else max(0, expected - read)
    if skipped:
        counts["reasons"][DAMAGED_UNCOUNTED if expected is None else DAMAGED] = skipped
    counts |= {"rows": read + skipped, "skipped": skipped}
    database.write(tables.end_table, progress.id, counts)


def _ids_until(old: apsw.Connection, table: source.Table, convert: Converter | None, last_row: int) -> set[str]:
    """Return the ids of the patterns that an interrupted run has stored."""
    ids: set[str] = set()
    if convert is as_pattern and last_row > source.BEFORE_ALL:
        before = takewhile(lambda row: row[0] <= last_row, source.rows(old, table))
        while batch := list(islice(before, BATCH)):
            _sorted_out(table, convert, batch, ids)
    return ids


def _sorted_out(
    table: source.Table, convert: Converter | None, batch: list[tuple[int, tuple[Any, ...]]], ids: set[str]
) -> tuple[list[tuple[int, Record]], list[tuple[int, str]], Counter[str]]:
    """Return what could be converted, the other rows as JSON, and why those could not.

    A pattern whose id is among ``ids`` cannot be, as patterns are told apart by their ids; others are added there.
    """
    records: list[tuple[int, Record]] = []
    archived: list[tuple[int, str]] = []
    reasons: Counter[str] = Counter()
    for number, values in batch:
        row = dict(zip(table.columns, values, strict=True))
        reason = NO_LAYOUT
        if convert is not None:
            try:
                record = convert(table.name, dict(row))
                if isinstance(record, KeptPattern):
                    if record.pattern.id in ids:
                        raise UnfitError(SAME_ID)
                    ids.add(record.pattern.id)
                records.append((number, record))
                continue
            except UnfitError as unfit:
                reason = str(unfit)
        archived.append((number, as_json(row)))
        reasons[reason] += 1
    return records, archived, reasons
