"""What `bench` compares with: SQLite used directly, from Python and, where it is found, by better-sqlite3 on Node."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

import apsw

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from aqe_core.contracts.records import Pattern

__all__ = ["MODES", "available", "describe", "fill", "look_up", "put_points", "write", "write_by_node"]

MODES = {"rollback journal": "DELETE", "log": "WAL"}
"""Journal modes, both with ``synchronous = FULL``: one write after the other, each durable."""

_TABLE = "CREATE TABLE t (id TEXT PRIMARY KEY, name TEXT, text TEXT, vector BLOB)"
_INSERT = "INSERT INTO t VALUES (?, ?, ?, ?)"

_SCRIPT = """
const [path, mode, seconds, table, insert] = process.argv.slice(1);
const db = new (require("better-sqlite3"))(path);
db.pragma("journal_mode = " + mode); db.pragma("synchronous = FULL"); db.exec(table);
const statement = db.prepare(insert), start = process.hrtime.bigint(), end = start + BigInt(Math.round(seconds * 1e9));
let n = 0;
while (process.hrtime.bigint() < end) { statement.run("i" + n, "test_retry", "t".repeat(270), null); n++; }
console.log(JSON.stringify(n / (Number(process.hrtime.bigint() - start) / 1e9)));
"""


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


@functools.cache
def available() -> bool:
    """Say whether Node finds better-sqlite3 from the current folder."""
    node = shutil.which("node")
    if node is None:
        return False
    asked = subprocess.run([node, "-e", "require('better-sqlite3')"], capture_output=True, check=False)  # noqa: S603  # ours
    return asked.returncode == 0


def describe() -> str:
    """Return what was found of it."""
    if available():
        return "better-sqlite3"
    return "better-sqlite3 was not found" if shutil.which("node") else "node was not found"


def write_by_node(path: Path, mode: str, seconds: float) -> float:  # pragma: no cover  # where it is installed
    """Return single durable inserts per second of better-sqlite3."""
    node = shutil.which("node")
    assert node is not None
    command = [node, "-e", _SCRIPT, str(path), mode, str(seconds), _TABLE, _INSERT]
    return float(json.loads(subprocess.run(command, capture_output=True, check=True).stdout))  # noqa: S603  # ours
