"""What the other processes of the benchmark do, done in this one."""

from __future__ import annotations

import io
import json
from contextlib import closing

import apsw
import pytest
from aqe_storage_sqlite import bench_processes, bench_worker, peer
from aqe_storage_sqlite.storage import SqliteStorage

from aqe_core.contracts import Pattern


@pytest.fixture
def told(capsys, monkeypatch):
    """Runs a task in this process; returns what it printed when it was done."""

    def run(task, path, given=0.0, lines="\n\n"):
        monkeypatch.setattr("sys.stdin", io.StringIO(lines))
        bench_worker.main([task, str(path), str(given)])
        ready, answer = capsys.readouterr().out.splitlines()
        assert ready == "ready"
        return json.loads(answer)

    return run


def test_writing_one_by_one(told, path):
    assert len(told("write", path, 0.0)) == 1  # at least one, however short the time
    with SqliteStorage(path) as storage:
        before = storage.count_patterns("default")
    taken_s = told("write", path, 0.05)
    with SqliteStorage(path) as storage:
        assert storage.count_patterns("default") in {len(taken_s), before + len(taken_s)}  # ids are the process's


def test_writing_one_by_one_with_sqlite_alone(told, path):
    taken_s = told("write_directly", peer.create(path), 0.05)
    with closing(apsw.Connection(str(path))) as connection:
        assert connection.execute("SELECT count(*) FROM t").get == len(taken_s) > 0


def test_writing_in_bulk_until_told(told, path):
    found = told("bulk", path)
    with SqliteStorage(path) as storage:
        assert storage.count_patterns("bulk") == found["rows"]
    assert found["rows"] == 0 or found["log_bytes"] > found["longest_s"] > 0


def test_a_log_that_is_left(told, path, monkeypatch):
    with SqliteStorage(path) as storage:
        storage.put_patterns("default", [Pattern(id="a", name="n", text="t")])
    ended = []
    monkeypatch.setattr("os._exit", ended.append)
    assert told("leave_log", path, 3e6) >= 3e6
    assert ended == [1]


@pytest.mark.parametrize("directly", [False, True])
def test_recovery_after_a_process_has_ended(path, directly):
    with SqliteStorage(path) as storage:
        storage.put_patterns("default", [Pattern(id="a", name="n", text="t")])
    log = path.with_name(path.name + "-wal")
    assert bench_processes.recovery_ms(path, "a", 2e6, directly=directly) > 0
    assert not log.exists()
    with SqliteStorage(path) as storage, storage._database.read() as connection:
        assert connection.execute("SELECT count(*) FROM filler").get >= 2  # what it had committed is there


def test_a_process_that_does_not_start(tmp_path):
    with pytest.raises(RuntimeError, match="'write' ended with 1"):
        bench_processes.fairness(tmp_path / "nowhere" / "aqe.db", 0.0)
