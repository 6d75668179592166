"""Test runs and their results."""

from __future__ import annotations

import math
from functools import cache
from itertools import repeat
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from aqe_core.contracts.records import OUTCOMES, ResultTable, Run, TestResult
from aqe_core.errors import CorruptStorageError, InputError, NonFiniteError
from aqe_storage_sqlite import checksums
from aqe_storage_sqlite.encoding import as_text, reading

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    import apsw
    from numpy.typing import NDArray

__all__ = ["Given", "count", "encoded", "known", "put", "put_together", "table"]

_CODES = {outcome: code for code, outcome in enumerate(OUTCOMES)}
_ROW = np.dtype([("run", np.int64), ("test", np.int64), ("outcome", np.uint8), ("duration_s", np.float64)])

_AT_ONCE = 100
"""Rows in one statement: beginning and ending one takes as long as storing a row."""

_INTO = "INSERT INTO results (run, position, test, outcome, duration_s, message) VALUES "
_SILENT, _TELLING = "(?2, ?1 + {}, ?, ?, ?, '')", "(?2, ?1 + {}, ?, ?, ?, ?)"
_INTO_TESTS, _TEST = "INSERT INTO tests (id, name) VALUES ", "(?1 + {}, ?)"


class Given(NamedTuple):
    """A run with its results, checked."""

    head: tuple[str, str, str, float]
    """id, source, tool, started_s"""
    tests: list[str]
    outcomes: bytes
    """Codes."""
    durations_s: list[float]
    messages: list[str]
    crc32: int


def encoded(run: Any, results: Iterable[Any]) -> Given:
    """Check and encode a run and its results, column by column.

    Raises
    ------
    InputError, NonFiniteError
        One cannot be stored.
    """
    _check(run)
    given = list(results)
    if not {*map(type, given)} <= {TestResult}:
        _check_each(given)
    durations_s = [each.duration_s for each in given]
    if not {*map(type, durations_s)} <= {float}:
        _check_each(given)
    few = len(given) < checksums.FEW
    seconds: Any = np.array(durations_s, np.float64) if not few else durations_s
    plain = [each + 0.0 for each in durations_s] if few else (seconds + 0.0).tolist()  # SQLite does not keep -0.0
    head = (run.id, run.source, run.tool, float(run.started_s) + 0.0)
    tests, messages = [each.test for each in given], [each.message for each in given]
    try:
        outcomes = bytes([_CODES[each.outcome] for each in given])
        crc32 = checksums.of_run(head, tests, outcomes, seconds, messages)  # which joins texts, and nothing else
    except (TypeError, KeyError):
        _check_each(given)
        raise
    if not (all(map(math.isfinite, plain)) if few else np.isfinite(seconds).all()):
        _check_each(given)
    return Given(head, tests, outcomes, plain, messages, crc32)


def _check_each(results: list[Any]) -> None:
    for position, result in enumerate(results):
        if not isinstance(result, TestResult):
            raise InputError(f"result {position} is no TestResult.", fix="pass aqe_core.contracts.TestResult.")
        as_text(result.test, f"test of result {position}")
        as_text(result.message, f"message of result {position}")
        _check_finite(result.duration_s, f"duration_s of result {position}")
        outcome: Any = result.outcome
        if not isinstance(outcome, str) or outcome not in _CODES:
            raise InputError(
                f"outcome of result {position} is {outcome!r:.40}.",
                fix=f"use one of {', '.join(OUTCOMES)}.",
            )


def _check(run: Any) -> None:
    if not isinstance(run, Run):
        raise InputError("the run is no Run.", fix="pass aqe_core.contracts.Run.")
    for field in ("id", "source", "tool"):
        as_text(getattr(run, field), f"{field} of the run")
    _check_finite(run.started_s, f"started_s of run {run.id!r:.80}")


def _check_finite(value: float, what: str) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InputError(f"{what} is {value!r:.40}, but must be a number.", fix="pass seconds.")
    try:
        finite = math.isfinite(value)
    except OverflowError:  # an integer that no float comes near
        finite = False
    if not finite:
        raise NonFiniteError(f"{what} is not finite.", fix="pass finite seconds; 0 when unknown.")


def put(connection: apsw.Connection, given: Given) -> bool:
    """Store a run unless its id is known. O(n log N) for n results and N tests."""
    return put_together(connection, [given])[0]


def put_together(connection: apsw.Connection, calls: Sequence[Given]) -> list[bool]:
    """Do what as many calls of `put` in a row would do, with fewer statements."""
    stored = known(connection, [given.head[0] for given in calls])
    new: list[Given] = []
    done: list[bool] = []
    for given in calls:
        done.append(given.head[0] not in stored)
        if done[-1]:
            stored.add(given.head[0])
            new.append(given)
    if not new:
        return done
    connection.executemany(
        "INSERT INTO runs (id, source, tool, started_s, crc32) VALUES (?, ?, ?, ?, ?)",
        [(*given.head, given.crc32) for given in new],
    )
    first = connection.last_insert_rowid() + 1 - len(new)  # AUTOINCREMENT gives consecutive numbers
    names = dict.fromkeys(name for given in new for name in given.tests)  # a set that keeps the order
    numbers = _ensure(connection, list(names))
    few: list[tuple[Any, ...]] = []
    for number, given in enumerate(new, first):
        tests = list(map(numbers.__getitem__, given.tests))
        columns: list[Sequence[Any]] = [tests, given.outcomes, given.durations_s]
        if len(tests) < _AT_ONCE:
            few += zip(repeat(number), range(len(tests)), *columns, given.messages, strict=False)
        elif any(given.messages):
            _insert(connection, (_INTO, _TELLING), 0, [*columns, given.messages], number)
        else:
            _insert(connection, (_INTO, _SILENT), 0, columns, number)
    connection.executemany(f"{_INTO}(?, ?, ?, ?, ?, ?)", few)
    return done


def _insert(
    connection: apsw.Connection, sql: tuple[str, str], first: int, columns: Sequence[Sequence[Any]], *shared: int
) -> None:
    """Insert the rows of columns, many to a statement.

    ``sql`` says into what, and what a row is: its number, from ``first`` on, then what all share, then its columns.
    """
    width, rows = len(columns), len(columns[0])
    flat: list[Any] = [None] * (width * rows)
    for position, column in enumerate(columns):
        flat[position::width] = column
    even = rows - rows % _AT_ONCE
    for start, stop, n in ((0, even, _AT_ONCE), (even, rows, 1)):
        connection.executemany(
            _statement(*sql, n),
            ((first + at, *shared, *flat[at * width : (at + n) * width]) for at in range(start, stop, n)),
        )


@cache
def _statement(into: str, row: str, n: int) -> str:
    return into + ", ".join(map(row.format, range(n)))


def _ensure(connection: apsw.Connection, names: list[str]) -> dict[str, int]:
    """Return the numbers of tests by name; those that are not known yet get the next ones, in their order."""
    newest = connection.execute("SELECT max(id) FROM tests").get
    numbers: dict[str, int] = {}
    if newest is not None:
        numbers.update(connection.executemany("SELECT name, id FROM tests WHERE name = ?", ((name,) for name in names)))
    missing = [name for name in names if name not in numbers]
    if missing:
        following = range((newest or 0) + 1, (newest or 0) + 1 + len(missing))
        _insert(connection, (_INTO_TESTS, _TEST), following.start, [missing])
        numbers.update(zip(missing, following, strict=True))
    return numbers


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
