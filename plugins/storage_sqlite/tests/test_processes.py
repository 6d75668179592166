"""Several threads, several processes, forks, Ctrl-C and kill -9."""

from __future__ import annotations

import os
import random
import signal
import threading
import time

import numpy as np
import pytest
from aqe_storage_sqlite import lock
from aqe_storage_sqlite.storage import SqliteStorage

from aqe_core.contracts import Pattern
from aqe_core.errors import StorageBusyError, StorageError

PRELUDE = """
import os, sys
from pathlib import Path
import numpy as np
from aqe_core.contracts import Pattern, Run, TestResult
from aqe_core.errors import StorageError
from aqe_core.state import EngineState
from aqe_storage_sqlite.storage import SqliteStorage
path = Path(sys.argv[1])
"""


def pattern(id_, text="t"):
    return Pattern(id=id_, name="n", text=text)


# -- several processes ------------------------------------------------------------------------------------------------

WRITER = (
    PRELUDE
    + """
name = sys.argv[2]
with SqliteStorage(path, durability="normal") as storage:
    print("open", flush=True)
    sys.stdin.readline()
    for i in range(60):
        storage.put_patterns("n", [Pattern(id=f"{name} {i}", name="n", text="t"),
                                   Pattern(id="shared", name="n", text=f"{name} {i}")])
        storage.put_run(Run(id=f"{name} {i}", source="s"), [TestResult(test="t", outcome="passed")])
"""
)


def test_processes_that_create_and_write_one_file_lose_nothing(path, run_python, check_sound):
    writers = [run_python(WRITER, path, number) for number in range(3)]
    for writer in writers:
        assert writer.stdout.readline() == "open\n", writer.stderr.read()
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        _, errors = writer.communicate(timeout=120)
        assert writer.returncode == 0, errors
    check_sound(path)
    with SqliteStorage(path, read_only=True) as storage:
        assert storage.count_patterns("n") == 3 * 60 + 1
        assert storage.count_results() == (3 * 60, 3 * 60)
        assert len(storage.results().tests) == 1
        # Each transaction noted its new pattern and the change of the shared one.
        assert storage.last_seq() == 2 * 3 * 60
        assert storage.changes_since("n", 0).written.size == 3 * 60 + 1


HOLDER = (
    PRELUDE
    + """
with SqliteStorage(path) as storage, storage._database.alone():
    print("held", flush=True)
    sys.stdin.readline()
"""
)


def test_the_holder_of_the_lock_is_named(storage, path, run_python):
    storage.put_patterns("n", [pattern("a")])
    holder = run_python(HOLDER, path)
    assert holder.stdout.readline() == "held\n"
    with SqliteStorage(path, timeout_s=0.05) as impatient:
        with pytest.raises(StorageBusyError, match=rf"locked by pid {holder.pid} on host .+ since 2\d\d\d-"):
            impatient.put_patterns("n", [pattern("b")])
        assert impatient.count_patterns("n") == 1  # readers do not wait
    holder.communicate("done\n", timeout=60)
    assert storage.put_patterns("n", [pattern("b")]).added == 1


def test_a_patient_writer_gets_its_turn(storage, path, run_python):
    holder = run_python(HOLDER, path)
    assert holder.stdout.readline() == "held\n"
    timer = threading.Timer(0.1, lambda: (holder.stdin.write("done\n"), holder.stdin.flush()))
    timer.start()
    assert storage.put_patterns("n", [pattern("b")]).added == 1
    timer.join()


def test_a_killed_holder_holds_nothing(storage, path, run_python):
    holder = run_python(HOLDER, path)
    assert holder.stdout.readline() == "held\n"
    holder.kill()
    holder.wait()
    assert storage.put_patterns("n", [pattern("b")]).added == 1


def test_who_has_just_written_queues_behind_who_waits(tmp_path):
    path = tmp_path / "aqe.db"
    greedy, patient, observer = lock.FileLock(path), lock.FileLock(path), lock.FileLock(path)
    greedy.acquire(0)
    waiting = threading.Thread(target=patient.acquire, args=(time.monotonic() + 60,))
    waiting.start()
    turn = observer._open(".turn")
    while lock._try_lock(turn):  # until the patient one stands first in the queue
        lock._unlock(turn)
        time.sleep(0.001)
    greedy.release()
    with pytest.raises(StorageBusyError):
        greedy.acquire(0)
    waiting.join(60)
    patient.release()
    greedy.acquire(0)
    for closing in (turn, greedy, patient):
        closing.close()


@pytest.mark.parametrize("record", [b"", b"{", b"null", b"[]", b'{"pid": 3}'])
def test_an_unreadable_holder(tmp_path, record):
    path = tmp_path / "aqe.db"
    one, two = lock.FileLock(path), lock.FileLock(path)
    one.acquire(0)
    (tmp_path / "aqe.db.lock").write_bytes(record)
    with pytest.raises(StorageBusyError, match="another process"):
        two.acquire(time.monotonic())
    one.release()
    two.acquire(0)
    one.close()
    two.close()
    two.close()


STRANGER = """
import sys, apsw
connection = apsw.Connection(sys.argv[1])
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.readline()
"""


def test_a_program_that_does_not_know_the_lock_file(path, run_python):
    with SqliteStorage(path, timeout_s=0.05) as storage:
        stranger = run_python(STRANGER, path)
        assert stranger.stdout.readline() == "held\n"
        with pytest.raises(StorageBusyError, match="does not use"):
            storage.put_patterns("n", [pattern("b")])
        stranger.communicate("done\n", timeout=60)
        assert storage.put_patterns("n", [pattern("b")]).added == 1


# -- kill -9 ----------------------------------------------------------------------------------------------------------

KILLED = (
    PRELUDE
    + """
start = int(sys.argv[2])
storage = SqliteStorage(path)
for i in range(start, start + 100_000):
    keys = storage.put_patterns("n", [Pattern(id=f"{i} {j}", name="n", text="t" * 300) for j in range(5)],
                                origins=["none"]).keys
    storage.put_vectors("n", keys, np.full((5, 16), i), "f")
    if i % 7 == 3:
        storage.remove_patterns("n", keys)
    storage.put_run(Run(id=str(i), source="s"), [TestResult(test=f"t{j}", outcome="failed") for j in range(3)])
    storage.save_state("s", EngineState(kind="k", manifest={}, arrays={"a": np.full(500, i)}), seq=i)
    print(i, flush=True)
"""
)


def test_kill_9_loses_nothing_that_was_acknowledged(path, run_python, check_sound):
    randomness = random.Random(7)
    start, acknowledged = 0, set()
    for _ in range(6):
        writer = run_python(KILLED, path, start)
        lines = [writer.stdout.readline()]
        stop = threading.Timer(randomness.uniform(0.01, 0.2), writer.kill)
        stop.start()
        lines += writer.stdout.read().splitlines(keepends=True)
        stop.join()
        assert writer.wait() == -signal.SIGKILL, writer.stderr.read()
        done = [int(line) for line in lines if line.endswith("\n")]
        acknowledged.update(done)
        start = done[-1] + 2  # the one after may be stored or not
        with SqliteStorage(path) as storage:
            for i in acknowledged:
                found = storage.find_patterns("n", [f"{i} {j}" for j in range(5)])
                assert [item is None for item in found] == [i % 7 == 3] * 5
            assert storage.known_runs(map(str, acknowledged)) == set(map(str, acknowledged))
            runs, results = storage.count_results()
            assert results == 3 * runs
            assert storage.count_patterns("n") % 5 == 0
            state, seq = storage.load_state("s")
            assert seq >= max(acknowledged)
            assert (state.arrays["a"] == seq).all()
            keys, vectors = storage.load_vectors("n", "f")
            assert len(keys) >= 5 * sum(i % 7 != 3 for i in acknowledged)
            assert (np.ptp(vectors, axis=1) == 0).all()
        check_sound(path)
    assert len(acknowledged) >= 6


# -- Ctrl-C -----------------------------------------------------------------------------------------------------------


INTERRUPTED = (
    PRELUDE
    + """
import faulthandler, random, signal
faulthandler.dump_traceback_later(90, exit=True)  # should it ever hang, say where
def interrupt(*_):
    raise KeyboardInterrupt
signal.signal(signal.SIGALRM, interrupt)
randomness = random.Random(3)
batch = [Pattern(id=str(i), name="n", text="t") for i in range(100)]
with SqliteStorage(path, timeout_s=5, durability="normal") as storage:
    for round_ in range(200):
        try:
            # Again and again: one that strikes while an object is being collected is swallowed by Python itself.
            signal.setitimer(signal.ITIMER_REAL, randomness.uniform(0.00005, 0.01), 0.1)
            while True:
                storage.put_patterns("n", batch)
                storage.remove_patterns("n", storage.pattern_keys("n"))
        except KeyboardInterrupt:
            signal.setitimer(signal.ITIMER_REAL, 0)
        assert storage.count_patterns("n") in {0, 100}
        assert storage.put_patterns("after", [Pattern(id=str(round_), name="n", text="t")]).added == 1
print("done")
"""
)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers that interrupt")
def test_ctrl_c_at_any_moment_rolls_back(path, run_python, check_sound):
    """An alarm raises KeyboardInterrupt in the midst of whatever runs, as Ctrl-C does."""
    assert run_python(INTERRUPTED, path).communicate(timeout=120) == ("done\n", "")
    check_sound(path)


def test_ctrl_c_inside_a_transaction(storage):
    def interrupted(connection):
        connection.execute("INSERT INTO namespaces (name) VALUES ('half')")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        storage._database.write(interrupted)
    assert storage.info()["counts"]["namespaces"] == 0
    assert storage.put_patterns("n", [pattern("a")]).added == 1


# -- threads ----------------------------------------------------------------------------------------------------------


def run_threads(*targets):
    failures = []

    def guarded(target):
        try:
            target()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(target,)) for target in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    if failures:
        raise failures[0]


def test_readers_beside_a_writer_see_whole_transactions(storage):
    ids = [str(i) for i in range(30)]
    keys = storage.put_patterns("n", [pattern(id_, "0") for id_ in ids]).keys
    done = threading.Event()
    seen = set()

    def write():
        try:
            for version in range(1, 60):
                storage.put_patterns("n", [pattern(id_, str(version)) for id_ in ids])
                storage.put_vectors("n", keys, np.full((30, 4), version), "f")
        finally:
            done.set()

    def read():
        newest = 0
        while True:
            last = done.is_set()
            texts = {item.text for item in storage.get_patterns("n", keys)}
            assert len(texts) == 1
            before, newest = newest, int(texts.pop())
            assert before <= newest
            seen.add(newest)
            loaded = storage.load_vectors("n", "f")[1]
            assert loaded.size == 0 or (loaded.shape == (30, 4) and np.ptp(loaded) == 0)
            if last:
                break
        assert newest == 59

    run_threads(write, read, read, read)
    assert len(seen) > 1


def test_threads_that_write_wait_for_each_other(storage):
    def write(name):
        return lambda: [storage.put_patterns("n", [pattern(f"{name} {i}")]) for i in range(40)]

    run_threads(*map(write, range(4)))
    assert storage.count_patterns("n") == storage.last_seq() == 160


def test_a_thread_that_writes_too_long(path):
    with SqliteStorage(path, timeout_s=0.05) as storage:

        def write():
            with pytest.raises(StorageBusyError, match="another thread"):
                storage.put_patterns("n", [pattern("a")])
            assert storage.count_patterns("n") == 0  # readers do not wait

        with storage._database.alone():
            run_threads(write)
        assert storage.put_patterns("n", [pattern("a")]).added == 1


def test_a_write_inside_a_write_is_refused(storage):
    def outer(connection):
        connection.execute("INSERT INTO namespaces (name) VALUES ('n')")
        for inner in (lambda: storage.put_patterns("n", [pattern("a")]), storage.close):
            with pytest.raises(StorageError, match="inside"):
                inner()
        assert connection.in_transaction

    storage._database.write(outer)
    assert storage.info()["counts"]["namespaces"] == 1
    with storage._database.alone(), pytest.raises(StorageError, match="inside another"):
        storage.put_patterns("n", [pattern("a")])


# -- forks ------------------------------------------------------------------------------------------------------------

LEAVE_A_LOG = (
    PRELUDE
    + """
storage = SqliteStorage(path)
storage.put_patterns("n", [Pattern(id="of the dead", name="n", text="t")])
os._exit(0)
"""
)

FORKED = (
    PRELUDE
    + """
storage = SqliteStorage(path, timeout_s=1)
storage.put_patterns("n", [Pattern(id="a", name="n", text="t")])
storage.data_version()
if (child := os.fork()) == 0:
    for use in (lambda: storage.count_patterns("n"), lambda: storage.put_patterns("n", []), storage.data_version):
        try:
            use()
        except StorageError as error:
            assert "fork" in str(error), error
        else:
            os._exit(3)
    if sys.argv[2] == "close":
        storage.close()
    with SqliteStorage(path) as own:
        own.put_patterns("n", [Pattern(id="child", name="n", text="t")])
    print("child\\n", end="", flush=True)  # at once, as both print to one pipe
    sys.stdin.readline()
    sys.exit()  # with all destructors
storage.put_patterns("n", [Pattern(id="parent", name="n", text="t")])
storage.close()
print("parent\\n", end="", flush=True)
os.waitpid(child, 0)
"""
)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("ending", ["close", "leave"])
def test_a_forked_child_opens_anew_and_leaves_the_file_alone(path, run_python, check_sound, ending):
    """The child's copies of the connections must not be closed.

    When the parent is gone they would believe that they are the last ones, and remove the log that another process,
    here one that died, has begun since.
    """
    process = run_python(FORKED, path, ending)
    assert {process.stdout.readline(), process.stdout.readline()} == {"parent\n", "child\n"}, process.stderr.read()
    died = run_python(LEAVE_A_LOG, path)
    assert died.wait() == 0
    process.communicate("end\n", timeout=60)
    assert process.returncode == 0
    with SqliteStorage(path, read_only=True) as storage:
        assert storage.count_patterns("n") == 4
    check_sound(path)


ABANDONED = (
    PRELUDE
    + """
storage = SqliteStorage(path)
storage.put_patterns("n", [Pattern(id="a", name="n", text="t")])
with storage._database.alone():
    if os.fork() == 0:
        print("child", flush=True)
        sys.stdin.readline()
        os._exit(0)
    os.kill(os.getpid(), 9)
"""
)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_does_not_inherit_the_lock(path, run_python):
    parent = run_python(ABANDONED, path)
    assert parent.stdout.readline() == "child\n"
    parent.wait()
    with SqliteStorage(path, timeout_s=2) as storage:
        assert storage.put_patterns("n", [pattern("b")]).added == 1
    parent.stdin.write("done\n")
    parent.stdin.flush()


AUDITED = (
    PRELUDE
    + """
opened = []
sys.addaudithook(lambda event, arguments: opened.append((event, str(arguments[0])))
                 if event in {"open", "sqlite3.connect"} else None)
with SqliteStorage(path) as storage:
    keys = storage.put_patterns("n", [Pattern(id="a", name="n", text="t")]).keys
    storage.put_vectors("n", keys, np.ones((1, 3)), "f")
    storage.load_vectors("n", "f")
    storage.info()
with SqliteStorage(path, read_only=True) as storage:
    storage.data_version()
assert any(name.endswith(".lock") for _, name in opened), opened
print([event for event in opened if event[1] in (str(path), str(path) + "-wal", str(path) + "-shm")])
"""
)


def test_nothing_but_apsw_opens_the_file(path, run_python):
    """Closing any other handle of the file would drop SQLite's locks in this process."""
    assert run_python(AUDITED, path).communicate(timeout=60) == ("[]\n", "")
