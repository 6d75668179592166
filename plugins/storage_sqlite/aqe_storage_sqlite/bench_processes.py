"""Measures that need other processes: fairness, reading and backups beside a writer, opening after a kill."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import apsw
import numpy as np

from aqe_storage_sqlite.storage import SqliteStorage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    Worker = subprocess.Popen[str]

__all__ = ["WRITERS", "backup_beside_writer", "copied", "fairness", "reads_p99_us", "recovery_ms"]

WRITERS = 4


def _started(task: str, path: Path, given: float = 0.0) -> Worker:
    """Return a process that has opened the file and waits to begin."""
    worker = subprocess.Popen(  # noqa: S603  # ours
        [sys.executable, "-m", "aqe_storage_sqlite.bench_worker", task, str(path), str(given)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert worker.stdout is not None
    if worker.stdout.readline() != "ready\n":
        worker.communicate()
        raise RuntimeError(f"the process for the measure {task!r} ended with {worker.returncode}")
    return worker


def _go(worker: Worker) -> None:
    assert worker.stdin is not None
    worker.stdin.write("\n")
    worker.stdin.flush()


def _answer(worker: Worker) -> Any:
    """Return what a process printed, once it has ended; it gets a line to end by."""
    told, _ = worker.communicate("\n")
    return json.loads(told)


def fairness(path: Path, seconds: float, *, directly: bool = False) -> tuple[float, list[float]]:
    """Let four processes write, one durable write after the other.

    Parameters
    ----------
    path : Path
        A database that nobody has open: of aqe, or with ``directly`` one of `peer`.
    seconds : float
    directly : bool
        With SQLite alone, which waits with its busy handler.

    Returns
    -------
    share : float
        Writes of the process that got fewest, by those of the one that got most.
    taken_s : list of float
        What each write took, of all processes.
    """
    workers = [_started("write_directly" if directly else "write", path, seconds) for _ in range(WRITERS)]
    for worker in workers:
        _go(worker)
    taken_s: list[list[float]] = [_answer(worker) for worker in workers]
    counts = [len(each) for each in taken_s]
    return min(counts) / max(counts), [one for each in taken_s for one in each]


@contextmanager
def _writing(path: Path, found: dict[str, float]) -> Iterator[None]:
    """Let another process write as fast as it can while the block runs; ``found`` gets the most of what it says."""
    worker = _started("bulk", path)
    try:
        _go(worker)
        yield
    finally:
        for name, value in _answer(worker).items():
            found[name] = max(value, found.get(name, 0.0))


def reads_p99_us(path: Path, ids: Sequence[str], seconds: float, beside: dict[str, float] | None = None) -> float:
    """Return the 99th percentile of looking patterns up by id, in microseconds.

    With ``beside`` another process writes meanwhile, and it gets ``longest_s``, ``log_bytes`` and ``rows``.
    """
    with SqliteStorage(path, read_only=True) as storage:
        storage.find_patterns("default", ids[:1])  # opened
        if beside is None:
            return _p99_us(storage, ids, seconds)
        with _writing(path, beside):
            return _p99_us(storage, ids, seconds)


def _p99_us(storage: SqliteStorage, ids: Sequence[str], seconds: float) -> float:
    taken_s: list[float] = []
    end_s = time.perf_counter() + seconds
    while not taken_s or time.perf_counter() < end_s:
        for id_ in ids:
            began_s = time.perf_counter()
            storage.find_patterns("default", [id_])
            taken_s.append(time.perf_counter() - began_s)
    return float(np.quantile(taken_s, 0.99) * 1e6)


def backup_beside_writer(path: Path, target: Path, found: dict[str, float]) -> float:
    """Return the speed of a verified backup in MB/s, while another process writes; ``found`` as in `reads_p99_us`."""
    with _writing(path, found):
        began_s = time.perf_counter()
        SqliteStorage.maintenance(path).backup(target)
        elapsed_s = time.perf_counter() - began_s
    return target.stat().st_size / 1e6 / elapsed_s


def recovery_ms(path: Path, id_: str, log_bytes: float, *, directly: bool = False) -> float:
    """Return how long opening takes, up to the first answer, after a process was killed that left a long log.

    Parameters
    ----------
    path : Path
        A database of aqe that nobody has open.
    id_ : str
        Of the pattern that is asked for.
    log_bytes : float
        How long the log is made.
    directly : bool
        With SQLite alone.
    """
    worker = _started("leave_log", path, log_bytes)
    _go(worker)
    _answer(worker)
    began_s = time.perf_counter()
    if directly:
        connection = apsw.Connection(str(path))
        connection.execute("SELECT text FROM patterns WHERE id = ?", (id_,)).fetchall()
        elapsed_s = time.perf_counter() - began_s
        connection.close()
        return elapsed_s * 1e3
    with SqliteStorage(path) as storage:
        storage.find_patterns("default", [id_])
        return (time.perf_counter() - began_s) * 1e3


def copied(source: Path, folder: Path) -> Path:
    """Return a copy of a database that nobody has open, in a folder of its own."""
    target = folder / source.name
    shutil.copyfile(source, target)
    return target
