"""The tables, as numbered migrations.

``PRAGMA user_version`` counts the migrations a file has seen; ``PRAGMA application_id`` tells our files from those of
other programs. To change the schema append a script to `MIGRATIONS`; never edit one that was released.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aqe_core.errors import FutureSchemaError, NoWorkspaceError, StorageError
from aqe_storage_sqlite.connection import transaction

if TYPE_CHECKING:
    from pathlib import Path

    import apsw

__all__ = ["APPLICATION_ID", "MIGRATIONS", "migrate", "version_of"]

APPLICATION_ID = 0x61716544
"""``aqeD`` in ASCII."""

_FIRST = """
CREATE TABLE namespaces (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

-- Wide columns stand last, so that a filter on the others need not read over them.
CREATE TABLE patterns (
    key          INTEGER PRIMARY KEY AUTOINCREMENT,  -- never given twice: engines may still know a removed key
    namespace    INTEGER NOT NULL REFERENCES namespaces,
    id           TEXT NOT NULL,
    content_hash TEXT NOT NULL,
    line         INTEGER NOT NULL,
    name         TEXT NOT NULL,
    path         TEXT NOT NULL,
    class_name   TEXT NOT NULL,
    origin       TEXT NOT NULL,
    markers      TEXT NOT NULL,                      -- JSON array of strings
    metadata     TEXT NOT NULL,                      -- JSON object
    docstring    TEXT NOT NULL,
    text         TEXT NOT NULL,
    UNIQUE (namespace, id)
) STRICT;
CREATE INDEX patterns_by_origin ON patterns (namespace, origin);

-- A space holds the vectors of one embedder in one namespace, 16 consecutive keys to a block: block = key / 16.
CREATE TABLE vector_spaces (
    id          INTEGER PRIMARY KEY,
    namespace   INTEGER NOT NULL REFERENCES namespaces,
    fingerprint TEXT NOT NULL,
    dim         INTEGER NOT NULL,
    UNIQUE (namespace, fingerprint)
) STRICT;
CREATE TABLE vector_blocks (
    space INTEGER NOT NULL REFERENCES vector_spaces ON DELETE CASCADE,
    block INTEGER NOT NULL,
    slots INTEGER NOT NULL,                          -- bit i: key 16 * block + i has a vector
    crc32 INTEGER NOT NULL,                          -- of block, slots and data
    data  BLOB NOT NULL,                             -- float32, little-endian, one row per set bit
    PRIMARY KEY (space, block)
) STRICT;

CREATE TABLE runs (
    number    INTEGER PRIMARY KEY AUTOINCREMENT,
    id        TEXT NOT NULL UNIQUE,
    source    TEXT NOT NULL,
    tool      TEXT NOT NULL,
    started_s REAL NOT NULL
) STRICT;
CREATE TABLE tests (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;
CREATE TABLE results (
    run        INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    position   INTEGER NOT NULL,
    test       INTEGER NOT NULL REFERENCES tests,
    outcome    INTEGER NOT NULL CHECK (outcome BETWEEN 0 AND 3),
    duration_s REAL NOT NULL,
    message    TEXT NOT NULL,
    PRIMARY KEY (run, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE states (
    name      TEXT PRIMARY KEY,
    kind      TEXT NOT NULL,
    seq       INTEGER NOT NULL,
    created_s REAL NOT NULL,
    crc32     INTEGER NOT NULL,                      -- of everything else, the arrays' checksums included
    manifest  TEXT NOT NULL                          -- JSON object
) STRICT;
CREATE TABLE state_arrays (
    state TEXT NOT NULL REFERENCES states ON DELETE CASCADE,
    name  TEXT NOT NULL,
    dtype TEXT NOT NULL,                             -- NumPy's spelling, little-endian: <f8
    shape TEXT NOT NULL,                             -- JSON array
    crc32 INTEGER NOT NULL,
    data  BLOB NOT NULL,
    PRIMARY KEY (state, name)
) STRICT;

CREATE TABLE journal (
    seq       INTEGER PRIMARY KEY AUTOINCREMENT,
    namespace INTEGER NOT NULL,
    written   INTEGER NOT NULL CHECK (written IN (0, 1)),  -- 0: removed
    key       INTEGER NOT NULL
) STRICT;
"""

MIGRATIONS: tuple[str, ...] = (_FIRST,)
"""SQL that brings a file from version ``i`` to ``i + 1``."""


def version_of(connection: apsw.Connection, path: Path) -> int:
    """Return how many migrations the file has seen; 0 for an empty file.

    Raises
    ------
    FutureSchemaError
        More than we know.
    StorageError
        The file is another program's.
    """
    with transaction(connection, "DEFERRED"):  # one view of all three, should another process be creating the file
        application = connection.execute("PRAGMA application_id").get
        version = connection.execute("PRAGMA user_version").get
        tables = connection.execute("SELECT count(*) FROM sqlite_schema").get
    if application == APPLICATION_ID:
        if version > len(MIGRATIONS):
            raise FutureSchemaError(
                f"{path} has schema version {version}; this aqe knows versions up to {len(MIGRATIONS)}.",
                fix="update aqe-core; an older one must not guess at a newer file.",
            )
        return int(version)
    if application or version or tables:
        raise StorageError(
            f"{path} is an SQLite database of another program (application id {application:#x}).",
            fix="choose another path; aqe does not touch it.",
        )
    return 0


def migrate(connection: apsw.Connection, path: Path) -> None:
    """Bring a file to the newest version, one transaction per migration.

    The caller holds the write lock, so that the version read here is still true when it is changed.
    """
    for version in range(version_of(connection, path), len(MIGRATIONS)):
        with transaction(connection):
            connection.execute(MIGRATIONS[version]).fetchall()
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {version + 1}")


def require_current(connection: apsw.Connection, path: Path) -> None:
    """Raise unless a file that we may not change can be read as it is."""
    version = version_of(connection, path)
    if version == 0:
        raise NoWorkspaceError(f"{path} is empty.", fix="run 'aqe init' there, or open it for writing.")
    if version < len(MIGRATIONS):
        raise StorageError(
            f"{path} has schema version {version}, and reading needs {len(MIGRATIONS)}.",
            fix="open it once for writing, which migrates it.",
        )
