"""What `bench` compares with: SQLite used directly, with what a program needs to keep the same things."""

from __future__ import annotations

import time
import zlib
from typing import TYPE_CHECKING, Any

import apsw
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from aqe_core.contracts.records import Pattern, TestResult

__all__ = [
    "MODES",
    "create",
    "fill",
    "fill_indexed",
    "look_up",
    "put_points",
    "put_results",
    "put_values",
    "read_points",
    "write",
    "write_results",
]

MODES = {"rollback journal": "DELETE", "log": "WAL"}
"""Journal modes, both with ``synchronous = FULL``: one write after the other, each durable."""

_TABLE = "CREATE TABLE t (id TEXT PRIMARY KEY, name TEXT, text TEXT, vector BLOB)"
_INSERT = "INSERT INTO t VALUES (?, ?, ?, ?)"
_POINT = [("time_s", np.float64), ("value", np.float64)]


def _opened(path: Path, mode: str = "WAL") -> apsw.Connection:
    connection = apsw.Connection(str(path))
    connection.execute(f"PRAGMA journal_mode = {mode}; PRAGMA synchronous = FULL; {_TABLE}").fetchall()
    return connection


def create(path: Path) -> Path:
    """Make a database without rows; return its path."""
    _opened(path).close()
    return path


def write(path: Path, mode: str, seconds: float) -> float:
    """Return single durable inserts of patterns per second."""
    return _written(_opened(path, mode), _INSERT, ("test_retry", "t" * 270, None), seconds)


def write_results(path: Path, mode: str, seconds: float) -> float:
    """Return single durable inserts of results, each a run of its own, per second."""
    connection = _opened(path, mode)
    connection.execute("CREATE TABLE results (run TEXT PRIMARY KEY, test TEXT, outcome INTEGER, duration_s REAL)")
    return _written(connection, "INSERT INTO results VALUES (?, ?, ?, ?)", ("tests/test_retry", 0, 0.0), seconds)


def _written(connection: apsw.Connection, sql: str, row: tuple[Any, ...], seconds: float) -> float:
    count, began_s = 0, time.perf_counter()
    while (elapsed_s := time.perf_counter() - began_s) < seconds:
        connection.execute(sql, (f"i{count}", *row))
        count += 1
    connection.close()
    return count / elapsed_s


def fill(path: Path, patterns: Sequence[Pattern], vectors: NDArray[np.float32]) -> float:
    """Insert everything in one transaction; return the seconds that took."""
    connection = _opened(path)
    began_s = time.perf_counter()
    with connection:
        connection.executemany(
            _INSERT,
            ((each.id, each.name, each.text, row.tobytes()) for each, row in zip(patterns, vectors, strict=True)),
        )
    elapsed_s = time.perf_counter() - began_s
    connection.close()
    return elapsed_s


def fill_indexed(path: Path, patterns: Sequence[Pattern], vectors: NDArray[np.float32]) -> float:
    """Do what `fill` does, with an index of words and checksums, as aqe stores them; return the seconds that took."""
    connection = _opened(path)
    connection.execute(
        "ALTER TABLE t ADD COLUMN crc32 INTEGER; ALTER TABLE t ADD COLUMN vector_crc32 INTEGER;"
        "CREATE VIRTUAL TABLE words USING fts5(name, text, content = '', contentless_delete = 1)"
    ).fetchall()
    began_s = time.perf_counter()
    with connection:
        connection.executemany(
            "INSERT INTO t VALUES (?, ?, ?, ?, ?, ?)",
            (
                (
                    *(each.id, each.name, each.text, row.tobytes()),
                    zlib.crc32(f"{each.id}\0{each.name}\0{each.text}".encode()),
                    zlib.crc32(row),
                )
                for each, row in zip(patterns, vectors, strict=True)
            ),
        )
        connection.executemany(
            "INSERT INTO words (rowid, name, text) VALUES (?, ?, ?)",
            ((key, each.name, each.text) for key, each in enumerate(patterns, 1)),
        )
    elapsed_s = time.perf_counter() - began_s
    connection.close()
    return elapsed_s


def look_up(path: Path, rows: int) -> float:
    """Return lookups by key per second, each of all columns."""
    connection = apsw.Connection(str(path))
    began_s = time.perf_counter()
    for i in range(rows):
        connection.execute("SELECT id, name, text, vector FROM t WHERE id = ?", (f"p{i}",)).fetchall()
    elapsed_s = time.perf_counter() - began_s
    connection.close()
    return rows / elapsed_s


def put_results(path: Path, results: Sequence[TestResult]) -> float:
    """Insert results of tests in one transaction; return their number per second."""
    connection = _opened(path)
    connection.execute(
        "CREATE TABLE results (run INTEGER, position INTEGER, test TEXT, outcome INTEGER, duration_s REAL, "
        "message TEXT, PRIMARY KEY (run, position)) WITHOUT ROWID"
    )
    began_s = time.perf_counter()
    with connection:
        connection.executemany(
            "INSERT INTO results VALUES (1, ?, ?, 0, ?, ?)",
            ((place, each.test, each.duration_s, each.message) for place, each in enumerate(results)),
        )
    elapsed_s = time.perf_counter() - began_s
    connection.close()
    return len(results) / elapsed_s


def put_values(path: Path, values: NDArray[np.float64]) -> float:
    """Write values of states (rows) and actions (columns), a row each, that are there; return how many per second."""
    connection = _opened(path)
    connection.execute(
        "CREATE TABLE q_values (state TEXT, action TEXT, value REAL, PRIMARY KEY (state, action)) WITHOUT ROWID"
    )
    elapsed_s = 0.0
    rows = [
        (f"state {state}", f"action {action}", value)
        for state, row in enumerate(values.tolist())
        for action, value in enumerate(row)
    ]
    for _ in range(2):
        began_s = time.perf_counter()
        with connection:
            connection.executemany(
                "INSERT INTO q_values VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", rows
            )
        elapsed_s = time.perf_counter() - began_s
    connection.close()
    return len(rows) / elapsed_s


def put_points(path: Path, times_s: NDArray[np.float64], values: NDArray[np.float64]) -> float:
    """Insert points, a row each, in one transaction; return their number per second."""
    connection = _opened(path)
    connection.execute("CREATE TABLE points (time_s REAL PRIMARY KEY, value REAL) WITHOUT ROWID")
    began_s = time.perf_counter()
    with connection:
        connection.executemany("INSERT INTO points VALUES (?, ?)", zip(times_s.tolist(), values.tolist(), strict=True))
    elapsed_s = time.perf_counter() - began_s
    connection.close()
    return times_s.size / elapsed_s


def read_points(path: Path, count: int) -> float:
    """Return points read per second, a row each, into an array of pairs."""
    connection = apsw.Connection(str(path))
    began_s = time.perf_counter()
    np.fromiter(connection.execute("SELECT time_s, value FROM points ORDER BY time_s"), _POINT, count)
    elapsed_s = time.perf_counter() - began_s
    connection.close()
    return count / elapsed_s
