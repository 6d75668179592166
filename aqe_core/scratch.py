"""Temporary folders that do not outlive their process for long, even if it is killed."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["scratch_folder"]

_PREFIX = "aqe-scratch-"
_LOCK = "in-use"
_NEW_S = 3600.0
"""A folder without a lock file may be in the making, but not for longer than this."""

if sys.platform == "win32":  # pragma: no cover  # an open file cannot be removed there, which serves as the lock

    def _locked(lock: Path) -> BinaryIO:
        return lock.open("wb")

    def _is_free(lock: Path) -> bool:
        try:
            lock.unlink()
        except OSError:
            return False
        return True
else:
    import fcntl

    def _locked(lock: Path) -> BinaryIO:
        """Make a lock file that is locked when it gets its name, so that nobody finds it free."""
        file = lock.with_suffix(".new").open("wb")
        fcntl.flock(file, fcntl.LOCK_EX)
        lock.with_suffix(".new").rename(lock)
        return file

    def _is_free(lock: Path) -> bool:
        with lock.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return False
            return True


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Lend an empty folder that is removed in the end.

    A folder whose process was killed is removed by the next call of any process of the same user: the lock on a file
    in it ended with its process.
    """
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if _is_abandoned(folder):
                shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with _locked(folder / _LOCK):
            inner = folder / "work"
            inner.mkdir()
            yield inner


def _is_abandoned(folder: Path) -> bool:
    status = folder.lstat()
    if hasattr(os, "getuid") and status.st_uid != os.getuid():
        return False
    lock = folder / _LOCK
    if lock.exists():
        return _is_free(lock)
    return time.time() - status.st_mtime > _NEW_S
