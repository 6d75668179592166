"""Backing a data file up, putting a backup back, and giving space back."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import apsw

from aqe_core.contracts.maintenance import Backup, Compaction, Restoration
from aqe_core.errors import CorruptStorageError, InputError, NoWorkspaceError
from aqe_storage_sqlite import connection as sqlite
from aqe_storage_sqlite import files, pages, schema, text_index, verify

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["back_up", "before_migration", "compact", "restore"]

JOURNAL_KEPT = 10_000
"""How many of the newest journal entries stay when space is given back; an engine further behind rebuilds."""


def back_up(path: Path, target: Path | None, *, timeout_s: float) -> Backup:
    """Make a verified copy; see `aqe_core.contracts.maintenance.StorageMaintenance`."""
    _require(path)
    if target is not None and target.exists():
        raise InputError(f"{target} exists already.", fix="choose another name; nothing is overwritten.")
    with sqlite.translated(path), closing(verify.open_to_read(path, timeout_s)) as connection:
        schema.require_known(connection, path)
        connection.execute(f"PRAGMA cache_size = -{files.COPYING_KIB}")
        return _copied(connection, path, target or files.backup_name(path), timeout_s)


def before_migration(connection: apsw.Connection, path: Path, version: int) -> Backup:
    """Back a file up before its schema is changed.

    Raises
    ------
    CorruptStorageError
        The file is damaged; it is not migrated then.
    """
    return _copied(connection, path, files.backup_name(path, f"version-{version}"), timeout_s=10.0)


def _copied(connection: apsw.Connection, path: Path, target: Path, timeout_s: float) -> Backup:
    with files.drafted(target) as draft:
        files.copy_of(connection, draft)
        rows = verify.require_sound(draft, f"{path}, or its copy,", timeout_s=timeout_s)
        files.place_new(draft, target)
    return Backup(path=path, backup=target, size_bytes=target.stat().st_size, rows=rows)


def _require(path: Path) -> None:
    if not path.is_file():
        raise NoWorkspaceError(f"there is no file {path}.", fix="run `aqe init` there, or name another file.")


def restore(path: Path, source: Path, *, timeout_s: float) -> Restoration:
    """Put a copy of a backup in place of a file; see `aqe_core.contracts.maintenance.StorageMaintenance`."""
    _require(source)
    if path.exists() and source.samefile(path):
        raise InputError(f"{source} is the data file itself.", fix="name one of its backups.")
    with files.drafted(path) as draft:
        with sqlite.translated(source):
            verify.require_sound(source, str(source), timeout_s=timeout_s, alone=True)
            with closing(verify.open_to_read(source, timeout_s, alone=True)) as connection:
                schema.require_known(connection, source)
                files.copy_of(connection, draft)
        rows = verify.require_sound(draft, f"the copy of {source}", timeout_s=timeout_s)
        with files.locked(path, timeout_s):
            kept = files.backup_name(path, "replaced") if path.exists() else None
            if kept is None:
                files.place_new(draft, path)
            elif _is_sound(path, timeout_s):
                files.keep_and_replace(path, draft, kept)
            else:
                files.keep_untouched_and_replace(path, draft, kept)
    return Restoration(path=path, source=source, replaced=kept, rows=rows)


def _is_sound(path: Path, timeout_s: float) -> bool:
    try:
        verify.require_sound(path, str(path), timeout_s=timeout_s)
    except CorruptStorageError:
        return False
    return True


# -- space -----------------------------------------------------------------------------------------------------------

_UNUSED = {
    "journal": "seq <= (SELECT max(seq) FROM journal) - ?1",
    "vector_blocks": "space NOT IN (SELECT s.id FROM vector_spaces AS s JOIN namespaces AS n ON n.id = s.namespace)",
    "vector_spaces": "id NOT IN (SELECT space FROM vector_blocks)",
    "tests": "id NOT IN (SELECT test FROM results)",
}


def compact(path: Path, *, timeout_s: float) -> Compaction:
    """Remove what nothing needs and shrink the file; see `aqe_core.contracts.maintenance.StorageMaintenance`.

    O(file); needs as much free space as the file takes. Others may read meanwhile, and write when it is done. The
    space is returned at once, unless somebody reads: then when the log is next folded in.
    """
    _require(path)
    verify.require_sound(path, str(path), timeout_s=timeout_s)
    before = _size_bytes(path)
    removed: dict[str, int] = {}
    with sqlite.translated(path), files.locked(path, timeout_s):
        with closing(sqlite.connect(str(path), sqlite.WRITE, timeout_s=timeout_s, writing=True)) as connection:
            if connection.readonly("main"):
                raise sqlite.read_only_error(path)
            schema.require_current(connection, path)
            with sqlite.transaction(connection):
                for table, unused in _UNUSED.items():
                    sql = f"DELETE FROM {table} WHERE {unused}"  # noqa: S608  # both ours
                    connection.execute(sql, (JOURNAL_KEPT,) if "?1" in unused else ()).fetchall()
                    removed[table] = connection.changes()
            with sqlite.transaction(connection):
                text_index.optimize(connection)
            connection.execute("VACUUM").fetchall()
            connection.set_busy_timeout(1000)
            try:
                connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
            except apsw.BusyError:
                connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        after = _size_bytes(path)
    return Compaction(path=path, before_bytes=before, after_bytes=after, removed=removed)


def _size_bytes(path: Path) -> int:
    return path.stat().st_size + pages.log_bytes(path)
