"""The lock between processes: who may write, and who is writing now.

SQLite's own busy handler sleeps and retries without any order, so that one of several busy writers can get no turn for
seconds. Locks of the operating system on two files of their own are fair: to write take ``.turn``, then ``.lock``, and
give ``.turn`` back; who has just written queues behind the one who holds ``.turn``. They belong to the open file and
vanish with the process. The database file itself is never opened: closing it would drop SQLite's locks.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from aqe_core.errors import StorageBusyError, StorageError
from aqe_storage_sqlite.connection import read_only_error

if TYPE_CHECKING:
    from io import FileIO
    from pathlib import Path

__all__ = ["FileLock"]

_RECORD_BYTES = 256

if sys.platform == "win32":  # pragma: no cover  # the same rules through the other system's call
    import msvcrt

    _FAR = 1 << 30  # a locked byte cannot be read by others there, so lock one behind the record

    def _try_lock(file: FileIO) -> bool:
        try:
            file.seek(_FAR)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _unlock(file: FileIO) -> None:
        try:
            file.seek(_FAR)
            msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)
        except OSError:
            pass  # it was not locked
else:
    import fcntl

    def _try_lock(file: FileIO) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(file: FileIO) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)


class FileLock:
    """A fair lock on ``<path>.lock`` that says who holds it. Not for several threads at once.

    Parameters
    ----------
    path : Path
        The file that it guards.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files: tuple[FileIO, FileIO] | None = None
        self._held = False

    def acquire(self, deadline_s: float) -> None:
        """Take the lock, trying until ``time.monotonic()`` reaches the deadline, and once at least.

        Raises
        ------
        StorageBusyError
            Naming the holder's process, host and time.
        ReadOnlyError
            The lock file cannot be created.
        """
        if self._files is None:
            self._files = (self._open(".turn"), self._open(".lock"))
        turn, work = self._files
        self._wait_for(turn, deadline_s)
        try:
            self._wait_for(work, deadline_s)
        finally:
            _unlock(turn)
        self._held = True
        work.seek(0)
        work.write(_record(os.getpid(), int(time.time())))

    def release(self) -> None:
        """Give the lock back; harmless when it is not held."""
        if self._held and self._files is not None:
            self._held = False
            _unlock(self._files[1])

    def close(self) -> None:
        """Close the files, which gives the lock back too."""
        files, self._files = self._files, None
        self._held = False
        for file in files or ():
            file.close()

    def _open(self, suffix: str) -> FileIO:
        name = f"{self._path}{suffix}"
        try:
            return os.fdopen(os.open(name, os.O_RDWR | os.O_CREAT, 0o666), "r+b", buffering=0)
        except OSError as error:
            if isinstance(error, PermissionError) or error.errno == errno.EROFS:
                raise read_only_error(self._path) from error
            raise StorageError(
                f"the lock file {name} cannot be opened ({error.strerror}).", fix="check the folder it is in."
            ) from error

    def _wait_for(self, file: FileIO, deadline_s: float) -> None:
        began_s = time.monotonic()
        while not _try_lock(file):
            now_s = time.monotonic()
            if now_s >= deadline_s:
                raise StorageBusyError(
                    f"{self._path} is locked by {self._holder()}.",
                    fix="wait until that process is done, or end it.",
                )
            time.sleep(min(_pause_s(now_s - began_s), deadline_s - now_s))

    def _holder(self) -> str:
        assert self._files is not None
        work = self._files[1]
        work.seek(0)
        try:
            record: dict[str, Any] = json.loads(work.read(_RECORD_BYTES) or b"{}")
            return f"pid {record['pid']} on host {record['host']} since {record['since']}"
        except (ValueError, KeyError, TypeError):
            return "another process"


def _pause_s(waited_s: float) -> float:
    """Return how long to sleep before the next try.

    Who asks first gets the lock, so who has waited longest asks most often, until it seems to be held for long.
    """
    return 0.002 if waited_s > 0.5 else max(0.0001, 0.001 - waited_s / 20)


@lru_cache(maxsize=1)  # a busy writer takes the lock a thousand times a second
def _record(pid: int, since_s: int) -> bytes:
    host = os.uname().nodename if sys.platform != "win32" else os.environ.get("COMPUTERNAME", "?")
    since = datetime.fromtimestamp(since_s, UTC).isoformat()
    text = json.dumps({"pid": pid, "host": host[:64], "since": since}, ensure_ascii=False)
    return text.encode("ascii", "replace").ljust(_RECORD_BYTES - 1) + b"\n"
