"""Rows that the ancestor never wrote, and that another program may have left in its files."""

from __future__ import annotations

import json
from contextlib import closing

import apsw
import pytest
from aqe_storage_sqlite.legacy import takeover
from aqe_storage_sqlite.legacy.javascript import as_json, parse_json
from aqe_storage_sqlite.storage import SqliteStorage

LEAST, MOST = -(2**63), 2**63 - 1


@pytest.fixture
def old(tmp_path):
    return tmp_path / "memory.db"


def run(path, *statements):
    with closing(apsw.Connection(str(path))) as connection:
        for sql, *values in statements:
            connection.execute(sql, values).fetchall()


def take_over(storage, path):
    """Take a file over; return the counts of its tables, which must add up and match what can be asked."""
    report = storage.take_over(path)
    tables = report["files"][path.name]["tables"]
    view = storage.legacy()
    kept = [row["table"] for rows in (view.experiences(), view.metrics(), view.archive()) for row in rows]
    kept += [row["table"] for row in view.entries(include_expired=True)]
    kept += ["patterns"] * view.count_patterns()
    for name, counts in tables.items():
        assert counts["rows"] == counts["converted"] + counts["archived"] + counts["skipped"]
        assert kept.count(name) == counts["converted"] + counts["archived"], name
    return tables


def test_the_least_and_the_greatest_row_numbers_are_read(old, storage):
    numbers = [LEAST, LEAST + 1, -5, 0, MOST]
    run(old, ("CREATE TABLE t (id INTEGER PRIMARY KEY, a)",), *(("INSERT INTO t VALUES (?, 1)", n) for n in numbers))
    assert take_over(storage, old)["t"]["archived"] == len(numbers)
    assert [row["data"]["id"] for row in storage.legacy().archive("t")] == numbers


def test_of_patterns_with_one_id_the_first_is_converted(old, path, monkeypatch):
    monkeypatch.setattr(takeover, "BATCH", 2)
    run(
        old,
        ("CREATE TABLE patterns (id TEXT, pattern TEXT, confidence REAL)",),
        ("INSERT INTO patterns VALUES ('d', 'one', 1), ('e', 'two', 1), ('d', 'three', 1), ('f', 'four', 1)",),
        ("INSERT INTO patterns VALUES ('d', 'five', 1), ('g', 'six', 1)",),
    )
    with SqliteStorage(path) as storage:
        monkeypatch.setattr(takeover.tables, "end_table", lambda *_: 1 / 0)  # cut off behind the last batch
        with pytest.raises(ZeroDivisionError):
            storage.take_over(old)
    monkeypatch.undo()
    run(path, ("UPDATE legacy_tables SET last_row = 2, counts = ?", json.dumps({"converted": 2})))
    with SqliteStorage(path) as storage:
        counts = take_over(storage, old)["patterns"]
        found = storage.legacy().find_patterns(["d", "e", "f", "g"])
        assert [pattern.text for pattern in found] == ["one", "two", "four", "six"]
        assert [row["data"]["pattern"] for row in storage.legacy().archive()] == ["three", "five"]
    assert (counts["converted"], counts["archived"], counts["reasons"]) == (4, 2, {"another row has its id": 2})


@pytest.mark.parametrize("encoding", ["UTF-8", "UTF-16le", "UTF-16be"])
@pytest.mark.parametrize("without", ["", "WITHOUT ROWID"])
def test_text_that_is_not_unicode_is_kept_as_bytes_and_hides_no_row(old, storage, encoding, without):
    broken = "a\ud800".encode(encoding, "surrogatepass") + (b"\xff" if encoding == "UTF-8" else b"")
    run(
        old,
        (f"PRAGMA encoding = '{encoding}'",),
        (f"CREATE TABLE t (id TEXT PRIMARY KEY NOT NULL, a) {without}",),
        ("INSERT INTO t VALUES ('1', 'good'), ('2', CAST(? AS TEXT)), ('3', 'ü')", broken),
    )
    assert take_over(storage, old)["t"] == {
        "rows": 3,
        "converted": 0,
        "archived": 3,
        "skipped": 0,
        "reasons": {"no table of ours holds these": 3},
    }
    first, second, third = (row["data"]["a"] for row in storage.legacy().archive())
    assert (first, list(second), third) == ("good", ["$blob"], "ü")


@pytest.mark.parametrize("depth", [99, 100, 101, 400, 900, 5000])
@pytest.mark.parametrize("inner", ["1", "1e999"])
def test_deep_nesting_is_kept_as_text(old, storage, depth, inner):
    for deep in ("[" * depth + inner + "]" * depth, '{"a":' * depth + inner + "}" * depth):
        try:
            value = parse_json(deep)
        except ValueError:
            assert depth > 100
        else:
            assert depth <= 100
            assert json.loads(as_json(value)) == value or inner != "1"
    run(
        old,
        ("CREATE TABLE IF NOT EXISTS memory_entries (key TEXT, partition TEXT, value TEXT, metadata TEXT)",),
        ("INSERT INTO memory_entries VALUES ('k', 'default', ?, ?)", deep, deep),
    )
    assert take_over(storage, old)["memory_entries"]["converted"] == 1
    kept = storage.legacy().entry("k")
    assert isinstance(kept["extra"]["metadata"], str if depth > 100 else dict)
    assert isinstance(kept["value"], str if depth > 100 else dict)


def test_a_time_in_milliseconds_is_a_tools_a_time_in_seconds_the_engines(old, storage):
    before = {"taskComplexity": 0.5, "requiredCapabilities": [], "previousAttempts": 0, "availableResources": 0.8}
    after = {**before, "previousAttempts": 1, "availableResources": 0.8 * 0.9}
    action = {"strategy": "s", "parallelization": 0.5, "retryPolicy": "none"}
    times = [1767692322996, 1767692322, "2026-01-06 09:38:42", "2026-01-06T09:38:42.996Z", None]
    run(
        old,
        ("CREATE TABLE learning_experiences (agent_id, state, action, reward REAL, next_state, timestamp DATETIME)",),
        *(
            (
                "INSERT INTO learning_experiences VALUES ('a', ?, ?, 1, ?, ?)",
                *map(json.dumps, (before, action, after)),
                at,
            )
            for at in times
        ),
    )
    take_over(storage, old)
    assert [row["origin"] for row in storage.legacy().experiences()] == ["tool", "engine", "engine", "engine", "engine"]


ENTRIES = "CREATE TABLE memory_entries (key TEXT, partition TEXT, value TEXT, PRIMARY KEY (key, partition))"


def test_a_changed_file_is_read_anew_and_what_it_lacks_now_is_forgotten(old, storage):
    run(
        old,
        (ENTRIES,),
        ("INSERT INTO memory_entries VALUES ('a', 'p', '1'), ('b', 'p', '2'), ('c', 'p', '3')",),
        ("CREATE TABLE gone (a)",),
        ("INSERT INTO gone VALUES (1)",),
    )
    assert set(take_over(storage, old)) == {"gone", "memory_entries"}
    run(
        old,
        ("INSERT OR REPLACE INTO memory_entries VALUES ('a', 'p', '4')",),  # which moves it behind the others
        ("UPDATE memory_entries SET value = NULL WHERE key = 'b'",),  # which no entry can be
        ("DELETE FROM memory_entries WHERE key = 'c'",),
        ("DROP TABLE gone",),
    )
    counts = take_over(storage, old)
    assert {name: (table["converted"], table["archived"]) for name, table in counts.items()} == {
        "memory_entries": (1, 1)
    }
    assert [(entry["key"], entry["value"]) for entry in storage.legacy().entries()] == [("a", 4)]
    assert [row["data"]["key"] for row in storage.legacy().archive()] == ["b"]
    assert list(storage.legacy().report()["files"][str(old)]["tables"]) == ["memory_entries"]


def test_a_file_that_was_damaged_since_takes_nothing_away(old, storage):
    rows = [("INSERT INTO memory_entries VALUES (?, 'p', '1')", f"key{number}" * 9) for number in range(200)]
    run(old, (ENTRIES,), *rows)
    take_over(storage, old)
    old.write_bytes(old.read_bytes()[:8192])
    report = storage.take_over(old)["files"]["memory.db"]
    assert report["problems"]
    assert len(list(storage.legacy().entries())) == 200
