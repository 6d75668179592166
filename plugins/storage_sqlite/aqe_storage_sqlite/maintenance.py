"""Looking after a data file: the one object that the verbs talk to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from aqe_storage_sqlite import backup, repair, transfer, verify

if TYPE_CHECKING:
    from aqe_core.contracts.maintenance import Backup, Compaction, Repair, Restoration, Transfer, Verification

__all__ = ["SqliteMaintenance"]


class SqliteMaintenance:
    """Looks after one data file; fulfils `aqe_core.contracts.StorageMaintenance`, where the methods are described.

    Parameters
    ----------
    path : Path
        Need not exist.
    timeout_s : float
        How long to wait for other writers, in seconds.
    **options
        Those of the storage; none matters here.
    """

    def __init__(self, path: Path, *, timeout_s: float = 10.0, **options: Any) -> None:
        del options
        self.path = Path(path).absolute()
        self.timeout_s = timeout_s

    def verify(self) -> Verification:
        """Read everything and compare it with its checksums and with each other. Changes nothing."""
        return verify.verify(self.path, timeout_s=self.timeout_s)

    def backup(self, target: Path | None = None) -> Backup:
        """Copy the file, verify the copy, and give it its name; ends although others keep writing."""
        return backup.back_up(self.path, None if target is None else Path(target), timeout_s=self.timeout_s)

    def restore(self, source: Path) -> Restoration:
        """Verify a backup, put a copy of it in place of the file, and keep what was there."""
        return backup.restore(self.path, Path(source), timeout_s=self.timeout_s)

    def compact(self) -> Compaction:
        """Remove what nothing needs any more and give the space back to the file system."""
        return backup.compact(self.path, timeout_s=self.timeout_s)

    def repair(self) -> Repair:
        """Save every row that can be read into a new file, and put that in the damaged one's place."""
        return repair.repair(self.path, timeout_s=self.timeout_s)

    def export(self, folder: Path, *, format: str = "jsonl") -> Transfer:  # noqa: A002  # the option's name
        """Write everything as open files into a new folder."""
        return transfer.export(self.path, Path(folder), format, timeout_s=self.timeout_s)

    def import_(self, folder: Path) -> Transfer:
        """Make the file from what `export` wrote."""
        return transfer.import_(self.path, Path(folder), timeout_s=self.timeout_s)
