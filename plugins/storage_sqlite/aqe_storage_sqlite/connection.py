"""One SQLite connection: how it is opened, how a transaction runs, and what its errors mean."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import apsw

from aqe_core.errors import (
    CorruptStorageError,
    InputError,
    ReadOnlyError,
    StorageBusyError,
    StorageError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aqe_core.errors import AqeError

__all__ = [
    "check_engine",
    "check_file_system",
    "close",
    "connect",
    "file_system",
    "is_safe",
    "transaction",
    "translated",
    "translation",
]

READ = apsw.SQLITE_OPEN_READONLY
WRITE = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE

_ALWAYS = """
PRAGMA trusted_schema = OFF;
PRAGMA cell_size_check = ON;
PRAGMA foreign_keys = ON;
PRAGMA temp_store = MEMORY;
PRAGMA cache_size = -16000;
"""
_WRITING = """
PRAGMA journal_size_limit = 67108864;
"""

VFS: str | None = None
"""SQLite's layer to the operating system, by name; None is its own. Tests put one beneath whose disk fails."""

RESTORE = (
    "save what can be read with `aqe repair`, restore a backup with `aqe restore`, "
    "or move the file away and ingest again."
)


def is_safe(version: str) -> bool:
    """Say whether an SQLite release is free of the WAL-reset race.

    From 3.7.0 to 3.51.2 a checkpoint and a commit on two connections could lose commits or damage the file; the cure
    was carried back to 3.44.6 and 3.50.7 (https://sqlite.org/wal.html#walresetbug).

    Examples
    --------
    >>> is_safe("3.51.3"), is_safe("3.50.7"), is_safe("3.51.2")
    (True, True, False)
    """
    numbers = tuple(int(digits) for digits in re.findall(r"\d+", version)[:3])
    return numbers >= (3, 51, 3) or any(fixed <= numbers < (3, fixed[1] + 1) for fixed in _BACKPORTS)


_BACKPORTS = ((3, 44, 6), (3, 50, 7))


def check_engine(version: str) -> None:
    """Raise `StorageError` unless that SQLite release may hold the truth."""
    if not is_safe(version):
        raise StorageError(
            f"apsw carries SQLite {version}, which can lose commits when several connections share a file.",
            fix="install a newer one: pip install --upgrade 'apsw>=3.51.3'.",
        )


_FUSED = ("davfs2", "glusterfs", "juicefs", "rclone", "s3fs", "sshfs")
_NETWORK = {"afs", "beegfs", "ceph", "cifs", "coda", "davfs", "gfs2", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2"}
_NETWORK |= {"smb3", "smbfs", *(f"fuse.{name}" for name in _FUSED)}
_MOUNTS = "/proc/self/mountinfo"


def file_system(path: Path) -> str:
    """Return the type of the file system that a folder or file is on, as Linux names it; empty where nothing says so.

    https://docs.kernel.org/filesystems/proc.html#proc-pid-mountinfo-information-about-mounts
    """
    try:
        device = path.stat().st_dev
        with open(_MOUNTS, encoding="utf-8", errors="replace") as mounts:  # noqa: PTH123  # a name, not a path of ours
            for mount in map(str.split, mounts):
                if mount[2] == f"{os.major(device)}:{os.minor(device)}":
                    return mount[mount.index("-") + 1]
    except (OSError, ValueError, IndexError):
        pass
    return ""


def check_file_system(path: Path) -> None:
    """Raise `StorageError` if a folder is on a network file system.

    A write-ahead log needs memory that all who use the file share, which two computers do not
    (https://sqlite.org/wal.html), and locks there are often not what they say.
    """
    name = file_system(path)
    if name in _NETWORK:
        raise StorageError(
            f"{path} is on a network file system ({name}), where commits of two computers can damage a database.",
            fix="put the workspace on a local disk; copy backups to the network.",
        )


def connect(
    target: str, flags: int, *, timeout_s: float, writing: bool = False, durability: str = "full"
) -> apsw.Connection:
    """Open a connection with our settings; ``target`` is a file name, or a URI where the flags say so."""
    connection = apsw.Connection(target, flags=flags, vfs=VFS)
    try:
        connection.set_busy_timeout(milliseconds(timeout_s))
        connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
        # `execute` stops at each row of a script, and some pragmas answer with one.
        connection.execute(_ALWAYS).fetchall()
        if writing:
            connection.execute(_WRITING).fetchall()
            connection.execute(f"PRAGMA synchronous = {durability}")
    except BaseException:
        close(connection)
        raise
    return connection


def close(connection: apsw.Connection) -> None:
    """Close a connection, on a failing disk too: what is committed stays in the log until the next opening."""
    with suppress(apsw.Error):
        connection.close(True)


def milliseconds(duration_s: float) -> int:
    """Return a duration as SQLite takes it: at least 1 ms, for 0 would mean no waiting even for a checkpoint."""
    return max(1, min(int(duration_s * 1000), 2**31 - 1))


@contextmanager
def transaction(connection: apsw.Connection, kind: str = "IMMEDIATE") -> Iterator[None]:
    """Commit what the block does, or roll it back if anything is raised, Ctrl-C included."""
    try:
        connection.execute("BEGIN " + kind)
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn what apsw raises in the block into errors of ours."""
    try:
        yield
    except (apsw.Error, UnicodeError, OverflowError) as error:
        ours = translation(error, path)
        if ours is error:
            raise
        raise ours from error


def translation(error: BaseException, path: Path) -> BaseException:
    """Return what apsw raised as an error of ours, and any other error as it is."""
    if isinstance(error, apsw.Error):
        return _translate(error, path)
    if isinstance(error, UnicodeEncodeError):
        return InputError(
            f"the text {error.object[:60]!r} holds half a surrogate pair at position {error.start}, "
            "which UTF-8 cannot say.",
            fix="decode its source with errors='replace'.",
        )
    if isinstance(error, UnicodeDecodeError):
        return CorruptStorageError(f"{path} holds text that is not UTF-8 ({error}).", fix=RESTORE)
    if isinstance(error, OverflowError):
        return InputError(f"a number does not fit in 64 bits ({error}).", fix="pass smaller numbers.")
    return error


def _translate(error: apsw.Error, path: Path) -> AqeError:
    if isinstance(error, (apsw.BusyError, apsw.LockedError)):
        return StorageBusyError(
            f"{path} is locked by a program that does not use aqe's lock file.",
            fix="close other programs that have the file open, or try again.",
        )
    if isinstance(error, (apsw.CorruptError, apsw.NotADBError)):
        return CorruptStorageError(f"{path} is damaged or not an SQLite database ({error}).", fix=RESTORE)
    if isinstance(error, apsw.ReadOnlyError) or (
        isinstance(error, apsw.CantOpenError) and not is_writable(path.parent)
    ):
        return read_only_error(path)
    if isinstance(error, apsw.CantOpenError):
        return StorageError(f"{path} cannot be opened ({error}).", fix="check the path and its permissions.")
    if isinstance(error, apsw.FullError):
        return StorageError(f"the disk of {path} is full.", fix="free some space, then try again.")
    if isinstance(error, apsw.IOError):
        return StorageError(f"{path} cannot be read or written ({error}).", fix="check the disk it is on.")
    if isinstance(error, apsw.TooBigError):
        return InputError(
            "a value is larger than SQLite's limit of 1,000,000,000 bytes.", fix="split it into smaller ones."
        )
    return StorageError(
        f"SQLite failed on {path}: {type(error).__name__}: {error}.", fix="report this as a bug in aqe."
    )


def read_only_error(path: Path) -> ReadOnlyError:
    """Return the error for a file or folder that cannot be written."""
    return ReadOnlyError(
        f"{path} cannot be written: the file or its folder is read-only.",
        fix="change the permissions, choose another folder, or open it with read_only=True.",
    )


def is_writable(folder: Path) -> bool:
    """Say whether this process may create files in a folder."""
    return os.access(folder, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids)
