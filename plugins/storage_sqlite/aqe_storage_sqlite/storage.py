"""The storage itself: checks what it is given, and hands it to one transaction."""

from __future__ import annotations

import math
import operator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import apsw
import numpy as np

from aqe_core.contracts.legacy import LEGACY_NAMESPACE
from aqe_core.errors import DimensionError, InputError, NotFoundError
from aqe_core.validate import as_k, as_keys, as_vectors
from aqe_storage_sqlite import blocks, journal, schema, text_index
from aqe_storage_sqlite import connection as sqlite
from aqe_storage_sqlite import patterns as pattern_table
from aqe_storage_sqlite import points as point_table
from aqe_storage_sqlite import results as result_table
from aqe_storage_sqlite import states as state_table
from aqe_storage_sqlite import vectors as vector_table
from aqe_storage_sqlite.database import Database
from aqe_storage_sqlite.encoding import MAX_INTEGER, as_text

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from aqe_core.contracts.legacy import Legacy
    from aqe_core.contracts.maintenance import StorageMaintenance
    from aqe_core.contracts.records import Pattern, PutReport, ResultTable, Run, TestResult
    from aqe_core.contracts.storage import Changes
    from aqe_core.state import EngineState
    from aqe_storage_sqlite.points import SeriesInfo

__all__ = ["SqliteStorage"]


class SqliteStorage:
    """The durable truth in one SQLite file; fulfils `aqe_core.contracts.Storage`, where the methods are described.

    Any number of threads and processes may use one file. Readers never wait for writers. Writers wait for each other,
    in turn, for at most ``timeout_s``. Two files beside it, ``.lock`` and ``.turn``, hold the lock between processes
    and nothing else; ``-wal`` and ``-shm`` are SQLite's and belong to the database while they exist.

    Parameters
    ----------
    path : Path
        Created if missing, unless ``read_only``; its folder must exist.
    read_only : bool
        Refuse to write. Works in a folder that cannot be written too, unless the last writer was killed there.
    timeout_s : float
        How long a write waits for other writers, in seconds.
    durability : {"full", "normal"}
        ``full``: what returned survives power loss. ``normal``: it survives the end of the process, but the newest
        commits may be lost with the power; a commit need not wait for the disk then.
    codec : {"auto", "zlib", "raw", "zstd"}
        How blocks of points are compressed that are written from now on; all are read. ``zstd`` is faster and needs
        the extra ``zstd`` (or Python 3.14), also to read what it compressed; ``auto`` is ``zstd`` where that is
        there, else ``zlib``.

    Raises
    ------
    NoWorkspaceError
        The folder, or with ``read_only`` the file, does not exist.
    ReadOnlyError
        The folder or file cannot be written.
    FutureSchemaError
        A newer aqe wrote the file.
    CorruptStorageError
        The file is damaged or no SQLite database.
    StorageError
        The file is another program's, or apsw carries an SQLite that is not safe with several connections.
    ConfigError
        ``timeout_s``, ``durability`` or ``codec`` is wrong.
    MissingExtraError
        ``codec`` is ``zstd``, for which nothing is installed.

    Notes
    -----
    Text with half a surrogate pair cannot be stored and is refused; NUL characters are kept.
    After a fork the parent's storage refuses to work in the child: open it anew there.
    """

    def __init__(
        self,
        path: Path,
        *,
        read_only: bool = False,
        timeout_s: float = 10.0,
        durability: str = "full",
        codec: str = "auto",
    ) -> None:
        self._codec = blocks.codec_number(codec)
        self._database = Database(path, read_only=read_only, timeout_s=timeout_s, durability=durability)

    @staticmethod
    def maintenance(path: Path, **options: Any) -> StorageMaintenance:
        """Return what verifies, backs up, compacts, repairs and transfers a file that need not be openable."""
        from aqe_storage_sqlite.maintenance import SqliteMaintenance  # seldom needed

        return SqliteMaintenance(path, **options)

    @staticmethod
    def benchmark(folder: Path, **options: Any) -> dict[str, Any]:
        """Measure the storage in a folder; what ``aqe bench storage`` prints."""
        from aqe_storage_sqlite.bench import benchmark  # seldom needed

        return benchmark(folder, **options)

    @property
    def path(self) -> Path:
        """The file."""
        return self._database.path

    @property
    def read_only(self) -> bool:
        """Whether writing is refused."""
        return self._database.read_only

    def close(self) -> None:
        """Fold the log into the file and release both. May be called twice."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def info(self) -> dict[str, Any]:
        """Return facts for ``aqe doctor``: engine and version, schema version, sizes in bytes, durability, counts.

        ``size_bytes`` is that of the file with its log, ``log_bytes`` that of the log alone. ``file_system`` is the
        type that Linux names, else empty.
        """
        with self._database.read() as connection:
            runs, n_results = result_table.count(connection)
            counts = {
                "patterns": connection.execute("SELECT count(*) FROM patterns").get,
                "namespaces": connection.execute("SELECT count(*) FROM namespaces").get,
                "runs": runs,
                "results": n_results,
                "states": connection.execute("SELECT count(*) FROM states").get,
                "journal": connection.execute("SELECT count(*) FROM journal").get,
            }
            schema_version = connection.execute("PRAGMA user_version").get
        return {
            "engine": "sqlite",
            "version": apsw.sqlite_lib_version(),
            "apsw_version": apsw.apsw_version(),
            "schema_version": schema_version,
            "newest_schema_version": len(schema.MIGRATIONS),
            "path": str(self.path),
            "read_only": self.read_only,
            "durability": self._database.durability,
            "file_system": sqlite.file_system(self.path),
            "size_bytes": sum(_size_bytes(f"{self.path}{suffix}") for suffix in ("", "-wal")),
            "log_bytes": _size_bytes(f"{self.path}-wal"),
            "counts": counts,
        }

    # -- patterns ---------------------------------------------------------------------------------------------------

    def put_patterns(self, namespace: str, patterns: Sequence[Pattern], *, origins: Collection[str] = ()) -> PutReport:
        """Store patterns; those with a known id replace it if their content differs.

        One that differs only in ``line`` or ``origin`` counts as unchanged; both are brought up to date all the same.
        A changed pattern loses its vector. ``added``, ``changed`` and ``unchanged`` count distinct ids.
        """
        as_text(namespace, "namespace")
        complete = _as_texts(origins, "origins")
        given = list(patterns)
        rows = pattern_table.to_rows(given)
        ids = [pattern.id for pattern in given]
        call = pattern_table.Given(namespace, ids, rows, complete)
        return self._database.write_together(pattern_table.put_together, call).report()

    def get_patterns(self, namespace: str, keys: ArrayLike) -> list[Pattern]:
        """Return patterns by key, in that order.

        Raises
        ------
        NotFoundError
            A key is unknown.
        """
        wanted = as_keys(keys).tolist()
        with self._database.read() as connection:
            found = pattern_table.by_key(connection, as_text(namespace, "namespace"), wanted)
        for key in wanted:
            if key not in found:
                raise NotFoundError(
                    f"there is no pattern with key {key} in namespace {namespace!r}.",
                    fix="it may have been removed; search again.",
                )
        return [found[key] for key in wanted]

    def find_patterns(self, namespace: str, ids: Sequence[str]) -> list[Pattern | None]:
        """Return patterns by id, in that order; None where there is none."""
        wanted = _as_texts(ids, "ids")
        as_text(namespace, "namespace")
        if len(wanted) == 1:
            row = self._database.read_row(pattern_table.BY_ID, (namespace, wanted[0]))
            return [None if row is None else pattern_table.from_joined(row) or self._whole_pattern(row[0])]
        with self._database.read() as connection:
            found = pattern_table.by_id(connection, namespace, wanted)
        return [found.get(id_) for id_ in wanted]

    def _whole_pattern(self, key: int) -> Pattern | None:
        row = self._database.read_row(pattern_table.WHOLE, (key,))
        return None if row is None else pattern_table.to_pattern(row)  # removed meanwhile

    def remove_patterns(self, namespace: str, keys: ArrayLike) -> int:
        """Remove patterns with their vectors; unknown keys are passed over. Return how many there were."""
        unwanted = as_keys(keys).tolist()
        return self._database.write(pattern_table.remove, as_text(namespace, "namespace"), unwanted)

    def iter_patterns(self, namespace: str, *, batch: int = 1000) -> Iterator[list[Pattern]]:
        """Yield all patterns in ascending order of key, in lists of at most ``batch``.

        Those stored when it is called, less those removed before their turn; no snapshot is held between the lists.
        """
        size = _as_integer(batch, "batch", 1)
        return self._iter_batches(namespace, self.pattern_keys(namespace).tolist(), size)

    def _iter_batches(self, namespace: str, keys: list[int], size: int) -> Iterator[list[Pattern]]:
        for start in range(0, len(keys), size):
            with self._database.read() as connection:
                found = pattern_table.by_key(connection, namespace, keys[start : start + size])
            if found:
                yield list(found.values())

    def pattern_keys(self, namespace: str, where: Mapping[str, Any] | None = None) -> NDArray[np.uint64]:
        """Return ascending keys, all or those that fit.

        Values are compared with their type: ``True`` is not 1 (but 1 is 1.0), and None fits a metadata value of None,
        not a missing one. ``marker`` fits if any of a pattern's markers is equal.

        Raises
        ------
        InputError
            A value is not a string, finite number of 64 bits, boolean, None or list of these.
        """
        with self._database.read() as connection:
            return pattern_table.keys_where(connection, as_text(namespace, "namespace"), where)

    def count_patterns(self, namespace: str) -> int:
        """Return the number of patterns."""
        with self._database.read() as connection:
            return pattern_table.count(connection, as_text(namespace, "namespace"))

    def origins(self, namespace: str) -> dict[str, int]:
        """Return the number of patterns by origin, in the order of the origins' names."""
        with self._database.read() as connection:
            return pattern_table.origins(connection, as_text(namespace, "namespace"))

    def search_text(self, namespace: str, query: str, k: int) -> list[tuple[int, float]]:
        """Return keys and scores of the k patterns whose name or text fit a query best: best first, ties by key.

        A pattern fits that has any word of the query. Words are runs of letters and digits, compared without case and
        accents; identifiers count by their parts (``test_retryBackoff``: *test retry backoff*), and a whole one in
        the query stands for its parts in a row. Nothing in a query is syntax. Its first 64 distinct words count.
        Scores are BM25, a word in the name counting three times as much; more is better, all are above 0.

        Raises
        ------
        InputError
            ``k`` is no integer of at least 1.
        """
        as_text(query, "query")
        number = as_k(k)
        with self._database.read() as connection:
            return text_index.search(connection, as_text(namespace, "namespace"), query, number)

    # -- vectors ----------------------------------------------------------------------------------------------------

    def put_vectors(
        self,
        namespace: str,
        keys: ArrayLike,
        vectors: ArrayLike,
        fingerprint: str,
        *,
        unchanged_since: int | None = None,
    ) -> None:
        """Store vectors of patterns; keys whose pattern is gone, or written after a journal number, are passed over.

        A pattern has one vector: one of another fingerprint is replaced. Of equal keys the last one counts. Where the
        journal does not reach back to that number, all keys are passed over.

        Raises
        ------
        DimensionError
            Vectors of that fingerprint are stored with another length.
        NonFiniteError
            A vector holds NaN or infinity.
        """
        as_text(fingerprint, "fingerprint")
        seq = None if unchanged_since is None else _as_integer(unchanged_since, "unchanged_since", 0)
        given = as_keys(keys)
        shape = np.shape(vectors)
        rows = as_vectors(vectors, given.size, shape[-1] if shape else 0, "l2")
        if not given.size:
            return
        if not rows.shape[1]:
            raise DimensionError("the vectors have no dimensions.", fix="pass one row per key.")
        self._database.write(vector_table.put, as_text(namespace, "namespace"), given, rows, fingerprint, seq)

    def load_vectors(
        self, namespace: str, fingerprint: str, keys: ArrayLike | None = None
    ) -> tuple[NDArray[np.uint64], NDArray[np.float32]]:
        """Return ascending keys and their vectors of that fingerprint, all or of those of ``keys`` that have one.

        A pattern that was changed after its vector was stored has none. With no vectors the second has shape (0, 0).

        Raises
        ------
        CorruptStorageError
            A checksum is wrong.
        """
        as_text(fingerprint, "fingerprint")
        wanted = None if keys is None else as_keys(keys)
        with self._database.read() as connection:
            return vector_table.load(connection, as_text(namespace, "namespace"), fingerprint, wanted)

    # -- results ----------------------------------------------------------------------------------------------------

    def put_run(self, run: Run, results: Sequence[TestResult]) -> bool:
        """Store a run with its results. Return False, and write nothing, if the run's id is known."""
        return self._database.write_together(result_table.put_together, result_table.encoded(run, results))

    def results(self, *, after_run: int = 0) -> ResultTable:
        """Return results of the runs stored after run number ``after_run``."""
        number = _as_integer(after_run, "after_run", 0)
        with self._database.read() as connection:
            return result_table.table(connection, number)

    def count_results(self) -> tuple[int, int]:
        """Return the numbers of runs and of results."""
        with self._database.read() as connection:
            return result_table.count(connection)

    def known_runs(self, ids: Collection[str]) -> set[str]:
        """Return those of the run ids that are stored."""
        wanted = _as_texts(ids, "ids")
        with self._database.read() as connection:
            return result_table.known(connection, wanted)

    # -- time series ------------------------------------------------------------------------------------------------

    def append_points(
        self, series: str, times_s: ArrayLike, values: ArrayLike, labels: Mapping[str, str] | None = None
    ) -> None:
        """Add points to a series, which is made if there is none.

        In any order: points are read by time. Several points of one time are all kept, in the order of arrival.

        Parameters
        ----------
        series : str
            Its name.
        times_s, values : array of float64, shape (n,)
            Finite. Integers are turned into float64, which is exact up to 2**53.
        labels : mapping of str to str, optional
            Replaces the labels that the series has; None leaves them.

        Raises
        ------
        NonFiniteError
            A time or value is NaN or infinite.
        DimensionError
            The arrays differ in length or have not one axis.

        Notes
        -----
        Many points in one call cost a fraction of as many calls: about 0.1 us a point.
        """
        given_s, given = point_table.as_points(times_s, values)
        described = point_table.as_labels(labels)
        name = as_text(series, "series")
        self._database.write(point_table.append, name, given_s, given, described, self._codec)

    def points(
        self, series: str, start_s: float = -math.inf, stop_s: float = math.inf
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return times and values of the points with ``start_s <= time < stop_s``.

        Returns
        -------
        times_s, values : ndarray of float64, shape (n,)
            Ascending by time; of one time in the order of arrival. Bit for bit what was given.

        Raises
        ------
        NotFoundError
            There is no such series.
        CorruptStorageError
            A checksum is wrong.
        """
        start, stop = point_table.as_range(start_s, stop_s)
        with self._database.read() as connection:
            return point_table.read(connection, as_text(series, "series"), start, stop)

    def list_series(self) -> list[SeriesInfo]:
        """Return all series by name, with labels, number of points, first and last time, and statistics."""
        with self._database.read() as connection:
            return point_table.listing(connection)

    def remove_series(self, series: str) -> int:
        """Remove a series; return how many points it had.

        Raises
        ------
        NotFoundError
            There is no such series.
        """
        return self._database.write(point_table.remove, as_text(series, "series"))

    # -- engine states ----------------------------------------------------------------------------------------------

    def save_state(self, name: str, state: EngineState, *, seq: int = 0) -> None:
        """Keep an engine's state under a name, with the number up to which it has applied the truth.

        Raises
        ------
        InputError
            The manifest is not JSON, an array is not numeric, or one takes more than 1,000,000,000 bytes.
        """
        as_text(name, "name of the state")
        encoded = state_table.encode(state, _as_integer(seq, "seq", 0))
        self._database.write(state_table.save, name, encoded)

    def load_state(self, name: str) -> tuple[EngineState, int] | None:
        """Return a kept state and its number; None if there is none or if its checksum is wrong (rebuild then)."""
        with self._database.read() as connection:
            encoded = state_table.fetch(connection, as_text(name, "name of the state"))
        return None if encoded is None else (state_table.decode(encoded), encoded.seq)

    # -- old projects -----------------------------------------------------------------------------------------------

    def find_old(self, place: Path) -> dict[str, str]:
        """Return the kinds of the database files at a place, by name; see `aqe_core.contracts.TakesOver`."""
        from aqe_storage_sqlite.legacy import source  # most programs never need it

        return {file.name: file.kind for file in source.find(Path(place))}

    def take_over(
        self,
        place: Path,
        *,
        namespace: str = LEGACY_NAMESPACE,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> dict[str, Any]:
        """Take over a project of agentic-qe 2.8 or one of its database files; see `aqe_core.contracts.TakesOver`.

        Every 2,000 rows are one transaction, with a note of how far their table has come.
        """
        from aqe_storage_sqlite.legacy.takeover import take_over  # same

        return take_over(self._database, Path(place), namespace=as_text(namespace, "namespace"), progress=progress)

    def legacy(self, *, namespace: str = LEGACY_NAMESPACE) -> Legacy:
        """Return what was taken over, to be asked; see `aqe_core.contracts.Legacy`."""
        from aqe_storage_sqlite.legacy.view import LegacyView  # same

        return LegacyView(self._database, namespace)

    # -- journal ----------------------------------------------------------------------------------------------------

    def last_seq(self) -> int:
        """Return the newest journal number, over all namespaces; 0 in an empty file."""
        with self._database.read() as connection:
            return journal.last_seq(connection)

    def changes_since(self, namespace: str, seq: int) -> Changes | None:
        """Return what changed after ``seq``; None if the journal does not reach back that far (rebuild then).

        None too if ``seq`` is newer than the journal, as after an older copy of the file was put back.
        """
        number = _as_integer(seq, "seq", 0)
        with self._database.read() as connection:
            return journal.changes_since(connection, as_text(namespace, "namespace"), number)

    def data_version(self) -> int:
        """Return a number that changes when anyone, this process or another, has committed. A few microseconds.

        It has a meaning only against other numbers from the same open storage. That the file was removed or replaced
        is told by everything else at the next call, by this within 10 ms.
        """
        return self._database.data_version()


def _as_texts(values: Collection[str], what: str) -> list[str]:
    if isinstance(values, str):
        raise InputError(f"{what} is a string, but must be a list of strings.", fix=f"pass [{values!r:.60}].")
    given = list(values)
    for value in given:
        if type(value) is not str:
            as_text(value, f"one of {what}")
    return given


def _as_integer(value: Any, what: str, least: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = -1
    if not least <= number <= MAX_INTEGER:  # not shown: an integer can be too long to print
        raise InputError(f"{what} must be an integer in {least} .. 2**63 - 1.", fix="pass such a number.")
    return number


def _size_bytes(name: str) -> int:
    try:
        return Path(name).stat().st_size
    except FileNotFoundError:
        return 0
