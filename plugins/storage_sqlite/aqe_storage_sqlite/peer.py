"""What `bench` compares with: SQLite used directly, with what a program needs to keep the same things."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import apsw
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from aqe_core.contracts.records import Pattern

__all__ = ["MODES", "fill", "look_up", "put_points", "read_points", "write"]

MODES = {"rollback journal": "DELETE", "log": "WAL"}
"""Journal modes, both with ``synchronous = FULL``: one write after the other, each durable."""

_TABLE = "CREATE TABLE t (id TEXT PRIMARY KEY, name TEXT, text TEXT, vector BLOB)"
_INSERT = "INSERT INTO t VALUES (?, ?, ?, ?)"
_POINT = [("time_s", np.float64), ("value", np.float64)]


def _opened(path: Path, mode: str = "WAL") -> apsw.Connection:
    connection = apsw.Connection(str(path))
    connection.execute(f"PRAGMA journal_mode = {mode}; PRAGMA synchronous = FULL; {_TABLE}").fetchall()
    return connection


def write(path: Path, mode: str, seconds: float) -> float:
    """Return single durable inserts per second."""
    connection = _opened(path, mode)
    count, began_s = 0, time.perf_counter()
    while (elapsed_s := time.perf_counter() - began_s) < seconds:
        connection.execute(_INSERT, (f"i{count}", "test_retry", "t" * 270, None))
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


def look_up(path: Path, rows: int) -> float:
    """Return lookups by key per second, each of all columns."""
    connection = apsw.Connection(str(path))
    began_s = time.perf_counter()
    for i in range(rows):
        connection.execute("SELECT id, name, text, vector FROM t WHERE id = ?", (f"p{i}",)).fetchall()
    elapsed_s = time.perf_counter() - began_s
    connection.close()
    return rows / elapsed_s


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
