"""Calls that are put together do what they would do one after the other."""

from __future__ import annotations

import apsw
from aqe_storage_sqlite import patterns as pattern_table
from aqe_storage_sqlite import results as result_table
from aqe_storage_sqlite import schema, text_index
from hypothesis import given, settings
from hypothesis import strategies as st

from aqe_core.contracts import Pattern, Run, TestResult


def new_file():
    connection = apsw.Connection(":memory:")
    for number in range(len(schema.MIGRATIONS)):
        schema.apply(connection, number)
    return connection


PATTERNS = st.builds(
    Pattern,
    id=st.sampled_from("abcd"),
    name=st.sampled_from(["test_one", "testTwo"]),
    text=st.sampled_from(["alpha beta", "beta", "getURL"]),
    line=st.integers(0, 2),
    origin=st.sampled_from(["", "x.py", "y.py"]),
)
CALLS = st.lists(
    st.tuples(
        st.sampled_from("mn"), st.lists(PATTERNS, max_size=4), st.sampled_from([(), ("x.py",), ("x.py", "y.py")])
    ),
    min_size=1,
    max_size=8,
)


def to_call(namespace, patterns, complete):
    rows = pattern_table.to_rows(patterns)
    return pattern_table.Given(namespace, [pattern.id for pattern in patterns], rows, complete)


def content(connection):
    """Return all that a caller can see: rows, what search finds, and the last change of each key."""
    rows = connection.execute("SELECT * FROM patterns ORDER BY key").fetchall()
    found = [text_index.search(connection, space, "one two alpha beta url", 10) for space in "mn"]
    entries = [
        (key + i, namespace, written)
        for key, count, *rest in connection.execute("SELECT key, count, namespace, written FROM journal ORDER BY seq")
        for i, (namespace, written) in enumerate([rest] * count)
    ]
    return rows, found, {key: rest for key, *rest in entries}, len(entries)


@given(st.lists(CALLS, min_size=1, max_size=3))
@settings(max_examples=150, deadline=None)
def test_together_is_the_same_as_one_after_the_other(batches):
    one_by_one, together = new_file(), new_file()
    try:
        for batch in batches:
            calls = [to_call(*each) for each in batch]
            expected = [pattern_table.put(one_by_one, call) for call in calls]
            assert pattern_table.put_together(together, calls) == expected
        assert content(together) == content(one_by_one)
        assert text_index.is_whole(together)
    finally:
        one_by_one.close()
        together.close()


RESULTS = st.builds(
    TestResult,
    test=st.sampled_from("abcde"),
    outcome=st.sampled_from(["passed", "failed"]),
    duration_s=st.sampled_from([0.0, 1.5]),
    message=st.sampled_from(["", "no"]),
)
RUNS = st.lists(
    st.builds(
        result_table.encoded,
        st.builds(Run, id=st.sampled_from("klmn"), source=st.sampled_from("xy")),
        st.lists(RESULTS, max_size=4) | st.lists(RESULTS, min_size=101, max_size=103),
    ),
    min_size=1,
    max_size=5,
)


@given(st.lists(RUNS, min_size=1, max_size=3))
@settings(max_examples=100, deadline=None)
def test_runs_together_are_the_same_as_one_after_the_other(batches):
    one_by_one, together = new_file(), new_file()
    try:
        for batch in batches:
            expected = [result_table.put(one_by_one, each) for each in batch]
            assert result_table.put_together(together, batch) == expected
        for table in ("runs", "tests", "results"):
            sql = f"SELECT * FROM {table} ORDER BY 1, 2"
            assert together.execute(sql).fetchall() == one_by_one.execute(sql).fetchall()
    finally:
        one_by_one.close()
        together.close()
