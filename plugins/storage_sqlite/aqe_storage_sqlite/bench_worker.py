"""What another process does for a measure of `bench_processes`: ``python -m`` this, with a task, a path and seconds.

It says ``ready`` when it has opened the file, waits for a line, does its task, and prints what it found as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apsw

from aqe_core.contracts.records import Pattern
from aqe_storage_sqlite.storage import SqliteStorage

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["TEXT", "main"]

TEXT = "def test_retry(client):\n    assert client.get('/').status == 200\n" * 4
_TIMEOUT_S = 60.0
_BULK = 500


def main(arguments: list[str]) -> None:
    """Do one of the tasks: ``write``, ``write_directly``, ``bulk`` (until a second line comes), ``leave_log``."""
    task, path, given = arguments
    _TASKS[task](Path(path), float(given))


def _wait_for_start() -> None:
    print("ready", flush=True)  # noqa: T201  # to the process that measures
    sys.stdin.readline()


def _tell(found: Any) -> None:
    print(json.dumps(found), flush=True)  # noqa: T201  # same


def _write(path: Path, seconds: float) -> None:
    """Store one pattern after the other, each durable; print how long each took."""
    with SqliteStorage(path, timeout_s=_TIMEOUT_S) as storage:
        _wait_for_start()

        def put(number: int) -> None:
            storage.put_patterns("default", [Pattern(id=f"{os.getpid()} {number}", name="test_retry", text=TEXT)])

        _tell(_repeated(put, seconds))


def _write_directly(path: Path, seconds: float) -> None:
    """Do so with SQLite alone, which waits for others in its own way."""
    with closing(apsw.Connection(str(path))) as connection:
        connection.set_busy_timeout(int(_TIMEOUT_S * 1000))
        connection.execute("PRAGMA synchronous = FULL")
        _wait_for_start()

        def put(number: int) -> None:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO t VALUES (?, ?, ?, NULL)", (f"{os.getpid()} {number}", "test_retry", TEXT))
            connection.execute("COMMIT")

        _tell(_repeated(put, seconds))


def _repeated(put: Callable[[int], None], seconds: float) -> list[float]:
    """Call it for so long, once at least; return what each call took in seconds."""
    taken_s: list[float] = []
    end_s = time.perf_counter() + seconds
    while not taken_s or time.perf_counter() < end_s:
        began_s = time.perf_counter()
        put(len(taken_s))
        taken_s.append(time.perf_counter() - began_s)
    return taken_s


def _bulk(path: Path, _: float) -> None:
    """Store 500 patterns at a time, until a line comes; print the longest wait in seconds and the longest log."""
    stop = threading.Event()
    log, longest_bytes, longest_s, number = path.with_name(path.name + "-wal"), 0, 0.0, 0
    with SqliteStorage(path, timeout_s=_TIMEOUT_S) as storage:
        _wait_for_start()
        threading.Thread(target=_set_by_a_line, args=(stop,), daemon=True).start()
        while not stop.is_set():
            made = [Pattern(id=f"{number} {i}", name="test_retry", text=TEXT) for i in range(_BULK)]
            began_s = time.perf_counter()
            storage.put_patterns("bulk", made)
            longest_s = max(longest_s, time.perf_counter() - began_s)
            longest_bytes = max(longest_bytes, log.stat().st_size)
            number += 1
    _tell({"longest_s": longest_s, "log_bytes": longest_bytes, "rows": number * _BULK})


def _set_by_a_line(event: threading.Event) -> None:
    sys.stdin.readline()
    event.set()


def _leave_log(path: Path, size_bytes: float) -> None:
    """Write a log of that size, and end as a process ends that was killed."""
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA wal_autocheckpoint = 0; CREATE TABLE filler (data BLOB)").fetchall()
    log = path.with_name(path.name + "-wal")
    _wait_for_start()
    while not log.exists() or log.stat().st_size < size_bytes:
        connection.execute("INSERT INTO filler VALUES (randomblob(1000000))")
    _tell(log.stat().st_size)
    os._exit(1)  # without closing, which would fold the log in


_TASKS = {"write": _write, "write_directly": _write_directly, "bulk": _bulk, "leave_log": _leave_log}

if __name__ == "__main__":
    main(sys.argv[1:])
