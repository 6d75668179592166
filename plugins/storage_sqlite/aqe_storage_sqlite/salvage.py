"""Finding the rows of a damaged file: through its trees where they can be walked, else page by page."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from aqe_core.contracts.maintenance import LostRow
from aqe_storage_sqlite.pages import LEAF_INDEX, LEAF_TABLE, Cell, DamageError, PageFile

if TYPE_CHECKING:
    from aqe_storage_sqlite.catalog import Table
    from aqe_storage_sqlite.pages import Value

__all__ = ["Salvaged", "salvage"]

SEQUENCES = "sqlite_sequence"


class Salvaged(NamedTuple):
    """What was found in a file.

    Attributes
    ----------
    rows : dict of str to dict
        By table, then by key (the row's own, or its number): the values by column.
    sequences : dict of str to int
        The counters of the tables that never give a key twice.
    lost : list of LostRow
    strays : Counter
        Rows that no tree led to any more, by table; some may have been deleted before.
    """

    rows: dict[str, dict[object, dict[str, Value]]]
    sequences: dict[str, int]
    lost: list[LostRow]
    strays: Counter[str]


def salvage(file: PageFile, tables: list[Table]) -> Salvaged:
    """Read every row that can be read. O(file)."""
    found = Salvaged({table.name: {} for table in tables}, {}, [], Counter())
    seen: set[int] = set()
    roots = _roots(file, seen)
    damaged: list[Table] = []
    for table in tables:
        before = len(found.lost)
        root = roots.get(table.name)
        if root is None:
            found.lost.append(LostRow(table=table.name, row="", reason="the schema does not say where it is"))
        else:
            _read_tree(file, table, root, seen, found)
        if len(found.lost) > before:
            damaged.append(table)
    _read_sequences(file, roots.get(SEQUENCES), seen, found)
    if damaged:
        _read_strays(file, damaged, seen | _index_pages(file, roots, seen), found)
    for table in tables:
        if table.has_rowid and table.unique and table.unique_index in roots:
            _ask_index(file, table, roots[table.unique_index], found)
    return found


def _roots(file: PageFile, seen: set[int]) -> dict[str, int]:
    """Return where tables and indexes begin, by name, as far as the schema can be read."""
    roots: dict[str, int] = {}
    for page in file.walk(1, index=False, seen=seen):
        if isinstance(page, int):
            for cell in file.cells(page):
                if isinstance(cell, Cell) and len(cell.values) >= 4:
                    _, name, _, root = cell.values[:4]
                    if isinstance(name, str) and isinstance(root, int) and 1 < root <= file.count:
                        roots[name] = root
    return roots


def _index_pages(file: PageFile, roots: dict[str, int], seen: set[int]) -> set[int]:
    """Return the pages of all other trees, whose records are not strays, and those that are free."""
    others = set(seen)
    for root in roots.values():
        for index in (False, True):
            for _ in file.walk(root, index=index, seen=others):
                pass
    return others | file.free_pages()


def _read_tree(file: PageFile, table: Table, root: int, seen: set[int], found: Salvaged) -> None:
    for page in file.walk(root, index=not table.has_rowid, seen=seen):
        if not isinstance(page, int):
            number, reason = page
            found.lost.append(LostRow(table=table.name, row=f"page {number}", reason=reason))
            continue
        cells = list(file.cells(page))
        if cells and not any(isinstance(cell, Cell) and _fits(cell, table) for cell in cells):
            seen.discard(page)  # another table may know it
            found.lost.append(LostRow(table=table.name, row=f"page {page}", reason="it holds no rows of this table"))
            continue
        for cell in cells:
            reason = cell[1] if not isinstance(cell, Cell) else _take(cell, table, found)
            if reason:
                number = cell.number if isinstance(cell, Cell) else cell[0]
                where = f"page {page}" if number < 0 else f"page {page}, cell {number}"
                key = f", row {cell.rowid}" if isinstance(cell, Cell) and cell.rowid is not None else ""
                found.lost.append(LostRow(table=table.name, row=where + key, reason=reason))


def _take(cell: Cell, table: Table, found: Salvaged, *, stray: bool = False) -> str:
    """Keep a record as a row; say why not."""
    if not _fits(cell, table):
        return "its values are not of the table's types"
    row = _named(cell, table)
    key: object = cell.rowid if table.has_rowid else tuple(row[name] for name in table.key)
    if key in found.rows[table.name]:
        return "" if stray else "there are two of that key"
    found.rows[table.name][key] = row
    return ""


_TYPES: dict[str, tuple[type, ...]] = {"INTEGER": (int,), "REAL": (float, int), "TEXT": (str,), "BLOB": (bytes,)}


def _fits(cell: Cell, table: Table) -> bool:
    """Say whether a record may be a row of the table; columns that were added later may be absent."""
    if not 1 <= len(cell.values) <= len(table.columns) or (cell.rowid is None) == table.has_rowid:
        return False
    return all(
        value is None or isinstance(value, _TYPES.get(type_, (object,)))
        for value, type_ in zip(cell.values, table.types, strict=False)
    )


def _named(cell: Cell, table: Table) -> dict[str, Value]:
    row: dict[str, Value] = dict.fromkeys(table.columns) | dict(zip(table.columns, cell.values, strict=False))
    if table.has_rowid and len(table.key) == 1 and table.types[table.columns.index(table.key[0])] == "INTEGER":
        row[table.key[0]] = cell.rowid  # the record has NULL there
    return row


def _read_sequences(file: PageFile, root: int | None, seen: set[int], found: Salvaged) -> None:
    for page in file.walk(root, index=False, seen=seen) if root else ():
        for cell in file.cells(page) if isinstance(page, int) else ():
            if isinstance(cell, Cell) and len(cell.values) == 2:
                name, number = cell.values
                if isinstance(name, str) and isinstance(number, int):
                    found.sequences[name] = number


def _read_strays(file: PageFile, damaged: list[Table], known: set[int], found: Salvaged) -> None:
    """Read the pages that no tree led to, for the tables of which something is missing."""
    for page in range(2, file.count + 1):
        try:
            if page in known or file.kind(page) not in {LEAF_TABLE, LEAF_INDEX}:
                continue
        except DamageError:
            continue
        for cell in file.cells(page):
            if isinstance(cell, Cell):
                _take_stray(cell, damaged, found)


def _take_stray(cell: Cell, damaged: list[Table], found: Salvaged) -> None:
    fitting = [table for table in damaged if _fits(cell, table) and _could_be(cell, table)]
    if len(fitting) == 1:
        table = fitting[0]
        before = len(found.rows[table.name])
        _take(cell, table, found, stray=True)
        found.strays[table.name] += len(found.rows[table.name]) - before
    elif fitting:
        names = ", ".join(table.name for table in fitting)
        where = f"page {cell.page}, cell {cell.number}"
        found.lost.append(LostRow(table="", row=where, reason=f"it may belong to any of {names}: {cell.values!r:.200}"))


def _could_be(cell: Cell, table: Table) -> bool:
    """Say whether a stray record looks like a row: as long as one, and NULL just where its key stands outside."""
    row = dict(zip(table.columns, cell.values, strict=False))
    return len(cell.values) > len(table.columns) - 2 and (
        not table.has_rowid or len(table.key) != 1 or row.get(table.key[0]) is None
    )


def _ask_index(file: PageFile, table: Table, root: int, found: Salvaged) -> None:
    """Restore the rows that an index holds as a whole; name those of which it holds a part.

    A row that is there under another number is left alone: then the index is what is damaged.
    """
    width = len(table.unique)
    known = {tuple(row[name] for name in table.unique) for row in found.rows[table.name].values()}
    for page in file.walk(root, index=True, seen=set()):
        for cell in file.cells(page) if isinstance(page, int) else ():
            if not isinstance(cell, Cell) or len(cell.values) != width + 1 or not isinstance(cell.values[-1], int):
                continue
            rowid = cell.values[-1]
            if rowid in found.rows[table.name] or cell.values[:-1] in known:
                continue
            row = dict(zip((*table.unique, *table.key), cell.values, strict=False))
            if len(table.key) == 1 and row.keys() == set(table.columns):
                found.rows[table.name][rowid] = row
            else:
                shown = ", ".join(
                    f"{name} {value!r:.100}" for name, value in zip(table.unique, cell.values, strict=False)
                )
                found.lost.append(LostRow(table=table.name, row=f"{rowid} ({shown})", reason="its page is damaged"))
