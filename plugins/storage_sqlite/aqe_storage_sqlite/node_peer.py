"""better-sqlite3 on Node, where it is found: what an aqe written in JavaScript would be built on."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
from typing import TYPE_CHECKING

from aqe_storage_sqlite.bench_worker import TEXT

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["available", "describe", "run"]

# Data are made before the clock starts; what is printed are seconds, or for "write…" a number per second.
_SCRIPT = """
const [task, path, given] = process.argv.slice(1), {mode, seconds, rows, dim, text} = JSON.parse(given);
const db = new (require("better-sqlite3"))(path), now = process.hrtime.bigint;
const since = (start) => Number(now() - start) / 1e9;
const setUp = (table) => {
  db.pragma("journal_mode = " + mode); db.pragma("synchronous = FULL"); db.exec(table);
};
const PATTERNS = "CREATE TABLE t (id TEXT PRIMARY KEY, name TEXT, text TEXT, vector BLOB)";
const INDEXED = PATTERNS.replace("vector BLOB", "vector BLOB, crc32 INTEGER, vector_crc32 INTEGER") + `;
  CREATE VIRTUAL TABLE words USING fts5(name, text, content = '', contentless_delete = 1)`;
const POINTS = "CREATE TABLE points (time_s REAL PRIMARY KEY, value REAL) WITHOUT ROWID";
const RESULTS = `CREATE TABLE results (run INTEGER, position INTEGER, test TEXT, outcome INTEGER, duration_s REAL,
  message TEXT, PRIMARY KEY (run, position)) WITHOUT ROWID`;
const VALUES = `CREATE TABLE q_values (state TEXT, action TEXT, value REAL, PRIMARY KEY (state, action))
  WITHOUT ROWID`;
const UPSERT = `INSERT INTO q_values VALUES (?, ?, ?)
  ON CONFLICT DO UPDATE SET value = excluded.value`;
const written = (sql, ...row) => {
  const insert = db.prepare(sql), start = now();
  let n = 0;
  for (; since(start) < seconds; n++) insert.run("i" + n, ...row);
  return n / since(start);
};
const tasks = {
  write() {
    setUp(PATTERNS);
    return written("INSERT INTO t VALUES (?, ?, ?, ?)", "test_retry", text, null);
  },
  writeResults() {
    setUp("CREATE TABLE results (run TEXT PRIMARY KEY, test TEXT, outcome INTEGER, duration_s REAL)");
    return written("INSERT INTO results VALUES (?, ?, ?, ?)", "tests/test_retry", 0, 0);
  },
  fill() {
    setUp(PATTERNS);
    const all = new Float32Array(rows * dim).map((_, i) => Math.sin(i)), bytes = Buffer.from(all.buffer);
    const insert = db.prepare("INSERT INTO t VALUES (?, ?, ?, ?)"), size = 4 * dim, start = now();
    db.transaction(() => {
      for (let i = 0; i < rows; i++)
        insert.run("p" + i, "test_" + i, text + i, bytes.subarray(i * size, i * size + size));
    })();
    return since(start);
  },
  fillIndexed() {
    setUp(INDEXED);
    const {crc32} = require("zlib");
    const all = new Float32Array(rows * dim).map((_, i) => Math.sin(i)), bytes = Buffer.from(all.buffer);
    const insert = db.prepare("INSERT INTO t VALUES (?, ?, ?, ?, ?, ?)"), size = 4 * dim;
    const index = db.prepare("INSERT INTO words (rowid, name, text) VALUES (?, ?, ?)"), start = now();
    db.transaction(() => {
      for (let i = 0; i < rows; i++) {
        const id = "p" + i, name = "test_" + i, own = text + i, vector = bytes.subarray(i * size, i * size + size);
        insert.run(id, name, own, vector, crc32(id + "\\0" + name + "\\0" + own), crc32(vector));
        index.run(i + 1, name, own);
      }
    })();
    return since(start);
  },
  lookUp() {
    const find = db.prepare("SELECT id, name, text, vector FROM t WHERE id = ?"), start = now();
    for (let i = 0; i < rows; i++) find.get("p" + i);
    return since(start);
  },
  putResults() {
    setUp(RESULTS);
    const insert = db.prepare("INSERT INTO results VALUES (1, ?, ?, 0, ?, '')"), start = now();
    db.transaction(() => { for (let i = 0; i < rows; i++) insert.run(i, "tests/test_" + i % 1000, i / 1000); })();
    return since(start);
  },
  putValues() {
    setUp(VALUES);
    const upsert = db.prepare(UPSERT);
    const all = () => { for (let i = 0; i < rows; i++) upsert.run("state " + (i >> 2), "action " + i % 4, i / 7); };
    db.transaction(all)();
    const start = now();
    db.transaction(all)();
    return since(start);
  },
  putPoints() {
    setUp(POINTS);
    const values = Array.from({length: rows}, (_, i) => Math.round(Math.sin(i) * 100) / 100);
    const insert = db.prepare("INSERT INTO points VALUES (?, ?)"), start = now();
    db.transaction(() => { for (let i = 0; i < rows; i++) insert.run(i, values[i]); })();
    return since(start);
  },
  readPoints() {
    const select = db.prepare("SELECT time_s, value FROM points ORDER BY time_s").raw(), start = now();
    const times = new Float64Array(rows), values = new Float64Array(rows);
    let n = 0;
    for (const [time, value] of select.iterate()) { times[n] = time; values[n++] = value; }
    return since(start);
  },
};
console.log(JSON.stringify(tasks[task]()));
"""


@functools.cache
def available() -> bool:
    """Say whether Node finds better-sqlite3 from the current folder, or by NODE_PATH."""
    node = shutil.which("node")
    if node is None:
        return False
    command = [node, "-e", "new (require('better-sqlite3'))(':memory:')"]
    asked = subprocess.run(command, capture_output=True, check=False)  # noqa: S603  # ours
    return asked.returncode == 0


def describe() -> str:
    """Return what was found of it."""
    if available():
        return "better-sqlite3"
    return "better-sqlite3 was not found" if shutil.which("node") else "node was not found"


def run(  # pragma: no cover  # where it is installed
    task: str, path: Path, *, rows: int = 0, dim: int = 0, mode: str = "WAL", seconds: float = 0.0
) -> float:
    """Return what a task took in seconds; of ``write…`` how many single durable inserts were done per second.

    Parameters
    ----------
    task : str
        ``write``, ``writeResults`` (each a run of its own), ``fill`` (patterns with vectors in one transaction),
        ``fillIndexed`` (with an index of words and checksums too, as aqe stores them), ``lookUp`` (by id, in what
        ``fill`` made), ``putResults`` (of tests), ``putValues`` (of states and actions, for the second time),
        ``putPoints`` (a row each, one transaction), ``readPoints`` (into two arrays).
    path : Path
        Of the database.
    rows, dim : int
        How many rows, and how long their vectors.
    mode : str
        Journal mode; synchronous is FULL.
    seconds : float
        How long ``write…`` goes on.
    """
    node = shutil.which("node")
    assert node is not None
    given = json.dumps({"mode": mode, "seconds": seconds, "rows": rows, "dim": dim, "text": TEXT})
    command = [node, "-e", _SCRIPT, task, str(path), given]
    return float(json.loads(subprocess.run(command, capture_output=True, check=True).stdout))  # noqa: S603  # ours
