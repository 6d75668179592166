"""How fast the storage is in a folder, beside SQLite without it on the same disk at the same time."""

from __future__ import annotations

import functools
import shutil
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apsw
import attrs
import numpy as np

from aqe_core.contracts.records import Pattern
from aqe_storage_sqlite import connection as sqlite
from aqe_storage_sqlite import peer
from aqe_storage_sqlite.storage import SqliteStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["CALLERS", "benchmark"]

CALLERS = (1, 8, 32, 128)
DIM = 384

_TEXT = "def test_retry(client):\n    assert client.get('/').status == 200\n" * 4


@attrs.frozen
class _Measure:
    """One round of a measure: a number for us, and one for each peer by its name."""

    name: str
    unit: str
    ours: Callable[[], float]
    peers: dict[str, Callable[[], float]]
    less_is_better: bool = False


def benchmark(
    folder: Path, *, rounds: int = 3, seconds: float = 1.0, rows: int = 5_000, progress: Any = None
) -> dict[str, Any]:
    """Measure in a temporary folder, which is removed afterwards.

    The rounds of ours and of the peers take turns, since the speed of a disk changes with time.

    Parameters
    ----------
    folder : Path
        On the disk that is to be measured.
    rounds : int
        The median of these is reported.
    seconds : float
        Length of a round where writes are counted.
    rows : int
        Patterns, vectors and thousandths of points for the rest.
    progress : callable, optional
        Called with ``(stage, done, total)``.

    Returns
    -------
    dict
        ``sqlite_version``, ``rounds``, ``syncs_per_write``, ``node`` (what was found of the optional peer), and
        ``measures``: name, unit, value, lowest, highest, latency of single writes, and for each peer name, value and
        ``ratio`` (above 1: we are faster).
    """
    work = Path(tempfile.mkdtemp(prefix="aqe-bench-", dir=folder))
    try:
        bench = _Bench(work, seconds, rows)
        measures = list(bench.measures())
        found: dict[str, dict[str, list[float]]] = {each.name: {} for each in measures}
        for number in range(rounds):
            for position, measure in enumerate(measures):
                if progress is not None:
                    progress("measuring", number * len(measures) + position, rounds * len(measures))
                for who, run in {"": measure.ours, **measure.peers}.items():
                    found[measure.name].setdefault(who, []).append(run())
        return {
            "sqlite_version": apsw.sqlite_lib_version(),
            "rounds": rounds,
            "node": peer.describe(),
            "syncs_per_write": _syncs_per_write(work),
            "measures": [_summary(each, found[each.name], bench.latencies_s.get(each.name)) for each in measures],
        }
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _summary(measure: _Measure, found: dict[str, list[float]], latencies_s: list[float] | None) -> dict[str, Any]:
    ours = found.pop("")
    value = statistics.median(ours)
    peers = []
    for name, values in found.items():
        theirs = statistics.median(values)
        ratio = theirs / value if measure.less_is_better else value / theirs
        peers.append({"name": name, "value": theirs, "ratio": ratio})
    quantiles = [None, None] if not latencies_s else (np.quantile(latencies_s, [0.5, 0.99]) * 1e3).tolist()
    return {
        "name": measure.name,
        "unit": measure.unit,
        "value": value,
        "lowest": min(ours),
        "highest": max(ours),
        "p50_ms": quantiles[0],
        "p99_ms": quantiles[1],
        "peers": peers,
    }


class _Bench:
    """The measures; each call of one makes a file of its own."""

    def __init__(self, folder: Path, seconds: float, rows: int) -> None:
        self.folder = folder
        self.seconds = seconds
        self.rows = rows
        self.latencies_s: dict[str, list[float]] = {}
        generator = np.random.default_rng(1)
        self.vectors = generator.standard_normal((rows, DIM), dtype=np.float32)
        self.times_s = np.arange(rows * 10, dtype=np.float64)
        self.values = generator.standard_normal(rows * 10).round(2)
        self.patterns = [Pattern(id=f"p{i}", name=f"test_{i}", text=f"{_TEXT}{i}") for i in range(rows)]
        self.path = self._new()
        with SqliteStorage(self.path) as storage:
            keys = storage.put_patterns("default", self.patterns).keys
            storage.put_vectors("default", keys, self.vectors, "bench")
            storage.append_points("series", self.times_s, self.values)
        self.direct = self._new()
        peer.fill(self.direct, self.patterns, self.vectors)
        np.save(folder / "vectors.npy", self.vectors)

    def _new(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self.folder)) / "aqe.db"

    def measures(self) -> Iterator[_Measure]:
        """Yield all; names are stable."""
        one_by_one: dict[str, Callable[[], float]] = {}
        for name, mode in peer.MODES.items():
            one_by_one[f"SQLite, {name}"] = functools.partial(self._beside, peer.write, mode)
            if peer.available():
                one_by_one[f"better-sqlite3, {name}"] = functools.partial(self._beside, peer.write_by_node, mode)
        for callers in CALLERS:
            name = f"durable_writes_{callers}"
            yield _Measure(name, "/s", functools.partial(self._write, name, callers), one_by_one)
        direct = "SQLite"
        bulk = {direct: lambda: self.rows / peer.fill(self._new(), self.patterns, self.vectors)}
        yield _Measure("put_patterns_with_vectors", "/s", self._put, bulk)
        lookup = {direct: lambda: peer.look_up(self.direct, self.rows)}
        yield _Measure("find_pattern_by_id", "/s", self._find, lookup)
        load = {"numpy.load": lambda: _timed(lambda: np.load(self.folder / "vectors.npy")) * 1e3}
        yield _Measure("load_vectors", "ms", self._load, load, less_is_better=True)
        rows_of_points = {direct: lambda: peer.put_points(self._new(), self.times_s, self.values)}
        yield _Measure("append_points", "/s", self._append, rows_of_points)
        yield _Measure("read_points", "/s", self._read_points, {})
        yield _Measure("open_to_first_answer", "ms", self._open, {}, less_is_better=True)
        yield _Measure("backup", "MB/s", self._back_up, {})

    def _beside(self, write: Callable[[Path, str, float], float], mode: str) -> float:
        return write(self._new(), mode, self.seconds)

    def _write(self, name: str, callers: int) -> float:
        latencies: list[list[float]] = [[] for _ in range(callers)]
        with SqliteStorage(self._new(), timeout_s=60) as storage:
            start, stop = threading.Event(), threading.Event()

            def work(number: int) -> None:
                start.wait()
                for i in range(1 << 30):
                    if stop.is_set():
                        return
                    pattern = Pattern(id=f"{number} {i}", name="test_retry", text=_TEXT)
                    latencies[number].append(_timed(functools.partial(storage.put_patterns, "default", [pattern])))

            threads = [threading.Thread(target=work, args=(number,)) for number in range(callers)]
            for thread in threads:
                thread.start()
            began_s = time.perf_counter()
            start.set()
            time.sleep(self.seconds)
            stop.set()
            for thread in threads:
                thread.join()
            elapsed_s = time.perf_counter() - began_s
        done = [latency for each in latencies for latency in each]
        self.latencies_s.setdefault(name, []).extend(done)
        return len(done) / elapsed_s

    def _put(self) -> float:
        with SqliteStorage(self._new()) as storage:

            def put() -> None:
                keys = storage.put_patterns("default", self.patterns).keys
                storage.put_vectors("default", keys, self.vectors, "bench")

            return self.rows / _timed(put)

    def _find(self) -> float:
        with SqliteStorage(self.path, read_only=True) as storage:
            ids = [[pattern.id] for pattern in self.patterns]
            return self.rows / _timed(lambda: [storage.find_patterns("default", id_) for id_ in ids])

    def _load(self) -> float:
        with SqliteStorage(self.path, read_only=True) as storage:
            storage.count_patterns("default")  # opened
            return _timed(lambda: storage.load_vectors("default", "bench")) * 1e3

    def _append(self) -> float:
        with SqliteStorage(self._new()) as storage:
            return self.times_s.size / _timed(lambda: storage.append_points("series", self.times_s, self.values))

    def _read_points(self) -> float:
        with SqliteStorage(self.path, read_only=True) as storage:
            storage.count_patterns("default")
            return self.times_s.size / _timed(lambda: storage.points("series"))

    def _open(self) -> float:
        def answer() -> None:
            with SqliteStorage(self.path) as storage:
                storage.find_patterns("default", ["p0"])

        return _timed(answer) * 1e3

    def _back_up(self) -> float:
        target = self._new()
        elapsed_s = _timed(lambda: SqliteStorage.maintenance(self.path).backup(target))
        return target.stat().st_size / 1e6 / elapsed_s


def _timed(work: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    work()
    return time.perf_counter() - began_s


def _syncs_per_write(folder: Path, writes: int = 300) -> float:
    """Count the syncs that a lone caller's writes cost, checkpoints included."""
    counter = _SyncCounter()
    before, sqlite.VFS = sqlite.VFS, counter.name
    try:
        with SqliteStorage(Path(tempfile.mkdtemp(dir=folder)) / "aqe.db") as storage:
            storage.put_patterns("default", [Pattern(id="first", name="n", text="")])
            opened = counter.syncs
            for i in range(writes):
                storage.put_patterns("default", [Pattern(id=str(i), name="test_retry", text=_TEXT)])
            return (counter.syncs - opened) / writes
    finally:
        sqlite.VFS = before
        counter.unregister()


class _SyncCounter(apsw.VFS):
    """The operating system's files, with their syncs counted."""

    name = "aqe-bench"

    def __init__(self) -> None:
        super().__init__(self.name, "")
        self.syncs = 0

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802  # SQLite's
        """Open a file that counts here."""
        return _CountedFile(self, name, flags)


class _CountedFile(apsw.VFSFile):
    def __init__(self, counter: _SyncCounter, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        self._counter = counter
        super().__init__("", name, flags)

    def xSync(self, flags: int) -> None:  # noqa: N802  # SQLite's
        self._counter.syncs += 1
        super().xSync(flags)

    def xLock(self, level: int) -> None:  # noqa: N802  # SQLite's
        try:
            super().xLock(level)
        except apsw.IOError:  # who reads only cannot lock to write; SQLite passes over that, apsw over "busy" only
            raise apsw.BusyError from None
