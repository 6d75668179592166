"""Everything as open files, and back: one file per table that any program can read.

A folder holds ``manifest.json``, a ``.jsonl`` (or ``.parquet``) file per table with one object per row, and an
``.npy`` file per array of an engine state. Columns have the names they have in the data file; bytes are Base64 in JSON
Lines. Vectors are not exported: they are made again from the patterns.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import shutil
import zlib
from contextlib import closing
from datetime import UTC, datetime
from importlib import import_module
from typing import TYPE_CHECKING, Any

import apsw
import numpy as np

from aqe_core.contracts.maintenance import Transfer
from aqe_core.errors import (
    AqeError,
    InputError,
    MalformedFileError,
    MissingExtraError,
    NotFoundError,
    NoWorkspaceError,
)
from aqe_storage_sqlite import catalog, files, schema, states, text_index, verify
from aqe_storage_sqlite import connection as sqlite

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from pathlib import Path

__all__ = ["FORMATS", "export", "import_"]

FORMATS = ("jsonl", "parquet")
FORMAT = "aqe-export/1"
_DERIVED = frozenset(("vector_spaces", "vector_blocks"))
_MANIFEST = "manifest.json"
_AT_ONCE = 10_000
_PARQUET_TYPES = {"INTEGER": "int64", "REAL": "float64", "TEXT": "string", "BLOB": "binary"}

Row = dict[str, Any]


# -- out -------------------------------------------------------------------------------------------------------------


def export(path: Path, folder: Path, format_: str, *, timeout_s: float) -> Transfer:
    """Write everything into a new folder; see `aqe_core.contracts.maintenance.StorageMaintenance`.

    The folder gets its name when it is complete. It shows the file as it is at one moment. O(file).
    """
    if format_ not in FORMATS:
        raise InputError(f"the format is {format_!r:.40}.", fix=f"use one of {', '.join(FORMATS)}.")
    if not path.is_file():
        raise NoWorkspaceError(f"there is no file {path}.", fix="run `aqe init` there, or name another file.")
    if folder.exists():
        raise InputError(f"{folder} exists already.", fix="choose another name; nothing is overwritten.")
    if not folder.parent.is_dir():
        raise InputError(f"there is no folder {folder.parent}.", fix="create it, or choose another one.")
    write = _write_jsonl if format_ == "jsonl" else _parquet_writer()
    draft = folder.with_name(f".{folder.name}.{os.getpid()}.draft")
    verify.require_sound(path, str(path), timeout_s=timeout_s)
    with files.reported(draft):
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
    try:
        with sqlite.translated(path), closing(verify.open_to_read(path, timeout_s)) as connection:
            schema.require_current(connection, path)
            connection.execute("BEGIN")
            with files.reported(draft):
                rows = _export_to(connection, draft, format_, write)
        with files.reported(folder):
            draft.rename(folder)
        files.sync_folder(folder.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return Transfer(path=path, folder=folder, format=format_, rows=rows)


def _export_to(connection: apsw.Connection, folder: Path, format_: str, write: Any) -> dict[str, int]:
    tables: dict[str, Any] = {}
    known = catalog.reference(len(schema.MIGRATIONS))
    for table in catalog.tables(connection):
        if table.name in known and table.name not in _DERIVED:
            file = folder / f"{table.name}.{format_}"
            rows = _rows(connection, table, folder)
            count = write(file, table, rows)
            tables[table.name] = {"file": file.name, "rows": count, "sha256": _digest(file)}
    counters: Any = connection.execute("SELECT name, seq FROM sqlite_sequence ORDER BY name").fetchall()
    manifest = {
        "format": FORMAT,
        "files": format_,
        "schema_version": len(schema.MIGRATIONS),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "tables": tables,
        "counters": dict(counters),
    }
    text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
    (folder / _MANIFEST).write_text(text, encoding="utf-8")
    for file in folder.iterdir():
        files.sync(file)
    return {name: about["rows"] for name, about in tables.items()}


def _rows(connection: apsw.Connection, table: catalog.Table, folder: Path) -> Iterator[Row]:
    """Yield the rows of a table by key; an array of an engine state goes into a file of its own, if it is sound."""
    names = ", ".join(map(catalog.quoted, table.columns))
    order = ", ".join(map(catalog.quoted, table.key)) or "rowid"
    sql = f"SELECT {names} FROM {catalog.quoted(table.name)} ORDER BY {order}"  # noqa: S608  # quoted
    broken = _broken_states(connection) if table.name in _STATES else ()
    for number, values in enumerate(connection.execute(sql), 1):
        row = dict(zip(table.columns, values, strict=True))
        if broken and row[_STATES[table.name]] in broken:
            continue
        if table.name == "state_arrays":
            file = folder / f"state-{number}.npy"
            array = np.frombuffer(row.pop("data"), row["dtype"]).reshape(json.loads(row["shape"]))
            np.save(file, array, allow_pickle=False)
            row |= {"file": file.name}
        yield row


_STATES = {"states": "name", "state_arrays": "state"}


def _broken_states(connection: apsw.Connection) -> set[str]:
    """Return the names of the states that no engine would get, as they are damaged; they are made anew."""
    names: list[Any] = connection.execute("SELECT name FROM states").fetchall()
    return {name for (name,) in names if states.fetch(connection, name) is None}


def _write_jsonl(file: Path, _table: catalog.Table, rows: Iterable[Row]) -> int:
    count = 0
    with file.open("w", encoding="utf-8", newline="\n") as target:
        for row in rows:
            target.write(json.dumps(row, ensure_ascii=False, separators=(",", ":"), default=_as_base64) + "\n")
            count += 1
    return count


def _as_base64(value: bytes) -> dict[str, str]:
    return {"base64": base64.b64encode(value).decode("ascii")}


def _pyarrow() -> tuple[Any, Any]:
    try:
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        raise MissingExtraError(
            "Parquet files need pyarrow, which is not installed.", fix="pip install pyarrow, or use --format jsonl."
        ) from error


def _parquet_writer() -> Any:
    pyarrow, parquet = _pyarrow()

    def write(file: Path, table: catalog.Table, rows: Iterable[Row]) -> int:
        types = dict(zip(table.columns, table.types, strict=True))
        if table.name == "state_arrays":
            del types["data"]
            types["file"] = "TEXT"
        fields = [(name, getattr(pyarrow, _PARQUET_TYPES.get(kind, "string"))()) for name, kind in types.items()]
        all_rows = list(rows)
        parquet.write_table(pyarrow.Table.from_pylist(all_rows, schema=pyarrow.schema(fields)), file)
        return len(all_rows)

    return write


def _digest(file: Path) -> str:
    with file.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


# -- in --------------------------------------------------------------------------------------------------------------


def import_(path: Path, folder: Path, *, timeout_s: float) -> Transfer:
    """Make a data file from a folder; see `aqe_core.contracts.maintenance.StorageMaintenance`.

    Everything is checked in a file beside it, which then takes its name. O(folder).
    """
    manifest = _read_manifest(folder)
    with files.drafted(path) as draft, sqlite.translated(path):
        rows = _import_into(draft, folder, manifest)
        verify.require_sound(draft, f"what {folder} holds", timeout_s=timeout_s)
        files.sync(draft)
        with files.locked(path, timeout_s):
            if not path.exists():
                files.place_new(draft, path)
            else:
                _require_empty(path, timeout_s)
                files.keep_and_replace(path, draft, files.backup_name(path, "empty"))
    return Transfer(path=path, folder=folder, format=manifest["files"], rows=rows)


def _require_empty(path: Path, timeout_s: float) -> None:
    rows = verify.require_sound(path, str(path), timeout_s=timeout_s)
    filled = [f"{count} {name}" for name, count in rows.items() if count]
    if filled:
        raise InputError(
            f"{path} holds data already: {', '.join(filled)}.",
            fix="import into a new project, or move the file away first.",
        )


def _read_manifest(folder: Path) -> dict[str, Any]:
    file = folder / _MANIFEST
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
        known = manifest["format"] == FORMAT and manifest["files"] in FORMATS
        complete = isinstance(manifest["tables"], dict) and isinstance(manifest["counters"], dict)
        version = manifest["schema_version"]
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no export in {folder}.", fix=f"name a folder with a {_MANIFEST}.") from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise MalformedFileError(f"{file} is broken ({error}).", fix="export again.") from error
    if not (known and complete and isinstance(version, int)):
        raise MalformedFileError(f"{file} is not of an export that this aqe reads.", fix="export again.")
    if not 1 <= version <= len(schema.MIGRATIONS):
        raise MalformedFileError(
            f"{folder} is of schema version {version}; this aqe knows versions up to {len(schema.MIGRATIONS)}.",
            fix="update aqe-core.",
        )
    return dict(manifest)


def _import_into(draft: Path, folder: Path, manifest: dict[str, Any]) -> dict[str, int]:
    rows: dict[str, int] = {}
    version = manifest["schema_version"]
    with closing(sqlite.connect(str(draft), sqlite.WRITE, timeout_s=1)) as connection:
        connection.execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL").fetchall()
        catalog.build(version, connection)
        found = [table for table in catalog.tables(connection) if table.name not in _DERIVED]
        _require_tables(folder, {table.name for table in found}, manifest["tables"])
        with sqlite.transaction(connection):
            for table in found:
                rows[table.name] = _import_table(
                    connection, folder, table, manifest["tables"][table.name], manifest["files"]
                )
            _set_counters(connection, manifest["counters"])
        for number in range(version, len(schema.MIGRATIONS)):
            schema.apply(connection, number)
        with sqlite.transaction(connection):
            text_index.rebuild(connection)
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    return rows


def _require_tables(folder: Path, wanted: set[str], named: Collection[str]) -> None:
    """Raise `MalformedFileError` unless the manifest names each table and no other."""
    if wrong := sorted(wanted.symmetric_difference(named)):
        which = f"{wrong[0]!r:.60} is {'missing' if wrong[0] in wanted else 'unknown'}"
        raise MalformedFileError(
            f"{folder / _MANIFEST} does not name the tables of an export: {which}.", fix="export again."
        )


def _import_table(connection: apsw.Connection, folder: Path, table: catalog.Table, about: Any, format_: str) -> int:
    file = folder / f"{table.name}.{format_}"
    names = ", ".join(map(catalog.quoted, table.columns))
    marks = ", ".join("?" * len(table.columns))
    sql = f"INSERT INTO {catalog.quoted(table.name)} ({names}) VALUES ({marks})"  # noqa: S608  # quoted
    number = 0
    try:
        if _digest(file) != about["sha256"]:
            raise MalformedFileError(f"{file} was changed: its checksum is not the manifest's.", fix="export again.")
        for row in _read_rows(file, format_):
            number += 1
            if table.name == "state_arrays":
                row["data"] = _read_array(folder, row)
            connection.execute(sql, tuple(row[name] for name in table.columns))
    except (MissingExtraError, MalformedFileError):
        raise
    except (OSError, ValueError, KeyError, TypeError, RecursionError, OverflowError, apsw.Error, AqeError) as error:
        raise MalformedFileError(f"{file}, row {number}: {error!r:.300}.", fix="export again.") from error
    return number


def _read_rows(file: Path, format_: str) -> Iterator[Row]:
    if format_ == "parquet":
        _, parquet = _pyarrow()
        for batch in parquet.ParquetFile(file).iter_batches(_AT_ONCE):
            yield from batch.to_pylist()
        return
    with file.open(encoding="utf-8") as source:
        for line in source:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise TypeError("a line that is no object")
            yield {name: _from_json(value) for name, value in row.items()}


def _from_json(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    try:
        return base64.b64decode(value["base64"], validate=True)
    except binascii.Error as error:
        raise ValueError(f"bytes that are not Base64 ({error})") from error


def _read_array(folder: Path, row: Row) -> bytes:
    """Return the bytes of an array; only a file of the folder itself is read."""
    file = folder / os.path.basename(row["file"])  # noqa: PTH119  # of any string, also one that is no path
    array = np.load(file, allow_pickle=False)
    data = bytes(array.astype(np.dtype(row["dtype"]), order="C").tobytes())
    if zlib.crc32(data) != row["crc32"]:
        raise MalformedFileError(f"{file} was changed: its checksum is not that of its row.", fix="export again.")
    return data


def _set_counters(connection: apsw.Connection, counters: dict[str, Any]) -> None:
    connection.execute("DELETE FROM sqlite_sequence")
    connection.executemany(
        "INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)",
        [(name, number) for name, number in counters.items() if isinstance(number, int)],
    )
