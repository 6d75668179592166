"""Runs and results: stored once, read as columns in the order of time."""

from __future__ import annotations

import math
import zlib

import attrs
import numpy as np
import pytest
from aqe_storage_sqlite.storage import SqliteStorage
from hypothesis import given, settings
from hypothesis import strategies as st

from aqe_core.contracts import OUTCOMES, Run, TestResult
from aqe_core.errors import InputError, NonFiniteError

NAMES = st.sampled_from(["a", "b", "c::d", "é", "x\0y", ""])
RUNS = st.lists(
    st.tuples(
        st.floats(0, 3, width=16),
        st.lists(st.tuples(NAMES, st.sampled_from(OUTCOMES), st.floats(0, 100)), max_size=6),
    ),
    max_size=6,
)


def flat(table):
    assert (table.test.dtype, table.run.dtype) == (np.int64, np.int64)
    assert (table.outcome.dtype, table.duration_s.dtype) == (np.uint8, np.float64)
    return [
        (int(run), table.tests[test], OUTCOMES[outcome], float(duration))
        for run, test, outcome, duration in zip(table.run, table.test, table.outcome, table.duration_s, strict=True)
    ]


@settings(max_examples=40, deadline=None)
@given(runs=RUNS, after=st.integers(0, 7))
def test_columns_agree_with_a_list(tmp_path_factory, runs, after):
    with SqliteStorage(tmp_path_factory.mktemp("db") / "aqe.db", durability="normal") as storage:
        for number, (started_s, results) in enumerate(runs, 1):
            run = Run(id=f"run {number}", source="junit.xml", started_s=started_s)
            tests = [TestResult(test=name, outcome=out, duration_s=took, message="m") for name, out, took in results]
            assert storage.put_run(run, tests)
            assert not storage.put_run(run, tests[:1])
        assert storage.count_results() == (len(runs), sum(len(results) for _, results in runs))
        table = storage.results(after_run=after)
        expected = [
            (number, *result)
            for _, number, results in sorted(
                (started_s, number, results) for number, (started_s, results) in enumerate(runs, 1) if number > after
            )
            for result in results
        ]
        assert flat(table) == expected
        assert sorted(table.tests) == sorted({name for _, name, _, _ in expected})


def test_known_runs(storage):
    assert storage.put_run(Run(id="a", source="s"), [])
    assert storage.known_runs(["a", "b"]) == {"a"}
    assert storage.known_runs([]) == set()
    with pytest.raises(InputError):
        storage.known_runs("a")
    with pytest.raises(InputError):
        storage.known_runs([None])


def test_everything_is_kept(storage):
    result = TestResult(test="t", outcome="error", duration_s=1.5, message="why\0not")
    storage.put_run(Run(id="a", source="s", tool="jest", started_s=-2.5), [result])
    with storage._database.read() as connection:
        assert connection.execute("SELECT id, source, tool, started_s FROM runs").get == ("a", "s", "jest", -2.5)
        assert connection.execute("SELECT message FROM results").get == "why\0not"


@settings(max_examples=20, deadline=None)
@given(
    messages=st.one_of(
        st.lists(st.sampled_from(["", "", "", "why", "n\0l", "é"]), min_size=1, max_size=270),
        st.integers(1, 270).map(lambda n: [""] * n),
    ),
    durations=st.lists(st.one_of(st.floats(0, 1e9), st.sampled_from([-0.0, 7])), min_size=1, max_size=4),
)
def test_many_rows_to_a_statement_are_the_same_rows(tmp_path_factory, messages, durations):
    path = tmp_path_factory.mktemp("db") / "aqe.db"
    results = [
        TestResult(
            test=f"t{i % 110}", outcome=OUTCOMES[i % 4], duration_s=durations[i % len(durations)], message=message
        )
        for i, message in enumerate(messages)
    ]
    with SqliteStorage(path, durability="normal") as storage:
        for number in (1, 2):
            assert storage.put_run(Run(id=f"{number}", source="s", started_s=-0.0), results)
        with storage._database.read() as connection:
            stored = connection.execute(
                "SELECT run, position, name, outcome, duration_s, message FROM results JOIN tests ON id = test "
                "ORDER BY run, position"
            ).fetchall()
    assert stored == [
        (number, position, each.test, OUTCOMES.index(each.outcome), each.duration_s, each.message)
        for number in (1, 2)
        for position, each in enumerate(results)
    ]
    assert not SqliteStorage.maintenance(path).verify().findings


def test_runs_with_the_checksum_of_older_versions_are_whole(path):
    """Until version 5 of the schema it was taken over rows, as JSON."""
    with SqliteStorage(path) as storage:
        storage.put_run(Run(id="a", source="s"), [TestResult(test="é", outcome="error", duration_s=1.5, message="m")])
        rows = b'["a","s","junit",0.0]', b'["\\u00e9",2,1.5,"m"]'
        storage._database.write(
            lambda connection: connection.execute("UPDATE runs SET crc32 = ?", (zlib.crc32(b"".join(rows)),)).fetchall()
        )
    assert not SqliteStorage.maintenance(path).verify().findings


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE results SET duration_s = 2",
        "UPDATE results SET message = 'n'",
        "UPDATE results SET outcome = 1",
        "UPDATE tests SET name = 'u'",
        "UPDATE runs SET started_s = 1",
    ],
)
def test_each_column_of_a_run_is_in_its_checksum(path, change):
    with SqliteStorage(path) as storage:
        storage.put_run(Run(id="a", source="s"), [TestResult(test="t", outcome="error", duration_s=1.5, message="m")])
        storage._database.write(lambda connection: connection.execute(change).fetchall())
    (finding,) = SqliteStorage.maintenance(path).verify().findings
    assert finding.check == "results"
    assert "wrong checksum" in finding.message


def break_(item, **fields):
    """Set fields that the class's validators would refuse."""
    broken = attrs.evolve(item)
    for name, value in fields.items():
        object.__setattr__(broken, name, value)
    return broken


GOOD_RUN = Run(id="a", source="s")
GOOD = TestResult(test="t", outcome="passed")


@pytest.mark.parametrize(
    ("run", "results", "error"),
    [
        (break_(GOOD_RUN, started_s=math.nan), [], NonFiniteError),
        (break_(GOOD_RUN, started_s="now"), [], InputError),
        (break_(GOOD_RUN, started_s=True), [], InputError),
        (break_(GOOD_RUN, id=3), [], InputError),
        (break_(GOOD_RUN, source="\ud800"), [], InputError),
        (None, [], InputError),
        (GOOD_RUN, [GOOD, None], InputError),
        (GOOD_RUN, [GOOD, break_(GOOD, duration_s=math.inf)], NonFiniteError),
        (GOOD_RUN, [GOOD, break_(GOOD, test=None)], InputError),
        (GOOD_RUN, [GOOD, break_(GOOD, message=b"x")], InputError),
        (GOOD_RUN, [GOOD, break_(GOOD, outcome="maybe")], InputError),
        (GOOD_RUN, [GOOD, break_(GOOD, outcome=["passed"])], InputError),
        (GOOD_RUN, [GOOD, break_(GOOD, duration_s=True)], InputError),
        (GOOD_RUN, [GOOD, break_(GOOD, duration_s=10**400)], NonFiniteError),
        (GOOD_RUN, [GOOD, break_(GOOD, test="\udcff")], InputError),
    ],
)
def test_a_bad_run_writes_nothing(storage, run, results, error):
    with pytest.raises(error) as caught:
        storage.put_run(run, results)
    assert caught.value.fix
    assert storage.count_results() == (0, 0)
    assert storage.put_run(GOOD_RUN, [GOOD])


@pytest.mark.parametrize("wrong", [-1, 1.5, "1", 2**63])
def test_after_run_is_checked(storage, wrong):
    with pytest.raises(InputError):
        storage.results(after_run=wrong)
