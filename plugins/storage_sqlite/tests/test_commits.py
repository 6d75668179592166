"""Commits of anyone are told, by shared memory where there is some and by asking where there is none."""

from __future__ import annotations

import random
import subprocess
import sys

import apsw
import pytest
from aqe_storage_sqlite import commits
from aqe_storage_sqlite.commits import Commits, header_of
from aqe_storage_sqlite.storage import SqliteStorage

from aqe_core.contracts.records import Pattern


def connection(path, mode="wal"):
    made = apsw.Connection(str(path))
    made.execute(f"PRAGMA journal_mode = {mode}; PRAGMA wal_autocheckpoint = 0").fetchall()
    made.execute("CREATE TABLE IF NOT EXISTS t (x)")
    return made


def told(path):
    """Return a Commits on a connection of its own, past the first few questions."""
    reader = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    found = Commits(reader)
    for _ in range(commits._FEW):
        found.version()
    return found, reader


@pytest.mark.parametrize("seed", range(5))
def test_it_changes_where_the_answer_to_the_question_does(tmp_path, seed):
    rng = random.Random(seed)
    path = tmp_path / "a.db"
    writers = [connection(path), connection(path)]
    found, reader = told(path)
    assert header_of(reader) is not None
    peer = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    version, asked = found.version(), peer.execute("PRAGMA data_version").get
    for _ in range(60):
        writer = rng.choice(writers)
        match rng.randrange(6):
            case 0:
                assert writer.execute("SELECT count(*) FROM t").get >= 0
            case 1:
                writer.execute("BEGIN IMMEDIATE; INSERT INTO t VALUES (1); ROLLBACK")
            case 2:
                writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)  # the next commit begins the log anew
            case _:
                writer.execute("INSERT INTO t VALUES (randomblob(3000))")
        before = version, asked
        version, asked = found.version(), peer.execute("PRAGMA data_version").get
        assert (version != before[0]) == (asked != before[1])
        assert found.version() == version


def test_nothing_is_asked_while_nobody_commits(tmp_path):
    path = tmp_path / "a.db"
    writer = connection(path)
    found, reader = told(path)
    found.version()
    asked = []
    reader.exec_trace = lambda _, sql, __: asked.append(sql) or True
    found.version()
    assert asked == []
    writer.execute("INSERT INTO t VALUES (1)")
    found.version()
    found.version()
    assert asked == ["PRAGMA data_version"]


@pytest.mark.parametrize("mode", ["delete", "truncate"])
def test_without_a_log_it_asks(tmp_path, mode):
    path = tmp_path / "a.db"
    writer = connection(path, mode)
    found, reader = told(path)
    assert header_of(reader) is None
    version = found.version()
    assert found.version() == version
    writer.execute("INSERT INTO t VALUES (1)")
    assert found.version() != version


def test_a_file_system_without_shared_memory(tmp_path, monkeypatch):
    path = tmp_path / "a.db"
    connection(path)
    _, reader = told(path)

    class Refusing:
        execute = reader.execute

        def file_control(self, *_):
            raise apsw.SQLError("no such thing")

    assert header_of(Refusing()) is None
    monkeypatch.setattr(Refusing, "file_control", lambda *_: False)
    assert header_of(Refusing()) is None


_WRITE = """
import sys
from aqe_storage_sqlite.storage import SqliteStorage
from aqe_core.contracts.records import Pattern
with SqliteStorage(sys.argv[1]) as storage:
    storage.put_patterns("n", [Pattern(id="b", name="b", text="b")])
"""


def test_another_process(tmp_path):
    path = tmp_path / "aqe.db"
    with SqliteStorage(path) as storage:
        storage.put_patterns("n", [Pattern(id="a", name="a", text="a")])
        versions = [storage.data_version() for _ in range(3 * commits._FEW)]
        assert len({*versions}) == 1
        subprocess.run([sys.executable, "-c", _WRITE, str(path)], check=True)
        assert storage.data_version() != versions[-1]
        assert storage.count_patterns("n") == 2
