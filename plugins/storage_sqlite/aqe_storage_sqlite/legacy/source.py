"""The files of an old project: found, told apart, copied aside, and read row by row, around what is damaged.

A file that we were given is only ever read as bytes. SQLite sees a copy of it, with its log and journal, so that
folding a log in or rolling a journal back happens to the copy.
"""

from __future__ import annotations

import hashlib
import shutil
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import apsw

from aqe_core.errors import NotFoundError, StorageBusyError
from aqe_storage_sqlite.schema import APPLICATION_ID

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = [
    "BEFORE_ALL",
    "SQLITE",
    "UNREADABLE",
    "SourceFile",
    "Table",
    "copied",
    "examine",
    "find",
    "opened",
    "problems",
    "rows",
    "tables",
    "total",
]

SQLITE = "sqlite"
SUFFIXES = frozenset((".db", ".sqlite", ".sqlite3", ".ruvector"))
FOLDERS = (".agentic-qe", "data", "runtime")
BESIDE = ("-wal", "-journal")

_MAGIC = b"SQLite format 3\0"
_TRIES = 3
_PROBES = 4096
_ATTEMPTS = 100_000
_LARGEST = 2**63 - 1
BEFORE_ALL = -(2**63)
"""The least row number, where rows are read from that one on."""

UNREADABLE = (apsw.CorruptError, apsw.NotADBError, apsw.IOError, apsw.TooBigError, apsw.SQLError)
"""What SQLite raises over damage."""


class SourceFile(NamedTuple):
    """One file of the old project.

    Attributes
    ----------
    path : Path
        Absolute.
    name : str
        Path below the folder that was given, with forward slashes.
    kind : str
        ``sqlite``, ``aqe`` (a file of ours), ``redb``, ``empty``, ``unknown`` or ``unreadable``.
    """

    path: Path
    name: str
    kind: str


class Table(NamedTuple):
    """A table, its columns, and by which name its row number goes (empty: rows are counted)."""

    name: str
    columns: tuple[str, ...]
    rowid: str


def find(source: Path) -> list[SourceFile]:
    """Return the database files at a place, by name: a file itself, or those of a project's folder.

    Raises
    ------
    NotFoundError
        There is nothing of that name, or no such file in the folder.
    """
    root = source.resolve()
    if root.is_file():
        return [SourceFile(root, root.name, examine(root))]
    if not root.is_dir():
        raise NotFoundError(f"there is no file or folder {source}.", fix="give an agentic-qe project or database.")
    places = [*root.glob("*"), *(path for folder in FOLDERS for path in (root / folder).rglob("*"))]
    files = sorted({path for path in places if path.suffix in SUFFIXES and path.is_file()})
    found = [SourceFile(path, path.relative_to(root).as_posix(), examine(path)) for path in files]
    if not found:
        raise NotFoundError(
            f"there is no database of agentic-qe in {source}.", fix="give the folder that holds .agentic-qe/ or data/."
        )
    return found


def examine(path: Path) -> str:
    """Return what kind of file it is, by its first bytes."""
    try:
        with path.open("rb") as file:
            head = file.read(100)
    except OSError:
        return "unreadable"
    if head.startswith(_MAGIC):
        return "aqe" if int.from_bytes(head[68:72], "big") == APPLICATION_ID else SQLITE
    if not head:
        return "empty"
    return "redb" if head.startswith(b"redb") else "unknown"


@contextmanager
def copied(file: SourceFile, folder: Path) -> Iterator[tuple[Path, str]]:
    """Lend a copy of a file with its log and journal, and the SHA-256 of all three.

    Raises
    ------
    StorageBusyError
        Someone keeps writing it.
    """
    copy = folder / "copy.db"
    originals = [file.path, *(file.path.with_name(file.path.name + suffix) for suffix in BESIDE)]
    try:
        for _ in range(_TRIES):
            before = [_stamp(path) for path in originals]
            for path, suffix in zip(originals, ("", *BESIDE), strict=True):
                target = copy.with_name(copy.name + suffix)
                target.unlink(missing_ok=True)
                with suppress(FileNotFoundError):
                    shutil.copyfile(path, target)
            if before == [_stamp(path) for path in originals]:
                yield copy, _digest(copy)
                return
        raise StorageBusyError(f"{file.path} is being written.", fix="end the program that uses it, then try again.")
    finally:
        for path in folder.glob("copy.db*"):
            path.unlink()


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _digest(copy: Path) -> str:
    digest = hashlib.sha256()
    for suffix in ("", *BESIDE):
        part = copy.with_name(copy.name + suffix)
        if part.exists():
            with part.open("rb") as file:
                digest.update(f"{suffix}:{part.stat().st_size}:".encode("ascii"))
                while chunk := file.read(1 << 20):
                    digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def opened(copy: Path) -> Iterator[apsw.Connection]:
    """Lend a connection to a copy that may be damaged."""
    connection = apsw.Connection(str(copy), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        # With a writable schema SQLite also reads a file that was cut off, or whose schema is partly wrong.
        for pragma in ("writable_schema = ON", "trusted_schema = OFF", "cell_size_check = ON", "temp_store = MEMORY"):
            with suppress(*UNREADABLE):
                connection.execute(f"PRAGMA {pragma}").fetchall()
        yield connection
    finally:
        connection.close(True)


def problems(connection: apsw.Connection) -> list[str]:
    """Return what SQLite finds wrong with the file, the first few."""
    try:
        found = [str(row[0]) for row in connection.execute("PRAGMA quick_check(5)")]
    except (*UNREADABLE, UnicodeDecodeError) as error:
        return [str(error)]
    return [] if found == ["ok"] else found


def tables(connection: apsw.Connection) -> list[Table]:
    """Return the tables in the order of their names.

    Raises
    ------
    apsw.Error
        Not even that can be read.
    """
    names = [
        (str(name), bool(without_rowid))
        for _, name, kind, _, without_rowid, _ in connection.execute("PRAGMA main.table_list")
        if kind != "view" and not str(name).startswith("sqlite_")
    ]
    return [_table(connection, name, without_rowid) for name, without_rowid in sorted(names)]


def _table(connection: apsw.Connection, name: str, without_rowid: bool) -> Table:
    columns = tuple(str(row[1]) for row in connection.execute(f"PRAGMA main.table_xinfo({_quoted(name)})"))
    taken = {column.lower() for column in columns}
    free = [alias for alias in ("rowid", "_rowid_", "oid") if alias not in taken]
    return Table(name, columns, "" if without_rowid or not free else free[0])


def total(connection: apsw.Connection, table: Table) -> int | None:
    """Return the number of rows, from an index where the table itself is damaged; None if nothing tells it."""
    name = _quoted(table.name)
    try:
        return int(connection.execute(f"SELECT count(*) FROM {name} NOT INDEXED").get)  # noqa: S608  # quoted
    except UNREADABLE:
        pass
    with suppress(*UNREADABLE):
        indexes: list[Any] = connection.execute(f"PRAGMA main.index_list({name})").fetchall()
        for row in indexes:
            if row[4]:  # partial
                continue
            with suppress(*UNREADABLE):
                sql = f"SELECT count(*) FROM {name} INDEXED BY {_quoted(row[1])}"  # noqa: S608  # quoted
                return int(connection.execute(sql).get)
    return None


def rows(
    connection: apsw.Connection, table: Table, after: int = BEFORE_ALL, *, damaged: bool = False
) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """Yield the number and values of each readable row after a number, around damaged pages.

    Ascending, unless the file is ``damaged``: its numbers may be out of order, and pages may come up more than once,
    so that numbers already seen are passed over. A text that is not Unicode comes as bytes. Tables without row numbers
    are read up to the first damage.
    """
    if not table.rowid:
        yield from _counted(connection, table, after)
        return
    rescue = _Rescue(connection, table)
    seen: set[int] = set()
    position: int | None = after
    while position is not None:
        broken = None
        try:
            behind = ">=" if position == BEFORE_ALL else ">"
            sql = f"{_select(table)} {behind} ? ORDER BY {table.rowid}"
            for number, *values in connection.execute(sql, (position,)):
                if number in seen:  # a page that stands in for another
                    break
                position = number
                if damaged:
                    seen.add(number)
                yield number, tuple(values)
            else:
                return
        except UnicodeDecodeError:
            broken = _with_bytes(connection, table, position)
        except UNREADABLE:
            pass
        if broken is not None and broken[0] not in seen:
            position = broken[0]
            yield broken
        else:
            position = rescue.next_readable(position)


def _with_bytes(connection: apsw.Connection, table: Table, position: int) -> tuple[int, tuple[Any, ...]] | None:
    """Return the row after a number, what is not Unicode in it as bytes; None if it cannot be read so either."""
    behind = ">=" if position == BEFORE_ALL else ">"
    sql = f"{_select(table, _AS_BYTES)} {behind} ? ORDER BY {table.rowid} LIMIT 1"
    try:
        number, *values = connection.execute(sql, (position,)).get
        return number, _texts(values, _encoding(connection))
    except UNREADABLE:
        return None


def _counted(connection: apsw.Connection, table: Table, after: int) -> Iterator[tuple[int, tuple[Any, ...]]]:
    with suppress(*UNREADABLE):
        encoding = _encoding(connection)
        cursor = connection.execute(f"SELECT {_columns(table, _AS_BYTES)} FROM {_quoted(table.name)}")  # noqa: S608  # quoted
        for number, values in enumerate(cursor, 1):
            if number > after:
                yield number, _texts(values, encoding)


_AS_IT_IS = "{0}"
_AS_BYTES = "typeof({0}), CASE typeof({0}) WHEN 'text' THEN CAST({0} AS BLOB) ELSE {0} END"


def _select(table: Table, form: str = _AS_IT_IS) -> str:
    columns = _columns(table, form)
    return f"SELECT {table.rowid}, {columns} FROM {_quoted(table.name)} WHERE {table.rowid}"  # noqa: S608  # quoted


def _columns(table: Table, form: str) -> str:
    return ", ".join(form.format(_quoted(column)) for column in table.columns)


def _encoding(connection: apsw.Connection) -> str:
    return str(connection.execute("PRAGMA encoding").get)


def _texts(values: Sequence[Any], encoding: str) -> tuple[Any, ...]:
    """Return what was read with `_AS_BYTES`, bytes of a text as that text where they can be."""
    return tuple(_text_if_possible(*pair, encoding) for pair in zip(values[::2], values[1::2], strict=True))


def _text_if_possible(kind: str, value: Any, encoding: str) -> Any:
    if kind != "text":
        return value
    try:
        return value.decode(encoding)
    except UnicodeDecodeError:
        return value


class _Rescue:
    """Finds where reading can go on behind damage, within a number of attempts."""

    def __init__(self, connection: apsw.Connection, table: Table) -> None:
        self._connection = connection
        self._exactly = f"{_select(table)} = ?"
        self._from = f"{_select(table)} >= ? ORDER BY {table.rowid} LIMIT 1"
        self._attempts = _ATTEMPTS
        self._last = BEFORE_ALL

    def next_readable(self, position: int) -> int | None:
        """Return the number before the next row that can be read; None if there is none.

        Behind a damaged page the next rows are close by, so number after number is tried first; where numbers are
        sparse or a whole branch is gone, ever larger steps find the other side, and halving finds its edge.
        """
        position = self._last = max(position, 0, self._last + 1)  # never twice from the same place
        for number in range(position + 1, position + 1 + _PROBES):
            if self._readable(self._exactly, number):
                return number - 1
        low, step = position + _PROBES, _PROBES
        while not self._readable(self._from, low + step):
            low, step = low + step, step * 2
            if low + step > _LARGEST or self._attempts <= 0:
                return None
        high = low + step
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._readable(self._from, middle) else (middle, high)
        return high - 1

    def _readable(self, sql: str, number: int) -> bool:
        self._attempts -= 1
        if self._attempts <= 0:
            return False
        try:
            return self._connection.execute(sql, (number,)).get is not None
        except UnicodeDecodeError:
            return True
        except UNREADABLE:
            return False


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
