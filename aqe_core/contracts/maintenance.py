"""The StorageMaintenance contract: looking after a data file, also one that cannot be opened any more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import attrs

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "Backup",
    "Compaction",
    "Finding",
    "LostRow",
    "Repair",
    "Restoration",
    "StorageMaintenance",
    "Transfer",
    "Verification",
]


class _Report:
    """What the reports have in common: the form that ``--json`` prints."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes as JSON values; paths become strings."""
        return attrs.asdict(self, value_serializer=_as_json)  # type: ignore[arg-type]  # its subclasses are attrs


def _as_json(_: object, __: object, value: Any) -> Any:
    return str(value) if hasattr(value, "__fspath__") else value


@attrs.frozen(kw_only=True)
class Finding(_Report):
    """One thing that is wrong, or worth knowing, about a data file.

    Attributes
    ----------
    severity : {"error", "warning", "note"}
        ``error``: something stored is damaged or lost. ``warning``: something derived is; it is made anew when needed.
        ``note``: nothing is wrong.
    check : str
        Which examination found it, e.g. ``structure``.
    message : str
    table, row : str
        Where; empty when it is not about a table or row.
    fix : str
        What to do about it.
    """

    severity: str = attrs.field(validator=attrs.validators.in_(("error", "warning", "note")))
    check: str
    message: str
    table: str = ""
    row: str = ""
    fix: str = ""


@attrs.frozen(kw_only=True)
class Verification(_Report):
    """What examining a data file found.

    Attributes
    ----------
    path : Path
    findings : tuple of Finding
        Errors first.
    rows : dict of str to int
        Rows read, by table.
    schema_version, newest_schema_version : int
    pending_migrations : tuple of int
        Versions that opening the file for writing would bring it to, one after the other.
    """

    path: Path
    findings: tuple[Finding, ...]
    rows: dict[str, int]
    schema_version: int
    newest_schema_version: int
    pending_migrations: tuple[int, ...]

    @property
    def ok(self) -> bool:
        """Whether there is neither an error nor a warning."""
        return all(finding.severity == "note" for finding in self.findings)

    @property
    def sound(self) -> bool:
        """Whether there is no error."""
        return all(finding.severity != "error" for finding in self.findings)


@attrs.frozen(kw_only=True)
class Backup(_Report):
    """A verified copy.

    Attributes
    ----------
    path : Path
        What was copied.
    backup : Path
        The copy.
    size_bytes : int
    rows : dict of str to int
        Rows in the copy, by table.
    """

    path: Path
    backup: Path
    size_bytes: int
    rows: dict[str, int]


@attrs.frozen(kw_only=True)
class Restoration(_Report):
    """A data file that was put back.

    Attributes
    ----------
    path : Path
        The file as it is now.
    source : Path
        What it was copied from.
    replaced : Path or None
        Where the file that was there before is kept; None if there was none.
    rows : dict of str to int
        Rows in the file, by table.
    """

    path: Path
    source: Path
    replaced: Path | None
    rows: dict[str, int]


@attrs.frozen(kw_only=True)
class Compaction(_Report):
    """What giving space back did.

    Attributes
    ----------
    path : Path
    before_bytes, after_bytes : int
        Size of the file with its log.
    removed : dict of str to int
        Rows that nothing needed any more, by table.
    """

    path: Path
    before_bytes: int
    after_bytes: int
    removed: dict[str, int]


@attrs.frozen(kw_only=True)
class LostRow(_Report):
    """A row, or a page of rows, that could not be saved.

    Attributes
    ----------
    table : str
        Empty when even that is unknown.
    row : str
        Its key, or where it was.
    reason : str
    """

    table: str
    row: str
    reason: str


@attrs.frozen(kw_only=True)
class Repair(_Report):
    """What a repair saved.

    Attributes
    ----------
    path : Path
        The new file.
    damaged : Path or None
        Where the damaged file is kept, untouched; None if there was nothing to repair, and nothing was done.
    rows : dict of str to int
        Rows saved, by table.
    lost : tuple of LostRow
    notes : tuple of str
        What was made up, left out because it is derived, or found outside of its table.
    """

    path: Path
    damaged: Path | None
    rows: dict[str, int]
    lost: tuple[LostRow, ...]
    notes: tuple[str, ...]


@attrs.frozen(kw_only=True)
class Transfer(_Report):
    """What an export or import moved.

    Attributes
    ----------
    path : Path
        The data file.
    folder : Path
        The folder of open files.
    format : str
        ``jsonl`` or ``parquet``.
    rows : dict of str to int
        Rows moved, by table.
    """

    path: Path
    folder: Path
    format: str
    rows: dict[str, int]


@runtime_checkable
class StorageMaintenance(Protocol):
    """Looking after a data file that is not open in this process.

    A storage's factory offers it as ``factory.maintenance(path, *, timeout_s=..., **options)``, which opens nothing
    and fails for no file. Methods that change the file hold the storage's write lock meanwhile; they raise
    `aqe_core.errors.StorageBusyError`, naming the holder, when they do not get it within ``timeout_s``. A method that
    raises has changed nothing.
    """

    def verify(self) -> Verification:
        """Read everything and compare it with its checksums and with each other. Changes nothing.

        Raises
        ------
        NoWorkspaceError
            There is no file; whatever is wrong with one that is there is a finding.
        """
        ...

    def backup(self, target: Path | None = None) -> Backup:
        """Copy the file, verify the copy, and give it its name; ends although others keep writing.

        Parameters
        ----------
        target : Path, optional
            Never overwritten; by default a new file, named by the time (UTC), in the folder ``backups`` beside it.

        Raises
        ------
        CorruptStorageError
            The copy is damaged, as the file will be.
        """
        ...

    def restore(self, source: Path) -> Restoration:
        """Verify a backup, put a copy of it in place of the file, and keep what was there.

        Raises
        ------
        CorruptStorageError
            The backup is damaged.
        """
        ...

    def compact(self) -> Compaction:
        """Remove what nothing needs any more and give the space back to the file system."""
        ...

    def repair(self) -> Repair:
        """Save every row that can be read, of a file however damaged, into a new one, and put that in its place."""
        ...

    def export(self, folder: Path, *, format: str = "jsonl") -> Transfer:  # noqa: A002  # the option's name
        """Write everything as open files into a new folder.

        Raises
        ------
        MissingExtraError
            The format needs a package that is not installed.
        """
        ...

    def import_(self, folder: Path) -> Transfer:
        """Make the file from what `export` wrote. The file must not exist yet, or be empty.

        Raises
        ------
        MalformedFileError
            The folder's files are broken or of another kind.
        """
        ...
