"""Data files as wholes: verified copies, and putting one in place of another."""

from __future__ import annotations

import os
import time
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import apsw

from aqe_core.errors import InputError, ReadOnlyError, StorageError
from aqe_storage_sqlite import connection as sqlite
from aqe_storage_sqlite import pages
from aqe_storage_sqlite.lock import FileLock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = [
    "COPYING_KIB",
    "backup_name",
    "copy_of",
    "drafted",
    "keep_and_replace",
    "keep_untouched_and_replace",
    "locked",
    "place_new",
    "reported",
    "sync",
    "sync_folder",
]


COPYING_KIB = 512
"""Cache of each connection of a copy: each page is needed once, and a small cache stays in the processor's own."""


@contextmanager
def locked(path: Path, timeout_s: float) -> Iterator[None]:
    """Keep every other process from writing; `StorageBusyError` names the one that does not stop."""
    lock = FileLock(path)
    try:
        lock.acquire(time.monotonic() + timeout_s)
        yield
    finally:
        lock.close()


def backup_name(path: Path, why: str = "") -> Path:
    """Return an unused name in the folder ``backups`` beside a file, which is made: the time (UTC), and why."""
    folder = path.parent / "backups"
    with reported(folder):
        folder.mkdir(exist_ok=True)
    stem = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ") + (f"-{why}" if why else "")
    return folder / f"{stem}{path.suffix or '.db'}"


@contextmanager
def reported(path: Path) -> Iterator[None]:
    """Turn what the operating system says in the block into an error of ours about a path."""
    try:
        yield
    except PermissionError as error:
        raise ReadOnlyError(f"{path} cannot be written ({error.strerror}).", fix="change its permissions.") from error
    except FileExistsError as error:
        raise InputError(f"{path} exists already.", fix="choose another name; nothing is overwritten.") from error
    except OSError as error:
        raise StorageError(f"{path} cannot be written ({error.strerror}).", fix="check the disk and folder.") from error


@contextmanager
def drafted(target: Path) -> Iterator[Path]:
    """Lend a name beside the target for a file in the making; what is left of it in the end is removed."""
    if not target.parent.is_dir():
        raise InputError(f"there is no folder {target.parent}.", fix="create it, or choose another one.")
    draft = target.with_name(f".{target.name}.{os.getpid()}.draft")
    _remove(draft)
    try:
        yield draft
    finally:
        _remove(draft)


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        with suppress(OSError):
            os.unlink(f"{path}{suffix}")  # noqa: PTH108  # the suffix belongs to the name


_DRAFTING = f"PRAGMA synchronous = OFF; PRAGMA journal_mode = OFF; PRAGMA cache_size = -{COPYING_KIB}"


def copy_of(source: apsw.Connection, draft: Path) -> None:
    """Copy a database as it is at one moment, and wait until the disk has it.

    In one step, since a copy in several begins anew with every commit of another connection. O(file). The draft is
    nobody's until it is whole, so that it needs no journal.
    """
    try:
        with closing(apsw.Connection(str(draft))) as target:
            target.execute(_DRAFTING).fetchall()
            with target.backup("main", source, "main") as copying:
                while not copying.done:
                    copying.step(-1)
    except UnicodeEncodeError as error:
        raise InputError(f"{draft} cannot be used as a path ({error}).", fix="check the path.") from error
    sync(draft)


def sync(path: Path) -> None:
    """Wait until the disk has a file."""
    with reported(path), path.open("rb+") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the disk has the names in a folder."""
    if os.name == "nt":  # pragma: no cover  # folders cannot be opened there
        return
    with reported(folder):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def place_new(draft: Path, target: Path) -> None:
    """Give a finished draft its name, unless something has that name. Atomic."""
    with reported(target):
        try:
            os.link(draft, target)  # unlike a rename this never replaces
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            if target.exists():
                raise FileExistsError from None
            draft.rename(target)
    sync_folder(target.parent)


def keep_and_replace(path: Path, draft: Path, kept: Path) -> None:
    """Put a finished draft in place of a file, which is kept, with its log, under another name.

    At every moment there is a whole file of that name. The caller holds the lock; who has the old file open
    notices at its next call that it was replaced.

    Parameters
    ----------
    path : Path
    draft : Path
        On the same file system.
    kept : Path
        Must not exist.
    """
    with suppress(apsw.Error), closing(sqlite.connect(str(path), sqlite.WRITE, timeout_s=0, writing=True)) as old:
        old.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)  # a damaged file keeps its log
    keep_untouched_and_replace(path, draft, kept)


def keep_untouched_and_replace(path: Path, draft: Path, kept: Path) -> None:
    """Do the same with a damaged file, which is not opened for that, so that it stays as it is to the byte."""
    log, kept_log = pages.log_of(path), pages.log_of(kept)
    with reported(path):
        try:
            os.link(path, kept)
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            path.rename(kept)
        # SQLite would take a log that is left over for one of the new file.
        if log.exists() and log.stat().st_size:
            log.rename(kept_log)
        log.unlink(missing_ok=True)
        path.with_name(path.name + "-shm").unlink(missing_ok=True)
        draft.replace(path)
    sync_folder(kept.parent)
    sync_folder(path.parent)
