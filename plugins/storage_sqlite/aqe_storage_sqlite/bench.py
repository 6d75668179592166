"""How fast the storage is in a folder, beside SQLite without it on the same disk at the same time."""

from __future__ import annotations

import functools
import shutil
import statistics
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apsw
import attrs
import numpy as np

from aqe_core.contracts.records import Pattern, Run, TestResult
from aqe_core.state import EngineState
from aqe_storage_sqlite import bench_processes as processes
from aqe_storage_sqlite import connection as sqlite
from aqe_storage_sqlite import files, node_peer, peer
from aqe_storage_sqlite.bench_syncs import syncs_per_write
from aqe_storage_sqlite.bench_worker import TEXT
from aqe_storage_sqlite.storage import SqliteStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["CALLERS", "benchmark"]

CALLERS = (1, 8, 32, 128)
DIM = 384

_WITH = ", with words and checksums"
_INDEXED = "SQLite" + _WITH

_POINTS = 50  # for each row asked for


@attrs.frozen
class _Measure:
    """One round of a measure: a number for us, and one for each peer by its name."""

    name: str
    unit: str
    ours: Callable[[], float]
    peers: Mapping[str, Callable[[], float]]
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
        Patterns, vectors, results and fiftieths of points for the rest.
    progress : callable, optional
        Called with ``(stage, done, total)``.

    Returns
    -------
    dict
        ``sqlite_version``, ``rounds``, ``syncs_per_write``, ``longest_log_bytes`` (beside a reader and a backup),
        ``longest_write_beside_backup_ms`` (of 500 patterns), ``node`` (what was found of the optional peer), and
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
            "node": node_peer.describe(),
            "syncs_per_write": syncs_per_write(work),
            "longest_log_bytes": int(max(bench.beside_reads["log_bytes"], bench.beside_backup["log_bytes"])),
            "longest_write_beside_backup_ms": bench.beside_backup["longest_s"] * 1e3,
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
        self.times_s = np.arange(rows * _POINTS, dtype=np.float64)
        self.values = (100 + generator.standard_normal(rows * _POINTS)).round(2)
        self.patterns = [Pattern(id=f"p{i}", name=f"test_{i}", text=f"{TEXT}{i}") for i in range(rows)]
        self.results = [
            TestResult(test=f"tests/test_{i % 1000}", outcome="passed", duration_s=i / 1000) for i in range(rows)
        ]
        self.q_values = generator.standard_normal((rows, 4))
        self.log_bytes = min(100e6, rows * 20e3)
        self.beside_reads: dict[str, float] = {}  # what a writer saw meanwhile
        self.beside_backup: dict[str, float] = {}
        self.path = self._new()
        with SqliteStorage(self.path) as storage:
            keys = storage.put_patterns("default", self.patterns).keys
            storage.put_vectors("default", keys, self.vectors, "bench")
            storage.append_points("series", self.times_s, self.values)
        self.direct = self._new()
        peer.fill(self.direct, self.patterns, self.vectors)
        self.direct_points = self._new()
        peer.put_points(self.direct_points, self.times_s, self.values)
        np.save(folder / "vectors.npy", self.vectors)

    def _new(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self.folder)) / "aqe.db"

    def measures(self) -> Iterator[_Measure]:
        """Yield all; names are stable."""
        yield from self._durable()
        yield from self._bulk()
        yield from self._reads()
        yield from self._beside_others()

    def _durable(self) -> Iterator[_Measure]:
        """Yield what callers at once make durable: patterns, with their words, and runs of one result each."""

        def put_pattern(storage: SqliteStorage, id_: str) -> None:
            storage.put_patterns("default", [Pattern(id=id_, name="test_retry", text=TEXT)])

        def put_result(storage: SqliteStorage, id_: str) -> None:
            storage.put_run(Run(id=id_, source="file"), [TestResult(test="tests/test_retry", outcome="passed")])

        for what, put, directly, by_node in (
            ("writes", put_pattern, peer.write, "write"),
            ("results", put_result, peer.write_results, "writeResults"),
        ):
            one_by_one: dict[str, Callable[[], float]] = {}
            for name, mode in peer.MODES.items():
                one_by_one[f"SQLite, {name}"] = functools.partial(self._directly, directly, mode)
                one_by_one |= self._node(", " + name, by_node, mode=mode, seconds=self.seconds)
            for callers in CALLERS:
                name = f"durable_{what}_{callers}"
                yield _Measure(name, "/s", functools.partial(self._write, name, callers, put), one_by_one)

    def _bulk(self) -> Iterator[_Measure]:
        count, n_values, n_points = len(self.results), self.q_values.size, self.times_s.size
        yield _Measure(
            "put_patterns_with_vectors",
            "/s",
            self._put,
            {"SQLite": lambda: self.rows / peer.fill(self._new(), self.patterns, self.vectors)}
            | self._node("", "fill", per=self.rows, rows=self.rows, dim=DIM)
            | {_INDEXED: lambda: self.rows / peer.fill_indexed(self._new(), self.patterns, self.vectors)}
            | self._node(_WITH, "fillIndexed", per=self.rows, rows=self.rows, dim=DIM),
        )
        yield _Measure(
            "put_results",
            "/s",
            self._put_results,
            {"SQLite": lambda: peer.put_results(self._new(), self.results)}
            | self._node("", "putResults", per=count, rows=count),
        )
        yield _Measure(
            "save_q_values",
            "/s",
            self._save_values,
            {"SQLite": lambda: peer.put_values(self._new(), self.q_values)}
            | self._node("", "putValues", per=n_values, rows=n_values),
        )
        yield _Measure(
            "append_points",
            "/s",
            self._append,
            {"SQLite": lambda: peer.put_points(self._new(), self.times_s, self.values)}
            | self._node("", "putPoints", per=n_points, rows=n_points),
        )

    def _reads(self) -> Iterator[_Measure]:
        n_points = self.times_s.size
        yield _Measure(
            "find_pattern_by_id",
            "/s",
            self._find,
            {"SQLite": lambda: peer.look_up(self.direct, self.rows)}
            | self._node("", "lookUp", at=self.direct, per=self.rows, rows=self.rows),
        )
        load: dict[str, Callable[[], float]] = {
            "numpy.load": lambda: _timed(lambda: np.load(self.folder / "vectors.npy")) * 1e3
        }
        yield _Measure("load_vectors", "ms", self._load, load, less_is_better=True)
        yield _Measure(
            "read_points",
            "/s",
            self._read_points,
            {"SQLite": lambda: peer.read_points(self.direct_points, n_points)}
            | self._node("", "readPoints", at=self.direct_points, per=n_points, rows=n_points),
        )
        yield _Measure("open_to_first_answer", "ms", self._open, {}, less_is_better=True)
        yield _Measure("backup", "MB/s", self._back_up, {"copying alone": self._copy})

    def _beside_others(self) -> Iterator[_Measure]:
        ids = [pattern.id for pattern in self.patterns]

        def reads(beside: dict[str, float] | None) -> float:
            return processes.reads_p99_us(self._copied(), ids, self.seconds, beside)

        def recovery(*, directly: bool = False) -> float:
            return processes.recovery_ms(self._copied(), ids[0], self.log_bytes, directly=directly)

        yield _Measure("fairness_of_4_processes", "least/most", self._share, {"SQLite": self._direct_share})
        alone = {"no writer": functools.partial(reads, None)}
        yield _Measure(
            "find_pattern_beside_writer", "us p99", lambda: reads(self.beside_reads), alone, less_is_better=True
        )
        yield _Measure("backup_beside_writer", "MB/s", self._back_up_beside, {})
        direct = {"SQLite": functools.partial(recovery, directly=True)}
        yield _Measure("recovery_of_log", "ms", recovery, direct, less_is_better=True)

    def _node(
        self, suffix: str, task: str, *, at: Path | None = None, per: float = 0, **given: Any
    ) -> dict[str, Callable[[], float]]:
        """Return the peer on Node if there is one: what it gives, or ``per`` by that, on a new file or ``at``."""
        if not node_peer.available():
            return {}

        def run() -> float:  # pragma: no cover  # where it is installed
            found = node_peer.run(task, at or self._new(), **given)
            return per / found if per else found

        return {f"better-sqlite3{suffix}": run}

    def _directly(self, write: Callable[[Path, str, float], float], mode: str) -> float:
        return write(self._new(), mode, self.seconds)

    def _copied(self) -> Path:
        return processes.copied(self.path, self._new().parent)

    def _write(self, name: str, callers: int, put: Callable[[SqliteStorage, str], None]) -> float:
        latencies: list[list[float]] = [[] for _ in range(callers)]
        with SqliteStorage(self._new(), timeout_s=60) as storage:
            start, stop = threading.Event(), threading.Event()

            def work(number: int) -> None:
                start.wait()
                for i in range(1 << 30):
                    if stop.is_set():
                        return
                    latencies[number].append(_timed(functools.partial(put, storage, f"{number} {i}")))

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

    def _put_results(self) -> float:
        with SqliteStorage(self._new()) as storage:
            return len(self.results) / _timed(lambda: storage.put_run(Run(id="run", source="file"), self.results))

    def _save_values(self) -> float:
        state = EngineState(kind="bench/1", manifest={}, arrays={"values": self.q_values})
        with SqliteStorage(self._new()) as storage:
            storage.save_state("learner", state)
            return self.q_values.size / _timed(lambda: storage.save_state("learner", state))

    def _find(self) -> float:
        with SqliteStorage(self.path, read_only=True) as storage:
            ids = [[pattern.id] for pattern in self.patterns]

            def find() -> None:
                for id_ in ids:
                    storage.find_patterns("default", id_)

            return self.rows / _timed(find)

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

    def _back_up_beside(self) -> float:
        return processes.backup_beside_writer(self._copied(), self._new(), self.beside_backup)

    def _copy(self) -> float:
        target = self._new()
        with closing(apsw.Connection(str(self.path), flags=sqlite.READ)) as source:
            elapsed_s = _timed(lambda: files.copy_of(source, target))
        return target.stat().st_size / 1e6 / elapsed_s

    def _share(self) -> float:
        path = self._new()
        SqliteStorage(path).close()
        share, taken_s = processes.fairness(path, self.seconds)
        self.latencies_s.setdefault("fairness_of_4_processes", []).extend(taken_s)
        return share

    def _direct_share(self) -> float:
        return processes.fairness(peer.create(self._new()), self.seconds, directly=True)[0]


def _timed(work: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    work()
    return time.perf_counter() - began_s
