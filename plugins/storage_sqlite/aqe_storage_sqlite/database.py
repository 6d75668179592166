"""The connections of one process to one file: one that writes, some that read."""

from __future__ import annotations

import math
import os
import threading
import time
import weakref
from collections import deque
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, cast

import apsw

from aqe_core.errors import (
    ConfigError,
    CorruptStorageError,
    InputError,
    NoWorkspaceError,
    ReadOnlyError,
    StorageError,
)
from aqe_storage_sqlite import connection as sqlite
from aqe_storage_sqlite import pages, schema
from aqe_storage_sqlite.loan import Loan
from aqe_storage_sqlite.lock import FileLock
from aqe_storage_sqlite.reader import Reader
from aqe_storage_sqlite.writer import Together, Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["DURABILITIES", "Database"]

P = ParamSpec("P")
S = TypeVar("S")
T = TypeVar("T")

DURABILITIES = ("full", "normal")
"""``full``: a commit survives power loss. ``normal``: the newest commits may not; the file stays sound."""

_MAX_IDLE = 8
_LOOK_EVERY_S = 0.01


class Database:
    """Readers that never wait, and writers that take turns, over one file.

    A read runs on a connection of its own, taken from a pool, and sees one state of the file. A write waits for the
    other threads (`Writer`), for the other processes (`FileLock`), and last for programs that know neither (SQLite's
    own lock); it begins within ``timeout_s``.

    Parameters
    ----------
    path : Path
    read_only : bool
        Never create or change the file.
    timeout_s : float
    durability : str
        One of `DURABILITIES`.
    """

    def __init__(self, path: Path, *, read_only: bool, timeout_s: float, durability: str) -> None:
        self.read_only = read_only
        self.timeout_s = _as_timeout(timeout_s)
        self.durability = _as_durability(durability)
        sqlite.check_engine(apsw.sqlite_lib_version())
        self.path = _as_path(path, must_exist=read_only)
        self._name = str(self.path)
        self._pid = os.getpid()
        self._usable = True  # neither closed nor the parent's
        self._closed = False
        self._idle: deque[Reader] = deque()  # that nobody uses; making one takes a while
        self._version_guard = threading.Lock()
        self._version_reader: Reader | None = None
        self._next_look_s = 0.0
        self._file_lock = FileLock(self.path)
        self._writer: Writer | None = None
        _open_databases.add(self)
        try:
            with sqlite.translated(self.path):
                if read_only:
                    self._idle.append(Reader(self._connect_reader()))
                else:
                    self._writer = Writer(
                        self.path, self._connect_writer, self._check_same_file, self._file_lock, self.timeout_s
                    )
            self._identity = _identity(self._name)
        except BaseException:
            self.close()
            raise

    # -- opening ----------------------------------------------------------------------------------------------------

    def _connect_writer(self) -> apsw.Connection:
        sqlite.check_file_system(self.path.parent)
        writer = sqlite.connect(
            str(self.path), sqlite.WRITE, timeout_s=self.timeout_s, writing=True, durability=self.durability
        )
        try:
            if writer.readonly("main"):  # SQLite falls back to reading without a word
                raise sqlite.read_only_error(self.path)
            self._check_whole(writer)
            if schema.version_of(writer, self.path) < len(schema.MIGRATIONS) or _journal_mode(writer) != "wal":
                self._prepare(writer)
        except BaseException:
            sqlite.close(writer)
            raise
        return writer

    def _prepare(self, writer: apsw.Connection) -> None:
        try:
            self._file_lock.acquire(time.monotonic() + self.timeout_s)
            mode = writer.execute("PRAGMA journal_mode = WAL").get
            if mode != "wal":
                raise StorageError(
                    f"{self.path} cannot use a write-ahead log (journal mode {mode!r}).",
                    fix="put it on a local disk; a network file system lacks the shared memory.",
                )
            schema.migrate(writer, self.path)
        finally:
            self._file_lock.release()

    def _connect_reader(self) -> apsw.Connection:
        """Open a reader, and in a folder that is not ours to write one of a file that nobody has open.

        Reading a file with a write-ahead log needs the index file ``-shm``. Where it is missing and cannot be made,
        a file without a log can still be read as immutable.
        """
        try:
            return self._checked(sqlite.connect(str(self.path), sqlite.READ, timeout_s=self.timeout_s))
        except (apsw.ReadOnlyError, apsw.CantOpenError) as error:
            if not self.read_only or not self.path.is_file():
                raise
            if pages.log_bytes(self.path):
                raise ReadOnlyError(
                    f"{self.path} cannot be read here: its folder is read-only, and the commits in "
                    f"{pages.log_of(self.path).name} need an index file beside it.",
                    fix="open it once where the folder can be written, then close it.",
                ) from error
        uri = self.path.as_uri() + "?immutable=1"
        return self._checked(sqlite.connect(uri, sqlite.READ | apsw.SQLITE_OPEN_URI, timeout_s=self.timeout_s))

    def _checked(self, reader: apsw.Connection) -> apsw.Connection:
        try:
            self._check_whole(reader)
            schema.require_current(reader, self.path)
        except BaseException:
            sqlite.close(reader)
            raise
        return reader

    def _check_whole(self, connection: apsw.Connection) -> None:
        """Raise if the file ends within a page, which SQLite would read as zeros.

        While there is a log the file may be in the midst of taking it over; opening it completes that.
        """
        if pages.log_bytes(self.path):
            return
        if self.path.stat().st_size % connection.execute("PRAGMA page_size").get:
            raise CorruptStorageError(
                f"{self.path} ends in the middle of a page: it was cut off, or is not an SQLite database.",
                fix=sqlite.RESTORE,
            )

    # -- use --------------------------------------------------------------------------------------------------------

    def read(self) -> Loan:
        """Lend a connection to a ``with`` block that sees one state of the file, whatever is written meanwhile."""
        return Loan(self)

    def read_row(self, sql: str, bindings: tuple[Any, ...]) -> Any:
        """Return the only row that a statement finds, or None: `read` for one statement, which needs no transaction."""
        reader = self.take_reader()
        try:
            row = reader.execute(sql, bindings).get
        except BaseException as error:
            ours = reader.fail(self.path, error)
            if ours is error:
                raise
            raise ours from error
        self.put_back(reader)
        return row

    def take_reader(self) -> Reader:
        """Return a connection that nobody else uses, to be put back or closed."""
        if not self._usable:
            self._check_open()
        try:
            reader = self._idle.pop()
        except IndexError:
            return self._new_reader()
        if reader.has_moved():
            try:
                self._check_same_file()
            except StorageError:
                self._idle.append(reader)
                raise
        return reader

    def _new_reader(self) -> Reader:
        self._check_same_file()
        with sqlite.translated(self.path):
            reader = Reader(self._connect_reader())
        try:
            self._check_same_file()  # once more: it is only ever asked whether it has moved since it was opened
        except StorageError:
            reader.close()
            raise
        return reader

    def put_back(self, reader: Reader) -> None:
        """Keep a connection, which has no transaction open, for the next one who reads."""
        if reader.is_immutable or len(self._idle) >= _MAX_IDLE:
            reader.close()
            return
        self._idle.append(reader)
        if self._closed:  # closed meanwhile by another thread
            self._close_readers()

    def write(
        self, operation: Callable[Concatenate[apsw.Connection, P], T], *arguments: P.args, **options: P.kwargs
    ) -> T:
        """Run ``operation(connection, ...)`` in a transaction; return its result once that is durable.

        It runs on the thread that writes, this one if nobody else does, and shares the transaction with those of other
        threads that wait. When it raises, nothing of it is stored, and the error is raised here. It may run a second
        time, when another one of the transaction failed, and must not begin or end transactions.

        Raises
        ------
        StorageBusyError
            Somebody else wrote for longer than ``timeout_s``.
        StorageError
            Also when the disk failed while the transaction was made durable, for all that share it.
        ReadOnlyError
        """
        return cast("T", self._to_write().run(lambda connection: operation(connection, *arguments, **options)))

    def write_together(self, operation: Callable[[apsw.Connection, list[S]], list[T]], item: S) -> T:
        """Run ``operation(connection, items)`` for this item and those of other threads that wait; see `write`.

        It returns a result for each, the same as if it had been run for one item after the other.
        """
        return cast("T", self._to_write().run(Together(operation, item)))

    @contextmanager
    def alone(self) -> Iterator[apsw.Connection]:
        """Lend the writing connection, outside any transaction, while nobody else writes.

        For what cannot share a transaction (VACUUM) or is too long to be shared; everything else is for `write`.
        """
        writer = self._to_write()
        with sqlite.translated(self.path), writer.lend() as connection:
            yield connection

    def _to_write(self) -> Writer:
        if not self._usable:  # that the file is the same one is checked under the lock
            self._check_open()
        if self._writer is None:
            self._check_same_file()
            raise ReadOnlyError(f"{self.path} was opened with read_only=True.", fix="open it without, to write to it.")
        return self._writer

    def data_version(self) -> int:
        """Return a number that changes with every commit of anyone.

        One connection that never writes is told of the commits of all others (`Commits`). Whether the file was removed
        or replaced is asked at most every 10 ms, which takes twice as long as all the rest; to read or write from it
        asks each time.
        """
        if not self._usable:
            self._check_open()
        try:
            with self._version_guard:
                reader = self._version_reader
                if reader is None:
                    reader = self._new_reader()
                    if reader.is_immutable:
                        reader.close()
                        return self.path.stat().st_mtime_ns
                    self._version_reader = reader
                elif (now_s := time.monotonic()) >= self._next_look_s:
                    if reader.has_moved():
                        self._check_same_file()
                    self._next_look_s = now_s + _LOOK_EVERY_S
                return reader.data_version()
        except apsw.Error as error:  # as `translated` does, in a third of the time
            raise sqlite.translation(error, self.path) from error

    def close(self) -> None:
        """Write what is queued, fold the log into the file and release both. May be called twice, and by any thread."""
        if os.getpid() != self._pid:
            self._usable, self._closed = False, True
            return
        if self._writer is not None:
            self._writer.drain()
        self._usable, self._closed = False, True
        self._close_readers()
        with self._version_guard:
            reader, self._version_reader = self._version_reader, None
            if reader is not None:
                reader.close()
        if self._writer is not None:
            self._writer.close()
        self._file_lock.close()

    def _close_readers(self) -> None:
        with suppress(IndexError):
            while True:
                self._idle.pop().close()

    def _check_open(self) -> None:
        if self._closed:
            raise StorageError(f"{self.path} was closed.", fix="open it anew.")
        if os.getpid() != self._pid:
            raise StorageError(
                f"{self.path} was opened by process {self._pid}, and this is its fork {os.getpid()}.",
                fix="open it after forking; SQLite connections do not survive a fork.",
            )

    def _check_same_file(self) -> None:
        if _identity(self._name) != self._identity:
            raise StorageError(
                f"{self.path} was removed or replaced while it was open.",
                fix="open it anew; writing to the old file would be lost.",
            )

    def _disown(self) -> None:
        """Forget, in a forked child, what belongs to the parent.

        The connections are leaked on purpose: closing one would roll back in memory that the parent shares.
        """
        import ctypes  # slow to import, and needed here only

        self._usable = False
        self._file_lock.close()  # only the child's copy of the handle
        writer = None if self._writer is None else self._writer.connection
        for inherited in (writer, self._version_reader, *self._idle):
            if inherited is not None:
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(inherited))


_open_databases: weakref.WeakSet[Database] = weakref.WeakSet()


def _disown_all() -> None:
    for database in list(_open_databases):
        database._disown()  # noqa: SLF001  # this module's own


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_disown_all)


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)  # noqa: PTH116  # this is asked at each call, and takes a third of the time
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _journal_mode(connection: apsw.Connection) -> str:
    return str(connection.execute("PRAGMA journal_mode").get)


def _as_timeout(timeout_s: Any) -> float:
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, (int, float)) or not 0 <= timeout_s < math.inf:
        raise ConfigError(f"timeout_s is {timeout_s!r}, but must be a number of seconds, 0 or more.", fix="try 10.")
    return min(float(timeout_s), threading.TIMEOUT_MAX)


def _as_durability(durability: str) -> str:
    if durability not in DURABILITIES:
        raise ConfigError(
            f"durability is {durability!r}, but must be one of {', '.join(DURABILITIES)}.",
            fix="use 'full', which survives power loss.",
        )
    return durability


def _as_path(path: Path, *, must_exist: bool) -> Path:
    """Return the path with links resolved, so that all who mean one file share one lock."""
    try:
        resolved = Path(path).resolve()
        if resolved.is_dir():
            raise StorageError(f"{resolved} is a folder.", fix="name a file in it, e.g. aqe.db.")
        if not resolved.parent.is_dir():
            raise NoWorkspaceError(f"there is no folder {resolved.parent}.", fix="create it, or run 'aqe init'.")
        if must_exist and not resolved.exists():
            raise NoWorkspaceError(f"there is no file {resolved}.", fix="run 'aqe init' there.")
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"{path!r} cannot be used as a path ({error}).", fix="check the path.") from error
    if not _is_utf8(resolved):
        raise InputError(
            f"the name {str(resolved)!r} is not UTF-8, as SQLite needs it.",
            fix="rename the folder; where only the locale is not UTF-8, set PYTHONUTF8=1.",
        )
    return resolved


def _is_utf8(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True
