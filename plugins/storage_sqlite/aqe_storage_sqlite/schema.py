"""The tables, as numbered migrations.

``PRAGMA user_version`` counts the migrations a file has seen; ``PRAGMA application_id`` tells our files from those of
other programs. To change the schema append a script to `MIGRATIONS`; never edit one that was released.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aqe_core.errors import CorruptStorageError, FutureSchemaError, NoWorkspaceError, StorageError
from aqe_storage_sqlite import text_index
from aqe_storage_sqlite.connection import transaction

if TYPE_CHECKING:
    from pathlib import Path

    import apsw

__all__ = [
    "APPLICATION_ID",
    "CHECKSUMS_SINCE",
    "LEGACY_CHECKSUMS_SINCE",
    "MIGRATIONS",
    "RANGES_SINCE",
    "TAKEN_OVER",
    "apply",
    "migrate",
    "require_current",
    "require_known",
    "version_of",
]

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

_CHECKSUMS = """
-- Of what no index covers (see checksums.py); NULL in rows that were written before.
ALTER TABLE patterns ADD COLUMN crc32 INTEGER;
ALTER TABLE runs     ADD COLUMN crc32 INTEGER;       -- of the run and its results
ALTER TABLE journal  ADD COLUMN crc32 INTEGER;
"""

_LEGACY = """
-- Databases of agentic-qe that were taken over. A row of theirs is known by its table and its number there.
CREATE TABLE legacy_files (
    id       INTEGER PRIMARY KEY,
    path     TEXT NOT NULL UNIQUE,
    sha256   TEXT NOT NULL,                          -- of the file with its log and journal
    kind     TEXT NOT NULL,
    problems TEXT NOT NULL,                          -- JSON array of strings
    done     INTEGER NOT NULL CHECK (done IN (0, 1))
) STRICT;
CREATE TABLE legacy_tables (
    id       INTEGER PRIMARY KEY,
    file     INTEGER NOT NULL REFERENCES legacy_files,
    name     TEXT NOT NULL,
    last_row INTEGER NOT NULL,                       -- up to here its rows are taken over
    done     INTEGER NOT NULL CHECK (done IN (0, 1)),
    counts   TEXT NOT NULL,                          -- JSON object
    UNIQUE (file, name)
) STRICT;
CREATE TABLE legacy_agents (
    file     INTEGER NOT NULL REFERENCES legacy_files,
    agent    TEXT NOT NULL,
    stored   INTEGER NOT NULL,
    lost     INTEGER NOT NULL,
    rebuilt  INTEGER NOT NULL,
    verified INTEGER CHECK (verified IN (0, 1)),     -- the rebuilt values went through the saved ones; NULL: none saved
    PRIMARY KEY (file, agent)
) STRICT;

CREATE TABLE experiences (
    source     INTEGER NOT NULL REFERENCES legacy_tables,
    row        INTEGER NOT NULL,
    agent      TEXT NOT NULL,
    task       TEXT,
    type       TEXT,
    state      TEXT,                                 -- JSON, as the next two
    action     TEXT,
    reward     REAL,
    next_state TEXT,
    done       INTEGER,
    at_s       REAL,
    origin     TEXT NOT NULL,
    extra      TEXT NOT NULL,                        -- JSON object
    PRIMARY KEY (source, row)
) STRICT;
CREATE INDEX experiences_by_agent ON experiences (agent);
CREATE TABLE q_values (
    source INTEGER NOT NULL REFERENCES legacy_tables,
    row    INTEGER NOT NULL,
    agent  TEXT NOT NULL,
    state  TEXT NOT NULL,
    action TEXT NOT NULL,
    value  REAL NOT NULL,
    visits INTEGER NOT NULL,
    lost   INTEGER NOT NULL CHECK (lost IN (0, 1)),
    extra  TEXT NOT NULL,
    PRIMARY KEY (source, row)
) STRICT;
CREATE INDEX q_values_by_agent ON q_values (agent);
CREATE TABLE entries (
    source    INTEGER NOT NULL REFERENCES legacy_tables,
    row       INTEGER NOT NULL,
    partition TEXT NOT NULL,
    key       TEXT NOT NULL,
    value     TEXT NOT NULL,                         -- JSON
    owner     TEXT,
    access    TEXT,
    team      TEXT,
    swarm     TEXT,
    created_s REAL,
    expires_s REAL,
    extra     TEXT NOT NULL,
    PRIMARY KEY (source, row)
) STRICT;
CREATE INDEX entries_by_key ON entries (partition, key);
CREATE TABLE metrics (
    source INTEGER NOT NULL REFERENCES legacy_tables,
    row    INTEGER NOT NULL,
    series TEXT NOT NULL,
    name   TEXT NOT NULL,
    value  REAL NOT NULL,
    at_s   REAL NOT NULL,
    labels TEXT NOT NULL,
    PRIMARY KEY (source, row)
) STRICT;
CREATE INDEX metrics_by_name ON metrics (series, name, at_s);

-- Embeddings as the ancestor made them. They stand apart from vector_blocks, where the next embedder replaces vectors.
CREATE TABLE legacy_embeddings (
    source INTEGER NOT NULL REFERENCES legacy_tables,
    row    INTEGER NOT NULL,
    kind   TEXT NOT NULL CHECK (kind IN ('pattern', 'experience')),
    id     TEXT NOT NULL,
    data   BLOB NOT NULL,                            -- float32, little-endian
    PRIMARY KEY (source, row)
) STRICT;
CREATE TABLE archive (
    source INTEGER NOT NULL REFERENCES legacy_tables,
    row    INTEGER NOT NULL,
    data   TEXT NOT NULL,                            -- JSON object
    PRIMARY KEY (source, row)
) STRICT;
"""
_TEXT_AND_POINTS = """
-- Full-text index without a copy of the texts; identifiers are parted before (see text_index.py). rowid: patterns.key.
CREATE VIRTUAL TABLE pattern_words USING fts5(
    name, text, content = '', contentless_delete = 1, tokenize = "unicode61 remove_diacritics 2"
);

CREATE TABLE series (
    id     INTEGER PRIMARY KEY,
    name   TEXT NOT NULL UNIQUE,
    labels TEXT NOT NULL,                            -- JSON object of strings
    crc32  INTEGER NOT NULL                          -- of name and labels
) STRICT;
-- 1,024 points to a block, and fewer in the newest ones, which are folded together as they fill up (see points.py).
CREATE TABLE point_blocks (
    series     INTEGER NOT NULL REFERENCES series ON DELETE CASCADE,
    number     INTEGER NOT NULL,                     -- in the order of arrival
    count      INTEGER NOT NULL CHECK (count BETWEEN 1 AND 1024),
    first_s    REAL NOT NULL,                        -- earliest and latest time
    last_s     REAL NOT NULL,
    minimum    REAL NOT NULL,                        -- of the values
    maximum    REAL NOT NULL,
    sum        REAL,                                 -- NULL where it overflows
    first      REAL NOT NULL,                        -- value at the earliest time
    last       REAL NOT NULL,                        -- value at the latest time
    codec      INTEGER NOT NULL,                     -- 0 raw, 1 zlib, 2 zstd
    data_crc32 INTEGER NOT NULL,
    crc32      INTEGER NOT NULL,                     -- of everything else, data_crc32 included
    data       BLOB NOT NULL,
    PRIMARY KEY (series, number)
) STRICT;
CREATE INDEX point_blocks_by_time ON point_blocks (series, last_s, first_s);
CREATE INDEX point_blocks_open ON point_blocks (series, number) WHERE count < 1024;
"""

TAKEN_OVER = ("experiences", "q_values", "entries", "metrics", "legacy_embeddings", "archive")
"""The tables of rows that were taken over from agentic-qe; the last column of each is their checksum."""

_LEGACY_CHECKSUMS = "".join(f"ALTER TABLE {table} ADD COLUMN crc32 INTEGER;\n" for table in TAKEN_OVER)

_RANGES = """
-- An entry stands for that many consecutive keys, from ``key`` on, and for as many numbers, up to ``seq``. From here on
-- patterns.content_hash is empty where a row is written: contents are compared, and crc32 tells damage.
ALTER TABLE journal ADD COLUMN count INTEGER NOT NULL DEFAULT 1 CHECK (count > 0);
"""

MIGRATIONS: tuple[str, ...] = (_FIRST, _LEGACY, _TEXT_AND_POINTS, _CHECKSUMS, _LEGACY_CHECKSUMS, _RANGES)
"""SQL that brings a file from version ``i`` to ``i + 1``."""

CHECKSUMS_SINCE = MIGRATIONS.index(_CHECKSUMS) + 1
"""The first version whose rows carry checksums."""

LEGACY_CHECKSUMS_SINCE = MIGRATIONS.index(_LEGACY_CHECKSUMS) + 1
"""The first version whose taken-over rows carry checksums."""

RANGES_SINCE = MIGRATIONS.index(_RANGES) + 1
"""The first version whose journal entries stand for several keys."""

POINTS_SINCE = MIGRATIONS.index(_TEXT_AND_POINTS) + 1
"""The first version with time series and a text index."""


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
        if version < 1:
            raise CorruptStorageError(
                f"{path} has schema version {version}, which no aqe has written.", fix="run `aqe repair`."
            )
        return int(version)
    if application or version or tables:
        raise StorageError(
            f"{path} is an SQLite database of another program (application id {application:#x}).",
            fix="choose another path; aqe does not touch it.",
        )
    return 0


def migrate(connection: apsw.Connection, path: Path) -> None:
    """Bring a file to the newest version, one transaction per migration, after a verified backup of it.

    The caller holds the write lock, so that the version read here is still true when it is changed.
    """
    found = version_of(connection, path)
    if 0 < found < len(MIGRATIONS):
        from aqe_storage_sqlite import backup  # which needs this module

        backup.before_migration(connection, path, found)
    for number in range(found, len(MIGRATIONS)):
        apply(connection, number)


def apply(connection: apsw.Connection, number: int) -> None:
    """Run migration ``number``, counted from 0, in one transaction."""
    with transaction(connection):
        connection.execute(MIGRATIONS[number]).fetchall()
        if MIGRATIONS[number] is _TEXT_AND_POINTS:
            text_index.rebuild(connection)  # of the patterns that are there
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {number + 1}")


def require_known(connection: apsw.Connection, path: Path) -> int:
    """Return the version of a file of ours, old or new; raise for an empty one and those of others."""
    version = version_of(connection, path)
    if version == 0:
        raise NoWorkspaceError(f"{path} is empty.", fix="run 'aqe init' there, or open it for writing.")
    return version


def require_current(connection: apsw.Connection, path: Path) -> None:
    """Raise unless a file that we may not change can be read as it is."""
    version = require_known(connection, path)
    if version < len(MIGRATIONS):
        raise StorageError(
            f"{path} has schema version {version}, and reading needs {len(MIGRATIONS)}.",
            fix="open it once for writing, which migrates it.",
        )
