"""Small databases in the ancestor's layouts, sound and broken."""

from __future__ import annotations

import json
import os
import random
import shutil
import struct
import time
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from aqe_storage_sqlite import checksums, schema
from aqe_storage_sqlite.legacy import source, takeover
from aqe_storage_sqlite.storage import SqliteStorage

from aqe_core.contracts import Legacy, Pattern, TakesOver
from aqe_core.errors import CorruptStorageError, InputError, NotFoundError, StorageBusyError

SCHEMA = """
CREATE TABLE learning_experiences (id INTEGER PRIMARY KEY, agent_id TEXT NOT NULL, task_id TEXT, task_type TEXT,
    state TEXT, action TEXT, reward REAL, next_state TEXT, episode_id TEXT, metadata TEXT,
    created_at DATETIME, timestamp DATETIME);
CREATE INDEX experiences_agent ON learning_experiences (agent_id);
CREATE TABLE q_values (id INTEGER PRIMARY KEY, agent_id TEXT, state_key TEXT, action_key TEXT, q_value REAL,
    update_count INTEGER, metadata TEXT, last_updated DATETIME);
CREATE TABLE memory_entries (key TEXT, partition TEXT, value TEXT, metadata TEXT, created_at INTEGER,
    expires_at INTEGER, owner TEXT, access_level TEXT, team_id TEXT, swarm_id TEXT, PRIMARY KEY (key, partition));
CREATE TABLE patterns (id TEXT PRIMARY KEY, pattern TEXT UNIQUE, confidence REAL, metadata TEXT, created_at INTEGER,
    expires_at INTEGER, embedding BLOB);
CREATE TABLE quality_metrics (id TEXT PRIMARY KEY, timestamp TEXT, metric_name TEXT, metric_value REAL,
    dimensions TEXT);
CREATE TABLE concepts (id TEXT PRIMARY KEY, embedding BLOB, weight REAL);
CREATE TABLE pairs (a TEXT, b TEXT, PRIMARY KEY (a, b)) WITHOUT ROWID;
"""


def state(attempts, resources, complexity=0.5):
    return {
        "taskComplexity": complexity,
        "requiredCapabilities": ["x"],
        "contextFeatures": {},
        "previousAttempts": attempts,
        "availableResources": resources,
    }


def experience(number, *, agent="a", rng):
    before = state(number % 4, rng.random(), rng.random())
    after = {**before, "previousAttempts": number % 4 + 1, "availableResources": before["availableResources"] * 0.9}
    action = {"strategy": rng.choice("xyz"), "parallelization": rng.random(), "retryPolicy": "none"}
    at = "2026-01-06 09:38:42"
    return (agent, f"t{number}", "unit", *map(json.dumps, (before, action)), rng.random(), json.dumps(after), at, at)


def make(path, *, experiences=100, entries=(), script="", rng=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = rng or random.Random(1)
    with closing(apsw.Connection(str(path))) as old:
        old.execute(SCHEMA).fetchall()
        with old:
            old.executemany(
                "INSERT INTO learning_experiences (agent_id, task_id, task_type, state, action, reward, next_state, "
                "created_at, timestamp) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (experience(number, rng=rng) for number in range(experiences)),
            )
            old.executemany(
                "INSERT INTO memory_entries (key, partition, value, created_at, expires_at) VALUES (?, ?, ?, ?, ?)",
                entries,
            )
            old.execute(script).fetchall()
    return path


@pytest.fixture
def old(tmp_path):
    return tmp_path / "old" / ".agentic-qe" / "memory.db"


def snapshot(folder):
    return {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in sorted(folder.rglob("*")) if p.is_file()}


def counts(report):
    """Return (rows, converted, archived, skipped) over all files, having checked that they add up."""
    tables = [table for file in report["files"].values() for table in file["tables"].values()]
    for table in tables:
        assert table["rows"] == table["converted"] + table["archived"] + table["skipped"]
        assert sum(table["reasons"].values()) == table["archived"] + table["skipped"]
    return tuple(sum(table[what] for table in tables) for what in ("rows", "converted", "archived", "skipped"))


def content(path):
    """Return all rows of a storage but the times at which states were saved."""
    with closing(apsw.Connection(str(path))) as new:
        names = [name for (name,) in new.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")]
        found = {}
        for name in names:
            columns = ", ".join(
                f'"{row[1]}"'
                for row in new.execute(f"PRAGMA table_info('{name}')")
                if row[1] != "created_s" or name != "states"
            )
            if columns and "text_index" not in name:
                found[name] = sorted(map(repr, new.execute(f'SELECT {columns} FROM "{name}"')))
    return found


ROWS = """
INSERT INTO q_values VALUES
    (1, 'a', '0.5,0.1,0,0.5,1', 'x:0.5:none', 0.25, 3, '{"from":"tool"}', '2026-01-06 09:38:42'),
    (2, 'a', '0.5,0.1,0,0.5,1,0.3', 'x:0.5:none', 0.0, 1, NULL, '2026-01-06 09:38:42'),
    (3, 'a', '0.5,0.1,0,0.5,1', 'y:0.5:none', 0.0, 1, NULL, '2026-01-06 09:38:42'),
    (4, 'a', 'six,of,us,are,not,numbers', 'y', 0.0, 0, NULL, NULL),
    (5, NULL, 's', 'y', 0.0, 1, NULL, NULL);
INSERT INTO patterns VALUES
    ('p1', 'login:retry', 0.5, '{"agent_id":"a"}', 1767692322996, NULL, x'0000803f00000000'),
    ('p2', 'short blob', 0.5, '{broken', 1767692322, 1767692400000, x'010203'),
    ('p3', 'zero vector', 0.5, NULL, NULL, NULL, x'0000000000000000'),
    ('p4', 'another one', 0.5, NULL, NULL, NULL, x'0000803f0000803f'),
    ('p5', 'half a pair', 0.5, '{"x":"\\ud800"}', NULL, NULL, NULL),
    ('p6', 'too large', 0.5, '{"x":1e999}', NULL, NULL, NULL);
INSERT INTO quality_metrics VALUES
    ('m1', '2026-01-06T09:38:42.996Z', 'coverage', 0.8, '{"suite":"unit"}'),
    ('m2', 'never', 'coverage', 0.8, '{}'),
    ('m3', '2026-01-06T09:38:42.996Z', 'coverage', 'high', '{}');
INSERT INTO concepts VALUES ('c1', x'00ff', 9e999), ('c2', NULL, NULL);
INSERT INTO pairs VALUES ('a', 'b'), ('a', 'c');
"""
ENTRIES = [
    ("k", "default", '{"v":1}', 1000000000000, None),
    ("k", "other", "no json", 1000000000000, 1000000005000),
    ("dead", "default", "3", 1000000000000, 1000000001000),
    ("strange", "default", "4", 1000000000000, "some day"),
]


def test_every_row_is_converted_or_archived_and_nothing_else_changes(old, storage, tmp_path):
    make(old, entries=ENTRIES, script=ROWS)
    before = snapshot(tmp_path / "old")
    report = storage.take_over(tmp_path / "old")
    assert snapshot(tmp_path / "old") == before
    assert list(report["files"]) == [".agentic-qe/memory.db"]
    assert counts(report) == (100 + 5 + 4 + 6 + 3 + 2 + 2, 100 + 4 + 3 + 5 + 1, 1 + 1 + 1 + 2 + 2 + 2, 0)
    tables = report["files"][".agentic-qe/memory.db"]["tables"]
    assert tables["q_values"]["reasons"] == {"agent_id is NULL": 1}
    assert tables["quality_metrics"]["reasons"] == {
        "the time cannot be read": 1,
        "metric_value is no finite number": 1,
    }
    assert tables["memory_entries"]["reasons"] == {"expires_at cannot be read as a time": 1}
    assert tables["concepts"]["reasons"] == {takeover.NO_LAYOUT: 2}
    agent = report["q_values"].pop("a")
    assert report["q_values"] == {}
    assert (agent["stored"], agent["lost"], agent["verified"]) == (4, 1, None)
    assert 50 < agent["rebuilt"] <= 100


def test_what_was_taken_over_can_be_asked(old, storage, tmp_path):
    make(old, entries=ENTRIES, script=ROWS)
    storage.take_over(tmp_path / "old")
    assert isinstance(storage, TakesOver)
    view = storage.legacy()
    assert isinstance(view, Legacy)

    first, missing = view.find_patterns(["p1", "none"])
    assert missing is None
    assert (first.name, first.text, first.metadata["metadata"]) == ("login:retry", "login:retry", {"agent_id": "a"})
    assert first.metadata["created_s"] == 1767692322.996
    (short,) = view.find_patterns(["p2"])
    assert short.metadata["embedding"] == {"$blob": "AQID"}
    assert short.metadata["metadata"] == "{broken"
    assert view.count_patterns() == 5
    assert view.search_patterns([2.0, 0.0], 5) == [("p1", 1.0), ("p4", pytest.approx(0.5**0.5)), ("p3", 0.0)]
    assert view.search_patterns([1.0, 0.0, 0.0]) == []
    assert view.search_experiences([1.0]) == []
    for wrong in ([[1.0]], ["x"], [float("nan")]):
        with pytest.raises(InputError):
            view.search_patterns(wrong)

    assert view.partitions(now_s=1_000_000_004) == {"default": (2, 1), "other": (1, 1)}
    assert view.partitions(now_s=1_000_000_006) == {"default": (2, 1), "other": (1, 0)}
    assert view.entry("k")["value"] == {"v": 1}
    assert view.entry("dead", now_s=1_000_000_000)["value"] == 3
    assert view.entry("dead") is None
    assert view.entry("k", "other", now_s=0)["value"] == "no json"
    assert [entry["key"] for entry in view.entries("default", now_s=1_000_000_004)] == ["k"]
    assert len(list(view.entries(include_expired=True))) == 3

    assert [(m["name"], m["value"], m["at_s"]) for m in view.metrics("quality_metrics")] == [
        ("coverage", 0.8, 1767692322.996)
    ]
    assert next(view.metrics())["labels"] == {"id": "m1", "dimensions": {"suite": "unit"}}
    assert [row["data"] for row in view.archive("concepts")] == [
        {"id": "c1", "embedding": {"$blob": "AP8="}, "weight": {"$float": "inf"}},
        {"id": "c2", "embedding": None, "weight": None},
    ]
    assert len(list(view.archive())) == 9
    assert [row["data"]["b"] for row in view.archive("pairs")] == ["b", "c"]

    assert view.agents() == ["a"]
    assert len(list(view.experiences("a", origin="engine"))) == 100
    assert next(view.experiences())["at_s"] == 1767692322.0
    assert list(view.experiences("b")) == []
    (values,) = view.q_values("a")
    assert values["stored"]["0.5,0.1,0,0.5,1"]["x:0.5:none"] == {"value": 0.25, "visits": 3, "lost": False}
    assert values["stored"]["0.5,0.1,0,0.5,1,0.3"]["x:0.5:none"]["lost"]
    assert "1 of 4" in values["explanation"]
    assert view.q_values("nobody") == []
    assert view.learner_state("a", "stored").arrays["visits"].tolist() == [3, 1, 1, 1]
    with pytest.raises(NotFoundError):
        view.learner_state("nobody")
    assert view.report()["q_values"] == storage.take_over(tmp_path / "old")["q_values"]
    assert list(view.report()["files"]) == [str(old)]


def test_pages_of_rows_are_whole(old, storage, monkeypatch):
    monkeypatch.setattr("aqe_storage_sqlite.legacy.view._PAGE", 7)
    make(old, experiences=50)
    storage.take_over(old)
    assert [row["task"] for row in storage.legacy().experiences()] == [f"t{number}" for number in range(50)]


def test_other_layouts(tmp_path, storage):
    folder = tmp_path / "old"
    (folder / "data").mkdir(parents=True)
    with closing(apsw.Connection(str(folder / "data" / "fleet.db"))) as fleet:
        record = {"key": "k", "value": {"x": 1}, "namespace": "n", "ttl": 1000, "timestamp": 5}
        fleet.execute(
            "CREATE TABLE memory_store (id INTEGER PRIMARY KEY, key TEXT, value TEXT, namespace TEXT,"
            " expires_at DATETIME);"
            "CREATE TABLE patterns (id TEXT PRIMARY KEY, name TEXT, description TEXT, template TEXT, examples TEXT);"
            "INSERT INTO patterns VALUES ('p', 'retry', 'why', 'code()', '[\"a\"]');"
            "CREATE TABLE captured (id TEXT, agent_id TEXT, task_type TEXT, execution TEXT, context TEXT, outcome TEXT,"
            " embedding BLOB, created_at INTEGER);"
            "CREATE TABLE old_q (id TEXT, agent_id TEXT, state TEXT, action TEXT, value REAL, visits INTEGER);"
            "INSERT INTO old_q VALUES ('q', 'b', 's', 'x', 0.5, 2);"
            "CREATE TABLE speeds (metric TEXT, value REAL, unit TEXT, timestamp INTEGER);"
            "INSERT INTO speeds VALUES ('ms', 5, 'ms', 1767692322996);"
        ).fetchall()
        fleet.execute(
            "INSERT INTO memory_store VALUES (1, 'k', ?, 'n', '2026-01-06T09:38:42.996Z')", (json.dumps(record),)
        )
        fleet.executemany(
            "INSERT INTO captured VALUES (?, 'b', 'unit', '{}', '{}', ?, ?, 1767692322996)",
            [
                ("e1", '{"quality_score":0.75}', struct.pack("<2f", 1, 0)),
                ("e2", "broken", b"123"),
                ("e3", '{"quality_score":"good"}', None),
            ],
        )
    assert counts(storage.take_over(folder)) == (7, 7, 0, 0)
    view = storage.legacy()
    entry = view.entry("k", "n", now_s=0)
    assert (entry["value"], entry["expires_s"], entry["extra"]["record"]["ttl"]) == ({"x": 1}, 1767692322.996, 1000)
    (pattern,) = view.find_patterns(["p"])
    assert (pattern.name, pattern.text, pattern.docstring) == ("retry", "code()", "why")
    assert pattern.metadata == {"examples": ["a"]}
    assert view.search_experiences([1.0, 0.0]) == [("e1", 1.0)]
    assert [row["reward"] for row in view.experiences(origin="captured")] == [0.75, None, None]
    assert view.q_values("b")[0]["stored"] == {"s": {"x": {"value": 0.5, "visits": 2, "lost": False}}}


def test_ids_that_are_taken_are_told_apart(old, storage, tmp_path):
    make(old, experiences=0, script=ROWS)
    other = make(tmp_path / "other.db", experiences=0, script=ROWS.replace("login:retry", "another text"))
    storage.put_patterns("agentic-qe", [Pattern(id="p4", name="mine", text="mine")])
    storage.take_over(old)
    storage.take_over(other)
    view = storage.legacy()
    assert view.count_patterns() == 11
    assert view.find_patterns(["p4"])[0].name == "mine"
    assert view.find_patterns(["p1"])[0].text == "login:retry"
    assert view.find_patterns([f"p1@{other}#patterns"])[0].text == "another text"
    assert len(view.q_values("a")) == 2
    with pytest.raises(InputError, match="2 files"):
        view.learner_state("a", "stored")
    assert len(view.learner_state("a", "stored", file=str(old)).arrays["values"]) == 4


def test_again_adds_nothing_and_a_grown_file_only_what_is_new(old, path, tmp_path):
    make(old, entries=ENTRIES, script=ROWS)
    with SqliteStorage(path) as storage:
        report = storage.take_over(tmp_path / "old")
    first = content(path)
    with SqliteStorage(path) as storage:
        assert storage.take_over(tmp_path / "old") == report
    assert content(path) == first
    moved = tmp_path / "moved.db"
    shutil.copyfile(old, moved)
    with SqliteStorage(path) as storage:
        assert list(storage.take_over(moved)["files"].values()) == list(report["files"].values())
    assert content(path) == first
    with closing(apsw.Connection(str(old))) as grown:
        grown.execute("INSERT INTO concepts VALUES ('c3', NULL, 1)")
        grown.execute("UPDATE concepts SET weight = 5 WHERE id = 'c2'")
    with SqliteStorage(path) as storage:
        assert counts(storage.take_over(old))[0] == counts(report)[0] + 1
        assert [row["data"]["weight"] for row in storage.legacy().archive("concepts")] == [{"$float": "inf"}, 5.0, 1.0]
        assert len(list(storage.legacy().experiences())) == 100
        assert storage.legacy().count_patterns() == 5


def test_a_saved_table_verifies_the_rebuilt_values(old, storage):
    rng = random.Random(3)
    make(old, experiences=60, rng=rng)
    storage.take_over(old)
    table = storage.legacy().q_values("a")[0]["rebuilt"]
    for name, saved, wanted in (("right", table, True), ("wrong", {**table, "s": {"x": 1.0}}, False)):
        entry = ("phase2/learning/a/state", "learning", json.dumps({"agentId": "a", "qTable": saved}), 1, None)
        copy = make(old.with_name(f"{name}.db"), experiences=60, entries=[entry], rng=random.Random(3))
        assert storage.take_over(copy)["q_values"]["a"]["verified"] is wanted
    explanations = [values["explanation"] for values in storage.legacy().q_values("a")]
    assert ["to the last bit" in text for text in explanations] == [False, True, False]
    assert ["estimate" in text for text in explanations] == [False, False, True]


# -- files that are not as they should be -----------------------------------------------------------------------------


def test_what_is_no_sqlite_is_named(tmp_path, storage, path):
    folder = tmp_path / "old"
    folder.mkdir()
    storage.put_patterns("x", [Pattern(id="a", name="a", text="a")])
    (folder / "redb.db").write_bytes(b"redb\x1a\n" + bytes(100))
    (folder / "empty.db").touch()
    (folder / "garbage.db").write_bytes(b"garbage" * 100)
    (folder / "notes.txt").touch()
    with SqliteStorage(folder / "ours.db"):
        pass
    kinds = {"empty.db": "empty", "garbage.db": "unknown", "ours.db": "aqe", "redb.db": "redb"}
    assert storage.find_old(folder) == kinds
    report = storage.take_over(folder)
    assert {name: file["kind"] for name, file in report["files"].items()} == kinds
    assert all(file["problems"] and not file["tables"] for file in report["files"].values())
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(NotFoundError):
        storage.take_over(tmp_path / "nowhere")
    with pytest.raises(NotFoundError):
        storage.take_over(empty)


def test_a_file_without_rights_is_named(shared_folder, without_rights):
    secret = make(shared_folder / "secret.db")
    secret.chmod(0)
    with without_rights():
        assert source.find(secret) == [source.SourceFile(secret, "secret.db", "unreadable")]


def test_what_the_log_holds_is_read_and_the_log_left_alone(tmp_path, storage):
    folder = tmp_path / "old"
    make(folder / "telemetry.db", script="PRAGMA user_version = 0")
    with closing(apsw.Connection(str(folder / "telemetry.db"))) as writer:
        writer.execute("PRAGMA journal_mode = WAL").fetchall()
        writer.execute("INSERT INTO concepts VALUES ('in the log', NULL, NULL)")
        live = tmp_path / "live"
        shutil.copytree(folder, live)
    (live / "telemetry.db-shm").unlink()
    before = snapshot(live)
    assert {path.name for path in before} == {"telemetry.db", "telemetry.db-wal"}
    storage.take_over(live)
    assert snapshot(live) == before
    assert [row["data"]["id"] for row in storage.legacy().archive("concepts")] == ["in the log"]
    torn = live / "telemetry.db-wal"
    torn.write_bytes(torn.read_bytes()[:-2000])
    report = storage.take_over(live)
    assert counts(report) == (100, 100, 0, 0)


def test_a_hot_journal_is_rolled_back_in_the_copy(old, storage, tmp_path):
    make(old, experiences=2000)
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    with closing(apsw.Connection(str(old))) as writer:
        writer.execute("PRAGMA cache_size = 5").fetchall()
        writer.execute("BEGIN")
        writer.execute("UPDATE learning_experiences SET agent_id = 'wrong'")  # spills into the file
        shutil.copyfile(old, crashed / "memory.db")
        shutil.copyfile(f"{old}-journal", crashed / "memory.db-journal")
        writer.execute("ROLLBACK")
    assert b"wrong" in (crashed / "memory.db").read_bytes()
    before = snapshot(crashed)
    assert counts(storage.take_over(crashed)) == (2000, 2000, 0, 0)
    assert snapshot(crashed) == before
    assert storage.legacy().agents() == ["a"]


def leaf_pages(path, table):
    with closing(apsw.Connection(str(path))) as sound:
        sql = "SELECT pageno FROM dbstat WHERE name = ? AND pagetype = 'leaf' ORDER BY path"
        try:
            return [page for (page,) in sound.execute(sql, (table,))]
        except apsw.SQLError:
            pytest.skip("this SQLite has no dbstat")


def overwrite(path, pages, junk):
    with path.open("r+b") as file:
        for page in pages:
            file.seek((page - 1) * 4096)
            file.write(junk)


def test_rows_around_damaged_pages_are_rescued(old, storage):
    make(old, experiences=3000, script=ROWS)
    leaves = leaf_pages(old, "learning_experiences")
    assert len(leaves) > 100
    overwrite(old, (leaves[0], leaves[50], leaves[51], leaves[-1]), b"\x55" * 4096)
    report = storage.take_over(old)
    file = report["files"]["memory.db"]
    assert file["problems"]
    table = file["tables"]["learning_experiences"]
    assert table["rows"] == 3000  # the index still tells
    assert 0 < table["skipped"] <= 4 * 15
    assert table["reasons"] == {takeover.DAMAGED: table["skipped"]}
    tasks = [row["task"] for row in storage.legacy().experiences()]
    assert len(tasks) == len(set(tasks)) == table["converted"]
    assert storage.take_over(old) == report


def test_sparse_numbers_behind_damage_are_found(old, storage):
    make(old, experiences=500, script="UPDATE learning_experiences SET id = id * 100000 WHERE id > 200")
    leaves = leaf_pages(old, "learning_experiences")
    overwrite(old, leaves[len(leaves) // 2 : len(leaves) // 2 + 2], bytes(4096))
    table = storage.take_over(old)["files"]["memory.db"]["tables"]["learning_experiences"]
    assert table["rows"] == 500
    assert 0 < table["skipped"] <= 30


def test_a_table_without_any_count_says_so(old, storage):
    make(old, experiences=500, script="DROP INDEX experiences_agent")
    overwrite(old, leaf_pages(old, "learning_experiences")[3:4], b"\x55" * 4096)
    table = storage.take_over(old)["files"]["memory.db"]["tables"]["learning_experiences"]
    assert table["reasons"] == {takeover.DAMAGED_UNCOUNTED: 1}
    assert 480 < table["converted"] < 500


def test_text_that_is_not_utf8_is_kept_as_bytes(old, storage):
    make(old, experiences=3, script="UPDATE learning_experiences SET state = CAST(x'ff41' AS TEXT) WHERE id = 2")
    table = storage.take_over(old)["files"]["memory.db"]["tables"]["learning_experiences"]
    assert (table["converted"], table["archived"], table["reasons"]) == (2, 1, {"state is not text": 1})
    assert next(storage.legacy().archive())["data"]["state"] == {"$blob": "/0E="}


@pytest.mark.parametrize("seed", range(40))
def test_any_damage_gives_a_report(tmp_path, old, seed):
    rng = random.Random(seed)
    data = bytearray(make(old, experiences=300, entries=ENTRIES, script=ROWS).read_bytes())
    damage = rng.choice(("bits", "pages", "cut", "header", "zeros"))
    if damage == "bits":
        for _ in range(rng.choice((1, 10, 100))):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif damage == "cut":
        del data[rng.randrange(1, len(data)) :]
    elif damage == "header":
        data[rng.randrange(16, 100)] = rng.randrange(256)
    else:
        for _ in range(3):
            page = rng.randrange(1, len(data) // 4096) * 4096
            data[page : page + 4096] = rng.randbytes(4096) if damage == "pages" else bytes(4096)
    old.write_bytes(data)
    with SqliteStorage(tmp_path / "aqe.db", durability="normal") as storage:
        report = storage.take_over(old)
        counts(report)
        assert storage.legacy().report()["q_values"] == report["q_values"]
    assert old.read_bytes() == data
    assert [path.name for path in old.parent.iterdir()] == ["memory.db"]


def test_a_file_that_is_being_written_is_refused(old, storage, monkeypatch):
    make(old)
    stamps = iter(range(100))
    monkeypatch.setattr(source, "_stamp", lambda _: (0, next(stamps)))
    with pytest.raises(StorageBusyError):
        storage.take_over(old)


# -- interrupted ------------------------------------------------------------------------------------------------------

RUN = """
import sys
from pathlib import Path
from aqe_storage_sqlite.legacy import takeover
from aqe_storage_sqlite.storage import SqliteStorage
takeover.BATCH = 20
with SqliteStorage(Path(sys.argv[1]), durability="normal") as storage:
    print("go", flush=True)
    storage.take_over(Path(sys.argv[2]))
"""


def test_killed_anywhere_and_gone_on_with_the_content_is_the_same(old, path, tmp_path, run_python, monkeypatch):
    """AQE_MIGRATE_KILLS sets how often it is killed."""
    monkeypatch.setattr(takeover, "BATCH", 20)
    make(old, experiences=2000, entries=ENTRIES, script=ROWS)
    clean = tmp_path / "clean.db"
    started_s = time.monotonic()
    with SqliteStorage(clean, durability="normal") as storage:
        report = storage.take_over(tmp_path / "old")
    took_s = time.monotonic() - started_s
    rng = random.Random(5)
    kills = int(os.environ.get("AQE_MIGRATE_KILLS", "4"))
    for _ in range(kills):
        process = run_python(RUN, path, tmp_path / "old")
        assert process.stdout.readline() == "go\n"
        time.sleep(rng.uniform(0, took_s / kills))
        process.kill()
        process.wait()
    with SqliteStorage(path, durability="normal") as storage:
        assert storage.take_over(tmp_path / "old") == report
    assert content(path) == content(clean)


@pytest.mark.parametrize("at", range(0, 14, 2))
def test_an_error_between_batches_loses_nothing(old, path, tmp_path, monkeypatch, at):
    make(old, entries=ENTRIES, script=ROWS)
    clean = tmp_path / "clean.db"
    with SqliteStorage(clean, durability="normal") as storage:
        report = storage.take_over(old)
    left = iter(range(at))

    def store(*arguments, **options):
        next(left)  # raises StopIteration in the end
        return real(*arguments, **options)

    real = takeover.tables.store
    with SqliteStorage(path, durability="normal") as storage:
        with monkeypatch.context() as patch:
            patch.setattr(takeover, "BATCH", 13)
            patch.setattr(takeover.tables, "store", store)
            with pytest.raises((StopIteration, RuntimeError)):
                storage.take_over(old)
        assert storage.take_over(old) == report
    assert content(path) == content(clean)


def test_progress_is_told(old, storage):
    make(old, experiences=1)
    told = []
    storage.take_over(Path(old), progress=lambda *now: told.append(now))
    assert told[0] == ("memory.db", 0, 7)
    assert told[-1] == ("memory.db", 6, 7)


# -- other layouts ----------------------------------------------------------------------------------------------------

BEFORE = json.dumps(state(0, 0.8))
AFTER = json.dumps(state(1, 0.8 * 0.9))
ACTION = '{"strategy":"x","parallelization":0.5,"retryPolicy":"none"}'
V190 = f"""
CREATE TABLE learning_experiences (id INTEGER PRIMARY KEY, agent_id TEXT NOT NULL, task_id TEXT, task_type TEXT,
    state TEXT, action TEXT, reward REAL, next_state TEXT, episode_id TEXT, timestamp DATETIME);
CREATE TABLE q_values (id INTEGER PRIMARY KEY, agent_id TEXT, state_key TEXT, action_key TEXT, q_value REAL,
    update_count INTEGER, last_updated DATETIME);
CREATE TABLE patterns (id TEXT PRIMARY KEY, pattern TEXT UNIQUE, confidence REAL, usage_count INTEGER, metadata TEXT,
    ttl INTEGER, expires_at INTEGER, created_at INTEGER);
CREATE TABLE memory_entries (key TEXT, partition TEXT, value TEXT, metadata TEXT, created_at INTEGER,
    expires_at INTEGER, owner TEXT, access_level TEXT, PRIMARY KEY (key, partition));
INSERT INTO learning_experiences VALUES (1, 'a', 't', 'unit', '{BEFORE}', '{ACTION}', 1.5, '{AFTER}', NULL,
    '2026-01-06 09:38:42');
INSERT INTO q_values VALUES (1, 'a', '0.5,0.1,0,0.8,1', 'x:0.5:none', 0.25, 2, '2026-01-06 09:38:42');
INSERT INTO patterns VALUES ('p', 'unit:x', 0.5, 1, NULL, 0, NULL, 1767692322996);
INSERT INTO memory_entries VALUES ('k', 'default', '1', NULL, 1767692322996, NULL, 'system', 'private');
"""
MIGRATED = f"""
CREATE TABLE learning_experiences (id TEXT PRIMARY KEY, agent_id TEXT, state TEXT, action TEXT, reward REAL,
    next_state TEXT, metadata TEXT, created_at INTEGER);
CREATE TABLE q_values (id TEXT PRIMARY KEY, agent_id TEXT, state TEXT, action TEXT, value REAL, visits INTEGER,
    updated_at INTEGER);
CREATE TABLE patterns (id TEXT PRIMARY KEY, type TEXT, content TEXT, confidence REAL, occurrences INTEGER,
    metadata TEXT, created_at INTEGER, updated_at INTEGER);
CREATE TABLE memory_entries (id TEXT PRIMARY KEY, key TEXT, value TEXT, namespace TEXT, agent_id TEXT,
    access_level TEXT, expires_at INTEGER, created_at INTEGER, updated_at INTEGER);
INSERT INTO learning_experiences VALUES ('e', 'a', '{BEFORE}', '{ACTION}', 1.5, '{AFTER}', NULL, 1767692322);
INSERT INTO q_values VALUES ('q', 'a', '0.5,0.1,0,0.8,1', 'x:0.5:none', 0.25, 2, 1767692322);
INSERT INTO patterns VALUES ('p', 'unit', 'unit:x', 0.5, 1, NULL, 1767692322, 1767692322);
INSERT INTO memory_entries VALUES ('i', 'k', '1', 'default', 'system', 'private', NULL, 1767692322, 1767692322);
"""


@pytest.mark.parametrize("script", [V190, MIGRATED], ids=["written by 1.9.0", "made by migrations only"])
def test_the_layouts_of_other_versions_are_told_by_their_columns(old, storage, script):
    old.parent.mkdir(parents=True)
    with closing(apsw.Connection(str(old))) as connection:
        connection.execute(script).fetchall()
    report = storage.take_over(old)
    tables = report["files"]["memory.db"]["tables"]
    assert {name: table["converted"] for name, table in tables.items()} == dict.fromkeys(tables, 1)
    view = storage.legacy()
    (kept,) = view.experiences("a")
    assert (kept["reward"], kept["origin"], int(kept["at_s"])) == (1.5, "engine", 1767692322)
    (values,) = view.q_values("a")
    assert values["stored"]["0.5,0.1,0,0.8,1"]["x:0.5:none"] == {"value": 0.25, "visits": 2, "lost": False}
    assert values["rebuilt"]["0.5,0.1,0,0.8,1"]["x:0.5:none"] > 0
    assert (view.entry("k")["value"], int(view.entry("k")["created_s"])) == (1, 1767692322)
    assert view.find_patterns(["p"])[0].text == "unit:x"


# -- checksums --------------------------------------------------------------------------------------------------------

CHANGES = {
    "experiences": "reward = coalesce(reward, 0) + 1",
    "q_values": "visits = visits + 1",
    "entries": "value = 'null'",
    "metrics": "value = value + 0.5",
    "legacy_embeddings": "data = zeroblob(length(data))",
    "archive": "data = '{}'",
}


@pytest.mark.parametrize("table", schema.TAKEN_OVER)
def test_a_damaged_row_is_found_and_left_out_by_repair(old, path, table):
    make(old, experiences=3, entries=ENTRIES, script=ROWS)
    with SqliteStorage(path, durability="normal") as storage:
        storage.take_over(old)
    care = SqliteStorage.maintenance(path)
    assert care.verify().ok
    with closing(apsw.Connection(str(path))) as connection:
        source, row = connection.execute(f"SELECT source, row FROM {table} ORDER BY source, row").fetchone()
        connection.execute(f"UPDATE {table} SET {CHANGES[table]} WHERE (source, row) = (?, ?)", (source, row))
        count = connection.execute(f"SELECT count(*) FROM {table}").get
    (finding,) = (each for each in care.verify().findings if each.severity == "error")
    assert (finding.table, finding.row) == (table, f"source {source}, row {row}")
    with pytest.raises(CorruptStorageError, match="checksum is wrong"):
        care.backup()
    with SqliteStorage(path, read_only=True) as storage, pytest.raises(CorruptStorageError, match="wrong checksum"):
        ask(storage.legacy(), table)
    (lost,) = care.repair().lost
    assert (lost.table, lost.row) == (table, f"source {source}, row {row}")
    report = care.verify()
    assert report.ok
    assert report.rows[table] == count - 1


def ask(legacy, table):
    """Read everything of a table."""
    if table == "q_values":
        return [legacy.q_values(agent) for agent in legacy.agents()]
    if table == "legacy_embeddings":
        return [search([1.0] * 2, 9) for search in (legacy.search_patterns, legacy.search_experiences)]
    if table == "entries":
        return list(legacy.entries(include_expired=True))
    return list(getattr(legacy, table)())


def test_a_checksum_is_of_values_not_of_their_spelling():
    assert checksums.of_row([1, "a", None]) == checksums.of_row([1.0, "a", None])
    assert checksums.of_row([-0.0]) == checksums.of_row([0])
    assert checksums.of_row([2**60]) == checksums.of_row([float(2**60)])
    rows = [[1], [2], [1.5], ["1"], [None], [b"1"], [b"", "1"], ["1", b""], [float("inf")], [], ["1", None]]
    assert len({checksums.of_row(row) for row in rows}) == len(rows)
