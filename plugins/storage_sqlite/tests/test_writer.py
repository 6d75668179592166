"""Group commit: what shares a transaction, what fails alone, who waits for whom."""

from __future__ import annotations

import dis
import functools
import sys
import threading
import time

import apsw
import pytest
from aqe_storage_sqlite import patterns as pattern_table
from aqe_storage_sqlite import writer as writer_module
from aqe_storage_sqlite.storage import SqliteStorage

from aqe_core.contracts import Pattern
from aqe_core.errors import InputError, StorageBusyError, StorageError


def insert(connection, name):
    connection.execute("INSERT INTO namespaces (name) VALUES (?)", (name,))
    return name


def names(storage):
    with storage._database.read() as connection:
        return {name for (name,) in connection.execute("SELECT name FROM namespaces")}


def until(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


class Callers:
    """Threads that each do one write, queued in order while somebody else has the connection."""

    def __init__(self, storage):
        self.storage = storage
        self.outcomes = {}
        self.threads = []
        self.commits = 0
        self.transactions = []

    def add(self, key, operation, *arguments):
        def call():
            try:
                self.outcomes[key] = self.storage._database.write(operation, *arguments)
            except BaseException as error:
                self.outcomes[key] = error

        thread = threading.Thread(target=call)
        queue = self.storage._database._writer._queue
        waiting = len(queue)
        thread.start()
        until(lambda: len(queue) > waiting)
        self.threads.append(thread)

    def count(self):
        self.commits += 1
        return False

    def join(self):
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive()


@pytest.fixture
def together(storage):
    """Queue writes, then let them go."""
    callers = Callers(storage)

    def run(*operations):
        with storage._database.alone() as connection:
            connection.set_commit_hook(callers.count)
            for key, (operation, *arguments) in enumerate(operations):
                callers.add(key, operation, *arguments)
        callers.join()
        return callers

    return run


def test_what_is_queued_shares_one_commit(storage, together):
    callers = together(*((insert, f"n{i}") for i in range(20)))
    assert callers.commits == 1
    assert callers.outcomes == {i: f"n{i}" for i in range(20)}
    assert names(storage) == {f"n{i}" for i in range(20)}


def test_a_batch_has_a_limit(storage, together, monkeypatch):
    monkeypatch.setattr(writer_module, "MAX_BATCH", 4)
    assert together(*((insert, f"n{i}") for i in range(10))).commits == 3
    assert len(names(storage)) == 10


def fail(connection, error):
    insert(connection, "half")
    raise error


@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize(
    ("raised", "seen"),
    [
        (ValueError("mine"), ValueError),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (InputError("x", fix="y"), InputError),
        (OverflowError("x"), InputError),
        (apsw.SQLError("x"), StorageError),
    ],
)
def test_an_operation_fails_alone(storage, together, position, raised, seen):
    operations = [(insert, "a"), (insert, "b")]
    operations.insert(position, (fail, raised))
    outcomes = together(*operations).outcomes
    assert type(outcomes.pop(position)) is seen
    assert sorted(outcomes.values()) == ["a", "b"]
    assert names(storage) == {"a", "b"}


def put_from_threads(storage, calls):
    """Queue calls of `put_patterns`, let them go at once, and return what came of each by its position."""
    outcomes = {}

    def call(position, patterns):
        try:
            outcomes[position] = storage.put_patterns("n", patterns)
        except BaseException as error:
            outcomes[position] = error

    threads = [threading.Thread(target=call, args=each) for each in enumerate(calls)]
    with storage._database.alone():
        for number, thread in enumerate(threads, 1):
            thread.start()
            until(lambda: len(storage._database._writer._queue) == number)  # noqa: B023  # waited for here
    for thread in threads:
        thread.join(60)
    return outcomes


def test_patterns_of_many_callers_are_put_with_the_statements_of_one(storage, monkeypatch):
    put = pattern_table.put_together
    sizes = []
    monkeypatch.setattr(pattern_table, "put_together", lambda on, calls: sizes.append(len(calls)) or put(on, calls))
    outcomes = put_from_threads(storage, [[Pattern(id=f"{i}", name="n", text="t")] for i in range(20)])
    assert sizes == [20]
    keys = [outcomes[i].keys.tolist() for i in range(20)]
    assert [found.id for found in storage.get_patterns("n", [key for (key,) in keys])] == [str(i) for i in range(20)]


def test_a_put_that_fails_among_others_fails_alone(storage):
    calls = [[Pattern(id=f"{i}", name="n", text="\ud800" if i == 3 else "t")] for i in range(8)]
    outcomes = put_from_threads(storage, calls)
    assert type(outcomes.pop(3)) is InputError
    assert all(outcome.added == 1 for outcome in outcomes.values())
    assert storage.count_patterns("n") == 7


def test_other_operations_keep_their_place_among_puts(storage):
    """What was queued first is written first, whether it can be put together with others or not."""
    seen = []
    with storage._database.alone():
        threads = []
        for number in range(6):

            def work(number=number):
                if number in {2, 3}:
                    storage._database.write(lambda on: seen.append(on.execute("SELECT count(*) FROM patterns").get))
                else:
                    storage.put_patterns("n", [Pattern(id=f"{number}", name="n", text="t")])

            threads.append(threading.Thread(target=work))
            threads[-1].start()
            until(lambda: len(storage._database._writer._queue) == number + 1)  # noqa: B023  # waited for here
    for thread in threads:
        thread.join(60)
    assert seen == [2, 2]
    assert storage.count_patterns("n") == 4


def give_up(connection):
    connection.execute("ROLLBACK")
    raise apsw.FullError("as SQLite does after some errors")


def test_an_operation_that_undoes_the_transaction(storage, together):
    outcomes = together((insert, "a"), (insert, "b"), (give_up,), (insert, "c")).outcomes
    error = outcomes.pop(2)
    assert type(error) is StorageError
    assert "full" in str(error)
    assert sorted(outcomes.values()) == sorted(names(storage)) == ["a", "b", "c"]


def test_operations_that_fail_when_they_run_again(storage, together):
    """Alone if they can be undone alone; otherwise those that share the transaction are told."""
    times = []

    def second_time(connection, undo):
        times.append(insert(connection, f"x{undo}"))
        if times.count(f"x{undo}") == 2:
            undo(connection)

    def mine(_):
        raise ValueError("mine")

    outcomes = together((insert, "a"), (second_time, mine), (give_up,), (insert, "c")).outcomes
    assert [type(outcomes[key]) for key in (1, 2)] == [ValueError, StorageError]
    assert names(storage) == {"a", "c"}

    outcomes = together((insert, "d"), (second_time, give_up), (insert, "e"), (fail, ValueError("x"))).outcomes
    assert [type(outcomes[key]) for key in range(4)] == [StorageError, StorageError, StorageError, ValueError]
    assert len({id(outcomes[key]) for key in range(3)}) == 3
    assert names(storage) == {"a", "c"}


def test_a_commit_that_fails(storage):
    callers = Callers(storage)
    with storage._database.alone() as connection:
        connection.set_commit_hook(lambda: True)
        for name in "abc":
            callers.add(name, insert, name)
    callers.join()
    assert all(type(error) is StorageError for error in callers.outcomes.values())
    assert len({id(error) for error in callers.outcomes.values()}) == 3
    assert names(storage) == set()
    storage._database._writer.connection.set_commit_hook(None)
    assert storage._database.write(insert, "a") == "a"


def test_who_gave_up_is_passed_over(path):
    with SqliteStorage(path, timeout_s=0.05) as storage:
        callers = Callers(storage)
        with storage._database.alone():
            callers.add("late", insert, "late")
            until(lambda: callers.outcomes)
            assert type(callers.outcomes["late"]) is StorageBusyError
        assert storage._database.write(insert, "next") == "next"
        assert names(storage) == {"next"}


def test_a_borrower_who_gave_up_is_passed_over(path):
    with SqliteStorage(path, timeout_s=0.05) as storage:

        def borrow():
            with pytest.raises(StorageBusyError), storage._database.alone():
                pass

        with storage._database.alone():
            thread = threading.Thread(target=borrow)
            thread.start()
            thread.join(60)
        assert storage._database.write(insert, "next") == "next"


def test_what_a_borrower_leaves_open_is_rolled_back(storage):
    with storage._database.alone() as connection:
        connection.execute("BEGIN")
        insert(connection, "half")
    assert storage._database.write(insert, "whole") == "whole"
    assert names(storage) == {"whole"}


def test_slow_commits_make_it_wait_for_those_just_served(storage, monkeypatch):
    monkeypatch.setattr(writer_module, "_LONGEST_LINGER_S", 60)
    writer = storage._database._writer
    writer._commit_s, writer._expected = 1_000.0, 2
    callers = Callers(storage)
    writer.connection.set_commit_hook(callers.count)
    callers.add("a", insert, "a")
    assert storage._database.write(insert, "b") == "b"
    callers.join()
    assert callers.commits == 1
    assert names(storage) == {"a", "b"}


def put_again_and_again(storage, callers=8, times=30):
    """Put patterns from threads that come back at once; return what was raised."""
    raised = []

    def work(number):
        try:
            for i in range(times):
                report = storage.put_patterns("n", [Pattern(id=f"{number} {i}", name="n", text="t")])
                assert report.added == 1
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert storage.count_patterns("n") == callers * times
    return raised


def test_callers_who_return_are_told_in_turn(storage, monkeypatch):
    for name in ("_RETURN_S", "_LONGEST_RETURN_S"):  # so that they do, on a busy machine too
        monkeypatch.setattr(writer_module, name, 0.5)
    tell, tellers = writer_module.Writer._tell, []
    monkeypatch.setattr(writer_module.Writer, "_tell", lambda self, n: tellers.append(get_ident()) or tell(self, n))
    get_ident = threading.get_ident
    assert put_again_and_again(storage) == []
    assert len(set(tellers)) > 2
    assert not storage._database._writer._untold
    assert not storage._database._writer._taken


def test_who_tells_nobody_keeps_nobody_waiting(storage, monkeypatch):
    """The thread that writes tells those who are left."""
    tell = writer_module.Writer._tell

    def keep(self, n):
        if threading.get_ident() in writers:
            tell(self, n)

    writers = set()
    work = writer_module.Writer._work
    monkeypatch.setattr(writer_module.Writer, "_work", lambda self: writers.add(threading.get_ident()) or work(self))
    monkeypatch.setattr(writer_module.Writer, "_tell", keep)
    began_s = time.monotonic()
    assert put_again_and_again(storage, times=5) == []
    assert time.monotonic() - began_s < storage._database.timeout_s  # nobody gave up waiting
    assert not storage._database._writer._untold


def test_who_is_struck_by_signals_tells_nobody(storage):
    """So who tells that one, tells the next one too."""
    writer = storage._database._writer
    tickets = [writer_module._Ticket(print, 1.0) for _ in range(3)]
    tickets[0].caller = writer._main
    tickets[1].caller = tickets[2].caller = 0
    writer._untold.extend(tickets)
    writer._tell(1)
    assert [ticket.done.locked() for ticket in tickets] == [False, False, True]
    writer._tell(len(writer._untold))
    assert not tickets[2].done.locked()


def test_who_does_not_return_is_not_waited_for_again(storage):
    writer = storage._database._writer
    writer._commit_s, writer._expected, writer._they_return, writer._in_turn = 0.0, 2, True, True
    writer._queue.append(writer_module._Ticket(lambda _: None, 10.0))
    assert writer._wait_for_work(0.0)
    assert not writer._they_return
    assert writer._at_once
    writer._queue.clear()


def test_closing_writes_what_is_queued(path):
    storage = SqliteStorage(path)
    callers = Callers(storage)
    closing = threading.Thread(target=storage.close)
    with storage._database.alone():
        for name in "abc":
            callers.add(name, insert, name)
        closing.start()
        until(lambda: storage._database._writer._closed)
        with pytest.raises(StorageError):
            storage.put_patterns("n", [])
    closing.join(60)
    callers.join()
    assert callers.outcomes == {"a": "a", "b": "b", "c": "c"}
    with SqliteStorage(path, read_only=True) as reader:
        assert names(reader) == {"a", "b", "c"}


def test_the_thread_ends_when_idle_and_comes_back(storage, monkeypatch):
    monkeypatch.setattr(writer_module, "_IDLE_S", 0.01)
    storage._database.write(insert, "a")
    until(lambda: not storage._database._writer._serving.locked())
    storage._database.write(insert, "b")
    assert names(storage) == {"a", "b"}


def test_without_a_thread_to_be_had(storage, monkeypatch):
    def refuse(*_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(writer_module._thread, "start_new_thread", refuse)
    assert storage._database.write(insert, "a") == "a"
    with pytest.raises(StorageError, match="no thread"), storage._database.alone():
        pass
    assert storage._database.write(insert, "b") == "b"
    with storage._database.read() as connection:
        assert connection.execute("SELECT group_concat(name) FROM namespaces").get == "a,b"


def test_a_lost_connection_is_replaced(storage):
    storage._database.write(insert, "a")
    with storage._database._writer._serving:
        storage._database._writer._drop()
    assert storage._database.write(insert, "b") == "b"
    assert names(storage) == {"a", "b"}


# -- who writes -----------------------------------------------------------------------------------------------------


def insert_and_tell(connection, name):
    insert(connection, name)
    return threading.get_ident()


def lone(storage, operation, *arguments):
    """Write on another thread than the main one while nobody else does; return its number, and the outcome there."""
    found = []

    def call():
        try:
            outcome = storage._database.write(operation, *arguments)
        except Exception as error:
            outcome = error
        found.extend((threading.get_ident(), outcome))

    thread = threading.Thread(target=call)
    thread.start()
    thread.join(60)
    return found


def test_a_lone_caller_writes_by_itself_unless_signals_strike_it(storage):
    for name in "ab":
        caller, writer = lone(storage, insert_and_tell, name)
        assert caller == writer
    assert storage._database.write(insert_and_tell, "c") != threading.get_ident()
    assert names(storage) == {"a", "b", "c"}


def test_a_lone_caller_that_fails_stores_nothing(storage):
    _, outcome = lone(storage, fail, ValueError("mine"))
    assert isinstance(outcome, ValueError)
    caller, writer = lone(storage, insert_and_tell, "whole")
    assert caller == writer
    assert names(storage) == {"whole"}


def test_what_is_queued_while_a_lone_caller_commits_goes_to_a_thread(storage):
    callers = Callers(storage)

    def queue_two():
        if not callers.threads:
            callers.add("b", insert_and_tell, "b")
            callers.add("c", insert_and_tell, "c")
        return callers.count()

    storage._database._writer.connection.set_commit_hook(queue_two)
    caller, writer = lone(storage, insert_and_tell, "a")
    callers.join()
    assert caller == writer
    assert callers.outcomes["b"] == callers.outcomes["c"]
    assert callers.outcomes["b"] not in [caller, *(thread.ident for thread in callers.threads)]
    assert callers.commits == 2
    assert names(storage) == {"a", "b", "c"}


def test_closing_waits_for_a_lone_caller(path):
    storage = SqliteStorage(path)
    begun, go_on = threading.Event(), threading.Event()

    def slowly(connection):
        begun.set()
        assert go_on.wait(60)
        return insert(connection, "a")

    threads = [threading.Thread(target=lone, args=(storage, slowly)), threading.Thread(target=storage.close)]
    threads[0].start()
    assert begun.wait(60)
    threads[1].start()
    until(lambda: storage._database._writer._closed)
    go_on.set()
    for thread in threads:
        thread.join(60)
    with SqliteStorage(path, read_only=True) as reader:
        assert names(reader) == {"a"}


# -- nobody waits for good ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [MemoryError("x"), ZeroDivisionError("x")])
@pytest.mark.parametrize("where", ["_run_queued", "_must_fold", "_serve_locked"])
def test_an_error_that_nothing_foresaw_is_told_to_all(storage, monkeypatch, where, error):
    """Whatever fails in the thread that writes: each caller gets an answer, and the next ones are served."""

    def strike(*_):
        raise error

    callers = Callers(storage)
    with storage._database.alone():
        for name in "abc":
            callers.add(name, insert, name)
        monkeypatch.setattr(writer_module.Writer, where, strike)
    callers.join()
    monkeypatch.undo()
    for outcome in callers.outcomes.values():
        assert type(outcome) is StorageError
        assert type(error).__name__ in outcome.message
        assert isinstance(outcome.__cause__, type(error))
    assert len({id(outcome) for outcome in callers.outcomes.values()}) == 3
    assert storage._database.write(insert, "next") == "next"
    assert names(storage) >= {"next"}


class Stubborn(Exception):  # noqa: N818  # a caller's own
    """An error that cannot be copied."""

    def __init__(self, one, two):
        super().__init__(one + two)


def test_an_error_that_cannot_be_copied(storage, together):
    def roll_back(connection):
        connection.execute("ROLLBACK")
        raise Stubborn("a", "b")

    times = []

    def second_time(connection):
        times.append(insert(connection, "x"))
        if len(times) == 2:
            roll_back(connection)

    outcomes = together((insert, "a"), (second_time,), (fail, ValueError("mine"))).outcomes
    assert [type(outcomes[key]) for key in range(3)] == [Stubborn, Stubborn, ValueError]


def test_a_thread_that_vanished(path, monkeypatch):
    """A ticket that was taken and never answered is given up; one that was not taken is served by a new thread."""
    with SqliteStorage(path, timeout_s=0.05) as storage:
        writer = storage._database._writer

        def vanish(self):
            self._queue.popleft().take()
            self._serving.acquire(blocking=False)
            self._serving.release()

        monkeypatch.setattr(writer_module.Writer, "_work", vanish)
        with pytest.raises(StorageError, match="has ended"):
            storage._database.write(insert, "a")
        monkeypatch.setattr(writer_module.Writer, "_work", lambda self: monkeypatch.undo())
        assert storage._database.write(insert, "b") == "b"
        assert writer._taken == set()


STRIKES_AFTER = {"RESUME", "CALL", "CALL_KW", "CALL_FUNCTION_EX", "JUMP_BACKWARD"}
"""Instructions after which CPython looks for signals."""


@functools.cache
def moments(code):
    """Return where in a function Ctrl-C can strike."""
    before = [None, *(each.opname for each in dis.get_instructions(code))]
    return {
        each.offset
        for each, previous in zip(dis.get_instructions(code), before, strict=False)
        if previous in STRIKES_AFTER or (previous or "").startswith("POP_JUMP_BACKWARD")
    }


class Interruption:
    """Raises KeyboardInterrupt at one moment, counted, of what this thread runs in the writer and in threading."""

    def __init__(self, number):
        self.left = number
        self.place = ""

    def __call__(self, frame, event, _):
        if not frame.f_code.co_filename.endswith(("writer.py", "threading.py", "database.py", "contextlib.py")):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode" and frame.f_lasti in moments(frame.f_code):
            self.left -= 1
            if self.left == 0:
                self.place = f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_lasti}"
                raise KeyboardInterrupt
        return self

    def strike(self, operation):
        """Run an operation and return whether it was interrupted."""
        before = sys.gettrace()
        sys.settrace(self)
        try:
            operation()
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(before)
        return False


def borrow(storage, name):
    with storage._database.alone() as connection:
        insert(connection, name)


@pytest.mark.parametrize("idle_s", [0, 60], ids=["new thread", "waiting thread"])
@pytest.mark.parametrize("kind", ["write", "borrow"])
def test_an_interrupt_at_any_moment_leaves_it_working(storage, monkeypatch, kind, idle_s):
    monkeypatch.setattr(writer_module, "_IDLE_S", idle_s)
    storage._database.write(insert, "first")
    for number in range(1, 10_000):
        name = f"{kind} {number}"
        interruption = Interruption(number)
        interrupted = interruption.strike(
            (lambda: borrow(storage, name)) if kind == "borrow" else (lambda: storage._database.write(insert, name))  # noqa: B023  # called at once
        )
        done = []
        after = threading.Thread(target=lambda: done.append(storage._database.write(insert, f"after {number}")))  # noqa: B023  # joined below
        after.start()
        after.join(30)
        assert done, f"nobody writes any more after an interrupt at {interruption.place}"
        if not interrupted:
            break
    assert number > 10
    storage._database.write(insert, "last")
    storage._database._writer._wake_up()


def test_a_lone_caller_struck_at_any_moment_leaves_it_working(path, monkeypatch):
    """By an exception that another thread sets, since Ctrl-C strikes the main thread only."""
    monkeypatch.setattr(writer_module, "_IDLE_S", 0)  # a thread that one struck has left work to ends at once
    storage = SqliteStorage(path)  # to close it would wait for good too
    done = []
    for number in range(1, 10_000):
        interruption = Interruption(number)
        for operation in (
            lambda: done.append(interruption.strike(lambda: storage._database.write(insert, f"lone {number}"))),  # noqa: B023  # joined below
            lambda: done.append(storage._database.write(insert, f"after {number}")),  # noqa: B023  # joined below
        ):
            thread = threading.Thread(target=operation, daemon=True)
            thread.start()
            thread.join(10)
        assert len(done) == 2 * number, f"nobody writes any more after an exception at {interruption.place}"
        if not done[-2]:
            break
    assert number > 10
    storage.close()


def test_who_is_struck_while_telling_has_told_whom_it_took(storage):
    """Whom nobody told would wait for good, though what it wrote is durable."""
    writer = storage._database._writer
    for number in range(1, 1000):
        tickets = [writer_module._Ticket(print, 1.0) for _ in range(2)]
        tickets[0].caller, tickets[1].caller = writer._main, 0
        writer._untold.extend(tickets)
        interrupted = Interruption(number).strike(lambda: writer._tell(1))
        assert [ticket for ticket in tickets if ticket.done.locked()] == [*writer._untold]
        writer._untold.clear()
        if not interrupted:
            break
    assert number > 3


# -- the log ----------------------------------------------------------------------------------------------------------


def log_bytes(storage):
    return storage.path.with_name(storage.path.name + "-wal").stat().st_size


def put(storage, number):
    storage.put_patterns("n", [Pattern(id=f"{number} {i}", name="n", text="word " * 1000) for i in range(20)])


def test_the_log_starts_over_when_it_is_long(storage, monkeypatch):
    monkeypatch.setattr(writer_module, "CHECKPOINT_PAGES", 20)
    sizes = []
    for number in range(30):
        put(storage, number)
        sizes.append(log_bytes(storage))
    assert max(sizes) < sum(sizes[:2]) * 2


def test_a_log_that_a_reader_held_up_is_cut_when_it_is_done(storage, monkeypatch):
    monkeypatch.setattr(writer_module, "CHECKPOINT_PAGES", 20)
    monkeypatch.setattr(writer_module, "LOG_PAGES", 200)
    with storage._database.read() as reader:
        reader.execute("SELECT count(*) FROM patterns").fetchall()
        for number in range(20):
            put(storage, number)
        assert log_bytes(storage) > 200 * 4096
        assert reader.execute("SELECT count(*) FROM patterns").get == 0
    put(storage, 20)
    assert log_bytes(storage) < 200 * 4096
    assert storage.count_patterns("n") == 21 * 20


def test_the_log_of_a_borrower_stays_short(storage, monkeypatch):
    monkeypatch.setattr(writer_module, "CHECKPOINT_PAGES", 5)
    with storage._database.alone() as connection:
        for number in range(300):
            insert(connection, f"{number}" * 200)
        assert log_bytes(storage) < 100 * 4096
    assert len(names(storage)) == 300
