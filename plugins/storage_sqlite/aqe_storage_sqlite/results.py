"""Test runs and their results."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_core.contracts.records import OUTCOMES, ResultTable, Run, TestResult
from aqe_core.errors import CorruptStorageError, InputError, NonFiniteError
from aqe_storage_sqlite import checksums
from aqe_storage_sqlite.encoding import as_text, reading

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    import apsw
    from numpy.typing import NDArray

__all__ = ["check", "count", "known", "put", "table"]

_CODES = {outcome: code for code, outcome in enumerate(OUTCOMES)}
_ROW = np.dtype([("run", np.int64), ("test", np.int64), ("outcome", np.uint8), ("duration_s", np.float64)])


def check(run: Any, results: Iterable[Any]) -> None:
    """Raise `InputError` unless a run and its results can be stored."""
    if not isinstance(run, Run):
        raise InputError("the run is no Run.", fix="pass aqe_core.contracts.Run.")
    for field in ("id", "source", "tool"):
        as_text(getattr(run, field), f"{field} of the run")
    _check_finite(run.started_s, f"started_s of run {run.id!r:.80}")
    for position, result in enumerate(results):
        if not isinstance(result, TestResult):
            raise InputError(f"result {position} is no TestResult.", fix="pass aqe_core.contracts.TestResult.")
        as_text(result.test, f"test of result {position}")
        as_text(result.message, f"message of result {position}")
        _check_finite(result.duration_s, f"duration_s of result {position}")
        if result.outcome not in _CODES:
            raise InputError(
                f"outcome of result {position} is {result.outcome!r:.40}.",
                fix=f"use one of {', '.join(OUTCOMES)}.",
            )


def _check_finite(value: float, what: str) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InputError(f"{what} is {value!r:.40}, but must be a number.", fix="pass seconds.")
    if not math.isfinite(value):
        raise NonFiniteError(f"{what} is {value}.", fix="pass finite seconds; 0 when unknown.")


def put(connection: apsw.Connection, run: Run, results: Sequence[TestResult]) -> bool:
    """Store a run unless its id is known."""
    if known(connection, (run.id,)):
        return False
    head = (run.id, run.source, run.tool, float(run.started_s))
    rows = [(each.test, _CODES[each.outcome], float(each.duration_s), each.message) for each in results]
    number = connection.execute(
        "INSERT INTO runs (id, source, tool, started_s, crc32) VALUES (?, ?, ?, ?, ?) RETURNING number",
        (*head, checksums.of_run(head, rows)),
    ).get
    names = {result.test: None for result in results}  # a set that keeps the order
    connection.executemany("INSERT INTO tests (name) VALUES (?) ON CONFLICT DO NOTHING", ((name,) for name in names))
    tests = dict(connection.executemany("SELECT name, id FROM tests WHERE name = ?", ((name,) for name in names)))
    connection.executemany(
        "INSERT INTO results (run, position, test, outcome, duration_s, message) VALUES (?, ?, ?, ?, ?, ?)",
        (
            (number, position, tests[test], outcome, duration_s, message)
            for position, (test, outcome, duration_s, message) in enumerate(rows)
        ),
    )
    return True


def table(connection: apsw.Connection, after_run: int) -> ResultTable:
    """Return the results of the runs numbered above ``after_run``; O(n log n) for n of them."""
    with reading("the results"):
        runs = np.fromiter(
            connection.execute("SELECT number, started_s FROM runs WHERE number > ? ORDER BY number", (after_run,)),
            [("number", np.int64), ("started_s", np.float64)],
        )
        rows = np.fromiter(
            connection.execute(
                "SELECT run, test, outcome, duration_s FROM results WHERE run > ? ORDER BY run, position",
                (after_run,),
            ),
            _ROW,
        )
        by_start = np.lexsort((runs["number"], runs["started_s"]))
        if (np.diff(by_start) < 0).any():
            rank = np.empty(len(runs), np.int64)
            rank[by_start] = np.arange(len(runs))
            rows = rows[np.argsort(rank[np.searchsorted(runs["number"], rows["run"])], kind="stable")]
        tests, test = _named(connection, rows["test"])
    return ResultTable(
        tests=tests,
        test=test,
        run=np.ascontiguousarray(rows["run"]),
        outcome=np.ascontiguousarray(rows["outcome"]),
        duration_s=np.ascontiguousarray(rows["duration_s"]),
    )


def _named(connection: apsw.Connection, ids: NDArray[np.int64]) -> tuple[list[str], NDArray[np.int64]]:
    """Return the names of the tests that occur, in the order of their first storing, and indexes into them."""
    used, indexes = np.unique(ids, return_inverse=True)
    wanted = set(used.tolist())
    names = [name for id_, name in connection.execute("SELECT id, name FROM tests ORDER BY id") if id_ in wanted]
    if len(names) != used.size:
        raise CorruptStorageError("results refer to tests that are not there.", fix="run `aqe repair`.")
    return names, indexes.astype(np.int64, copy=False)


def count(connection: apsw.Connection) -> tuple[int, int]:
    """Return the numbers of runs and of results."""
    runs, results = connection.execute("SELECT (SELECT count(*) FROM runs), (SELECT count(*) FROM results)").get
    return runs, results


def known(connection: apsw.Connection, ids: Collection[str]) -> set[str]:
    """Return those of the run ids that are stored."""
    rows = connection.executemany("SELECT id FROM runs WHERE id = ?", ((id_,) for id_ in ids))
    return {id_ for (id_,) in rows}
