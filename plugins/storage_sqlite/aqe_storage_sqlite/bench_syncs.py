"""How many syncs a durable write costs."""

from __future__ import annotations

import tempfile
from pathlib import Path

import apsw

from aqe_core.contracts.records import Pattern
from aqe_storage_sqlite import connection as sqlite
from aqe_storage_sqlite.bench_worker import TEXT
from aqe_storage_sqlite.storage import SqliteStorage

__all__ = ["syncs_per_write"]


def syncs_per_write(folder: Path, writes: int = 300) -> float:
    """Count the syncs that a lone caller's writes cost, checkpoints included."""
    counter = _SyncCounter()
    before, sqlite.VFS = sqlite.VFS, counter.name
    try:
        with SqliteStorage(Path(tempfile.mkdtemp(dir=folder)) / "aqe.db") as storage:
            storage.put_patterns("default", [Pattern(id="first", name="n", text="")])
            opened = counter.syncs
            for i in range(writes):
                storage.put_patterns("default", [Pattern(id=str(i), name="test_retry", text=TEXT)])
            return (counter.syncs - opened) / writes
    finally:
        sqlite.VFS = before
        counter.unregister()


class _SyncCounter(apsw.VFS):
    """The operating system's files, with their syncs counted."""

    name = "aqe-bench"

    def __init__(self) -> None:
        super().__init__(self.name, "")
        self.syncs = 0

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802  # SQLite's
        """Open a file that counts here."""
        return _CountedFile(self, name, flags)


class _CountedFile(apsw.VFSFile):
    def __init__(self, counter: _SyncCounter, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        self._counter = counter
        super().__init__("", name, flags)

    def xSync(self, flags: int) -> None:  # noqa: N802  # SQLite's
        self._counter.syncs += 1
        super().xSync(flags)

    def xLock(self, level: int) -> None:  # noqa: N802  # SQLite's
        try:
            super().xLock(level)
        except apsw.IOError:  # who reads only cannot lock to write; SQLite passes over that, apsw over "busy" only
            raise apsw.BusyError from None
