"""The one thread at a time of a process that writes: whatever is queued becomes durable with one commit.

A caller hands over its operation and waits until it is durable. Making something durable costs the same for one
operation as for a hundred, so all that wait share a transaction; if one fails, it is undone and the others run again.
A caller that finds nobody writing writes by itself, which spares it two threads' waiting for a core; what others queue
meanwhile goes to a thread. Signals reach the main thread only, which never writes, hence Ctrl-C never strikes a write.
"""

from __future__ import annotations

import _thread
import copy
import sys
import threading
import time
from collections import deque
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, cast

import apsw

from aqe_core.errors import AqeError, StorageBusyError, StorageError
from aqe_storage_sqlite import connection as sqlite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from aqe_storage_sqlite.lock import FileLock

__all__ = ["Together", "Writer"]

MAX_BATCH = 1024
"""Operations in one transaction."""

CHECKPOINT_PAGES = 4_000
LOG_PAGES = 16_384
"""64 MiB of log: from here on a checkpoint waits for readers, so that the log starts over. One that a reader holds up
is tried again `CHECKPOINT_PAGES` later."""

_CHECKPOINT_WAIT_S = 0.05
_SLOW_COMMIT_S = 0.0005
_LONGEST_LINGER_S = 0.002
_RETURN_S = 0.00005  # for each caller: its turns of a core and of the interpreter
_LONGEST_RETURN_S = 0.01
_AT_ONCE = 100  # batches: where another thread keeps the interpreter, each who is told waits 5 ms for it
_IDLE_S = 1.0  # then the thread ends, so that a storage that nobody closed can be collected, and a fork finds none
_POLL_S = 0.05
_THREADS = "end some threads, or raise the limit on them."


class Together:
    """An operation that does the same for many callers at once, cheaper than for one after the other.

    Parameters
    ----------
    many : callable
        Takes the connection and the items of the callers, and returns a result for each.
    item : object
        This caller's.
    """

    __slots__ = ("item", "many")

    def __init__(self, many: Callable[[apsw.Connection, list[Any]], list[Any]], item: Any) -> None:
        self.many = many
        self.item = item

    def __call__(self, connection: apsw.Connection) -> Any:
        """Run it for one caller."""
        return self.many(connection, [self.item])[0]


class _Ticket:
    """An operation that waits for its turn, or with None the wish to borrow the connection.

    Who acquires ``claim`` decides: its caller that it is dropped, or the thread that writes that it is run.
    """

    __slots__ = ("caller", "claim", "deadline_s", "done", "error", "operation", "result", "returned")

    def __init__(self, operation: Callable[[apsw.Connection], Any] | None, timeout_s: float) -> None:
        self.operation = operation
        self.deadline_s = time.monotonic() + timeout_s
        self.caller = threading.get_ident()
        self.claim = threading.Lock()
        self.done = threading.Lock()
        self.done.acquire()
        self.returned = None
        if operation is None:
            self.returned = threading.Lock()
            self.returned.acquire()
        self.result: Any = None
        self.error: BaseException | None = None

    def take(self) -> bool:
        """Decide about it; False if that was done before."""
        return self.claim.acquire(blocking=False)


class Writer:
    """Operations of any number of threads, one after the other on one connection.

    Parameters
    ----------
    path : Path
    connect : callable
        Opens the connection; called again after an error that it did not survive.
    check : callable
        Raises if the file is not the one that was opened.
    lock : FileLock
        Held while a batch is written.
    timeout_s : float
        How long an operation waits for its turn.
    """

    def __init__(
        self,
        path: Path,
        connect: Callable[[], apsw.Connection],
        check: Callable[[], None],
        lock: FileLock,
        timeout_s: float,
    ) -> None:
        self._path = path
        self._connect = connect
        self._check = check
        self._lock = lock
        self._timeout_s = timeout_s
        self._queue: deque[_Ticket] = deque()
        self._wake = threading.Lock()
        self._wanted = 1  # the length of the queue at which callers wake the thread
        self._serving = threading.Lock()  # held by the thread that writes
        self._owner = 0  # the thread that may use the connection now
        self._running = self._lent = False
        self._taken: set[_Ticket] = set()  # claimed by the thread that writes; their callers wait for its answer
        self._closed = False
        self._expected = 1  # how many operations the next batch may have
        self._they_return = True  # those just served, as soon as they can: so it was the last time
        self._untold: deque[_Ticket] = deque()  # durable, and each told by the one before it
        self._in_turn = False
        self._at_once = 0  # so many batches are to be told at once, since telling in turn has failed
        self._main = threading.main_thread().ident
        self._commit_s = 0.0
        self._log_pages = self._folded_pages = 0
        self._wrote = False
        self.connection: apsw.Connection | None = self._open()

    def _open(self) -> apsw.Connection:
        connection = self._connect()
        connection.set_wal_hook(self._note_log)
        return connection

    # -- on the threads of the callers ------------------------------------------------------------------------------

    def run(self, operation: Callable[[apsw.Connection], Any]) -> Any:
        """Run an operation; return its result once that is durable, or raise its error.

        Ctrl-C while waiting drops the operation, unless it has begun; then it is completed all the same.

        Raises
        ------
        StorageBusyError
            It could not begin in time.
        """
        ticket = _Ticket(operation, self._timeout_s)
        try:
            self._submit(ticket)
        finally:
            ticket.take()
        return ticket.result

    @contextmanager
    def lend(self) -> Iterator[apsw.Connection]:
        """Lend the connection outside any transaction, while nobody else writes."""
        ticket = _Ticket(None, self._timeout_s)
        assert ticket.returned is not None
        try:
            self._submit(ticket)
            yield ticket.result
        finally:
            # Ctrl-C strikes after a call, so that before the first one nothing can keep the connection from going back.
            if self._owner == ticket.caller:
                self._owner = 0
            ticket.returned.release()
            ticket.take()

    def _submit(self, ticket: _Ticket) -> None:
        if self._owner == ticket.caller:
            raise StorageError("a write began inside another one.", fix="do one after the other.")
        if self._closed:
            raise self._closed_error()
        self._queue.append(ticket)
        if not self._serving.locked():
            self._lead(ticket)
        elif len(self._queue) >= self._wanted:
            self._wake_up()
        if not ticket.done.acquire(timeout=self._timeout_s):
            self._wait_longer(ticket)
        if self._untold and ticket.caller != self._main:
            self._tell(1)
        if ticket.error is not None:
            try:
                raise ticket.error
            finally:
                ticket.error = None  # its traceback holds this frame, and that the ticket

    def _wait_longer(self, ticket: _Ticket) -> None:
        """Give up if other operations of this process are in the way; for other processes `_serve` does that."""
        while not ticket.done.acquire(timeout=_POLL_S):
            if self._running and ticket.take():
                raise StorageBusyError(
                    f"{self._path} is being written by another thread of this process.", fix="wait until it is done."
                )
            if not self._serving.locked():  # who wrote has left; what it took is answered by now
                if not ticket.claim.locked():
                    self._start()
                elif not ticket.done.acquire(blocking=False):
                    raise self._unforeseen(RuntimeError("the thread that writes has ended"))
                else:
                    return

    def _lead(self, ticket: _Ticket) -> None:
        """Write what is queued, if it is this caller's and nobody else is about to come; leave the rest to a thread."""
        alone = ticket.operation is not None and len(self._queue) == self._expected == 1
        if alone and ticket.caller != threading.main_thread().ident:
            for _ in filter(None, map(self._serving.acquire, (False,))):  # threads are struck after a call, so not here
                try:
                    if self._queue and self._queue[0] is ticket:  # else somebody else was faster
                        self._serve()
                finally:
                    self._serving.release()
        # Callers append, then look for who writes; who writes leaves, then looks for work. So none is overlooked.
        if self._queue:
            self._start()

    def _start(self) -> None:
        # A `threading.Thread` is started by an exchange with it, and Ctrl-C in the midst of that leaves it stuck.
        try:
            _thread.start_new_thread(self._work, ())
        except RuntimeError:  # no more threads, or the interpreter is shutting down
            self._work_here()

    def _wake_up(self) -> None:
        if self._wake.locked():
            with suppress(RuntimeError):  # somebody else was faster
                self._wake.release()

    def drain(self) -> None:
        """Take nothing more, and wait until what is queued is written."""
        if self._owner == threading.get_ident():
            raise StorageError(f"{self._path} was to be closed inside a write.", fix="close it after the write.")
        self._closed = True
        self._wake_up()
        with self._serving:
            self._fail(list(self._queue), self._closed_error())

    def close(self) -> None:
        """Fold the log into the file and close the connection, as the last one of the process. May be called twice."""
        with self._serving:
            connection, self.connection = self.connection, None
            if connection is None:
                return
            if self._wrote:
                connection.set_busy_timeout(0)  # beside other processes do what goes without waiting
                with suppress(apsw.Error):
                    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
            sqlite.close(connection)

    def _closed_error(self) -> StorageError:
        return StorageError(f"{self._path} was closed.", fix="open it anew.")

    # -- on the thread that writes ----------------------------------------------------------------------------------

    def _work(self) -> None:
        sys.settrace(threading.gettrace())  # as any thread has it
        while self._queue and self._serving.acquire(blocking=False):
            try:
                while self._wait_for_work(_IDLE_S):
                    self._in_turn = self._they_return and not self._at_once
                    self._at_once = max(0, self._at_once - 1)
                    self._serve()
            finally:
                self._in_turn = False
                self._tell(len(self._untold))
                self._serving.release()

    def _work_here(self) -> None:
        """Write what is queued on the thread of a caller."""
        with self._serving:  # Ctrl-C cannot strike between a lock's `with` and its block, as it can after `acquire`
            while self._queue:
                self._serve()

    def _wait_for_work(self, idle_s: float) -> bool:
        """Wait for an operation, and a little for more; False when there is none."""
        linger_s = min(self._commit_s / 4, _LONGEST_LINGER_S) if self._commit_s > _SLOW_COMMIT_S else 0.0
        if self._they_return:
            self._they_return = self._gather(max(linger_s, min(self._expected * _RETURN_S, _LONGEST_RETURN_S)))
            if self._in_turn and not self._they_return:
                self._at_once = _AT_ONCE
            self._tell(len(self._untold))
            if self._queue:
                return True
        while not self._queue:
            if self._closed or not self._wake.acquire(timeout=idle_s):
                return False
        self._they_return = self._gather(linger_s)
        return True

    def _gather(self, longest_s: float) -> bool:
        """Wait a little for those just served, who are about to come back; say whether as many are there.

        Without them there would be two groups that take turns, and everyone would wait for two commits. And a write
        beside callers that run has to wait for the interpreter after each statement.
        """
        self._wanted = self._expected
        end_s = time.monotonic() + longest_s
        while len(self._queue) < self._wanted and (left_s := end_s - time.monotonic()) > 0:
            self._wake.acquire(timeout=left_s)
        self._wanted = 1
        return len(self._queue) >= self._expected

    def _serve(self) -> None:
        """Serve the first of the queue, and with it all that can share its transaction; answer it in any case."""
        first = self._queue[0]
        if first.claim.locked():  # given up by its caller
            self._queue.popleft()
            return
        try:
            self._serve_locked(first)
        except BaseException as error:
            self._answer(first, self._translated(error))
            if not isinstance(error, Exception):
                raise
        finally:
            self._running, self._owner = False, 0

    def _answer(self, first: _Ticket, error: BaseException) -> None:
        """Let those know to whom it matters that nothing of a batch was begun, or all if that is not known."""
        if isinstance(error, StorageBusyError):
            now_s = time.monotonic()
            self._fail([each for each in list(self._queue) if each.deadline_s <= now_s or each is first], error)
        elif isinstance(error, AqeError):
            self._fail(list(self._queue), error)
        else:
            self._fail_all(error)

    def _serve_locked(self, first: _Ticket) -> None:
        if self._closed and self.connection is None:
            raise self._closed_error()  # told to the callers like the others
        connection = self.connection = self.connection or self._open()
        try:
            self._lock.acquire(first.deadline_s)
            self._check()
            connection.set_busy_timeout(sqlite.milliseconds(first.deadline_s - time.monotonic()))
            if first.operation is None:
                self._hand_over(connection)
            else:
                connection.execute("BEGIN IMMEDIATE")
                self._write_batch(connection)
            if self.connection is not None:
                self._fold_log(connection)
        finally:
            self._lock.release()

    def _hand_over(self, connection: apsw.Connection) -> None:
        """Let the first of the queue use the connection until it gives it back."""
        ticket = self._queue.popleft()
        assert ticket.returned is not None
        if ticket.caller == threading.get_ident():
            ticket.take()
            error = StorageError("no thread can be started to write while this one has the connection.", fix=_THREADS)
            self._finish([ticket], error)
            return
        if not ticket.take() or not ticket.returned.locked():
            return
        self._owner, self._running, self._lent = ticket.caller, True, True
        ticket.result = connection
        ticket.done.release()
        ticket.returned.acquire()
        self._owner, self._lent = 0, False
        self._wrote = True
        self._undo("ROLLBACK")

    def _write_batch(self, connection: apsw.Connection) -> None:
        """Run operations in the open transaction, and commit it; one that fails, fails alone."""
        self._owner, self._running = threading.get_ident(), True
        ran = self._run_queued(connection)
        if not ran:
            self._undo("ROLLBACK")
            return
        began_s = time.monotonic()
        error = self._apply(connection, "COMMIT")
        if error is not None:
            self._undo("ROLLBACK")
            self._finish(ran, error)
            return
        self._commit_s = time.monotonic() - began_s
        self._wrote = True
        self._expected = len(ran) + len(self._queue)
        if not self._must_fold():
            self._lock.release()  # the callers' next operations come soon
        self._in_turn = self._in_turn and len(ran) > 2
        if self._in_turn:
            self._taken.difference_update(ran)
            self._untold.extend(ran)
            self._tell(1)
        else:
            self._finish(ran)

    def _run_queued(self, connection: apsw.Connection) -> list[_Ticket]:
        """Run what is queued, and return what the transaction holds of it."""
        ran: list[_Ticket] = []
        while self._queue and len(ran) < MAX_BATCH and self._queue[0].operation is not None:
            tickets = self._take_alike(MAX_BATCH - len(ran))
            error = self._apply(connection, tickets)
            if error is not None:
                self._undo("ROLLBACK")
                if len(tickets) == 1:  # else it is not known whose error it is
                    self._finish(tickets, error)
                    return self._run_again(connection, ran)
                return self._run_again(connection, ran + tickets)
            ran += tickets
        return ran

    def _take_alike(self, most: int) -> list[_Ticket]:
        """Take the first of the queue, and those behind it that can be run together with it."""
        queue, taken = self._queue, list[_Ticket]()
        many: object = None
        while queue and len(taken) < most:
            operation = queue[0].operation
            its = operation.many if type(operation) is Together else None
            if operation is None or (taken and (its is None or its is not many)):
                break
            ticket = queue.popleft()
            if ticket.take():
                taken.append(ticket)
                self._taken.add(ticket)
                many = its
        return taken

    def _run_again(self, connection: apsw.Connection, tickets: list[_Ticket]) -> list[_Ticket]:
        """Run in a new transaction what was rolled back with a failed operation; return what it holds.

        Now each has a savepoint of its own. They are not free, the index of words writes at each, and errors are rare.
        """
        waiting, ran = deque(tickets), list[_Ticket]()
        error = self._apply(connection, "BEGIN IMMEDIATE") if waiting else None
        while waiting and error is None:
            ticket = waiting.popleft()
            failure = (
                self._apply(connection, "SAVEPOINT one")
                or self._apply(connection, [ticket])
                or self._apply(connection, "RELEASE one")
            )
            if failure is None:
                ran.append(ticket)
                continue
            self._undo("ROLLBACK TO one; RELEASE one")
            self._finish([ticket], failure)
            if not self._in_transaction():  # it failed so badly that SQLite undid all
                error = failure
        if error is not None:
            self._finish([*ran, *waiting], error)
            return []
        return ran

    def _apply(self, connection: apsw.Connection, what: list[_Ticket] | str) -> BaseException | None:
        """Run a statement, or operations that are alike, and return what was raised."""
        try:
            if isinstance(what, str):
                connection.execute(what)
            elif len(what) > 1:
                _run_together(connection, what)
            else:
                for ticket in what:
                    assert ticket.operation is not None
                    ticket.result = ticket.operation(connection)
        except BaseException as error:  # it is raised on the caller's thread
            return self._translated(error)
        return None

    def _translated(self, error: BaseException) -> BaseException:
        ours = sqlite.translation(error, self._path)
        if ours is not error:
            ours.__cause__ = error
        return ours

    def _undo(self, sql: str) -> None:
        """Roll back; a connection on which even that fails is dropped, which rolls back too."""
        if self.connection is None or not self.connection.in_transaction:
            return
        try:
            self.connection.execute(sql).fetchall()
        except apsw.Error:
            self._drop()

    def _drop(self) -> None:
        connection, self.connection = self.connection, None
        if connection is not None:
            sqlite.close(connection)

    def _in_transaction(self) -> bool:
        return self.connection is not None and self.connection.in_transaction

    def _finish(self, tickets: list[_Ticket], error: BaseException | None = None) -> None:
        """Let the callers go on, each with an error of its own."""
        if error is not None:
            for ticket in tickets:
                ticket.error = error if len(tickets) == 1 else _copied(error)
        for ticket in tickets:
            ticket.done.release()
        self._taken.difference_update(tickets)

    def _tell(self, n: int) -> None:
        """Let the next callers go on that wait to be told.

        Each tells the next one as soon as it runs. So that one is woken while this one goes on, and finds the
        interpreter free; all woken at once would be woken twice, since they have to wait for it. Who is struck by
        signals tells nobody. What is left after a while is told by the thread that writes.
        """
        with suppress(IndexError):
            for ticket in iter(self._untold.popleft, None):  # threads are struck after a call, so not here
                ticket.done.release()
                n -= ticket.caller != self._main
                if n <= 0:
                    return

    def _fail(self, tickets: list[_Ticket], error: BaseException) -> None:
        """Take tickets that wait out of the queue, and let their callers know why."""
        for ticket in tickets:
            self._queue.remove(ticket)
        self._finish([ticket for ticket in tickets if ticket.take()], error)

    def _fail_all(self, cause: BaseException) -> None:
        """Answer everyone who waits after an error that no rule here foresaw, so that nobody waits for good.

        The connection is dropped, which undoes what was not committed.
        """
        self._drop()
        for ticket in self._taken:
            ticket.error = self._unforeseen(cause)
            with suppress(RuntimeError):  # it was answered just before
                ticket.done.release()
        self._taken.clear()
        self._fail(list(self._queue), self._unforeseen(cause))

    def _unforeseen(self, cause: BaseException) -> StorageError:
        error = StorageError(
            f"writing to {self._path} failed unexpectedly ({type(cause).__name__}: {cause}).",
            fix="look whether it is stored, then try again; and report this as a bug in aqe.",
        )
        error.__cause__ = cause
        return error

    # -- the log ----------------------------------------------------------------------------------------------------

    def _note_log(self, connection: apsw.Connection, _: str, pages: int) -> int:
        """Note how long the log is; SQLite calls this after each commit."""
        self._log_pages = pages
        if pages < self._folded_pages:  # it has started over
            self._folded_pages = 0
        if self._lent:  # a borrower may keep the connection for long
            self._fold_log(connection)
        return 0

    def _must_fold(self) -> bool:
        return self._log_pages - self._folded_pages >= CHECKPOINT_PAGES

    def _fold_log(self, connection: apsw.Connection) -> None:
        """Take a long log over into the file, while no commit can lengthen it.

        What fails here has been durable before; a later batch tries again.
        """
        if not self._must_fold():
            return
        self._folded_pages = self._log_pages
        with suppress(apsw.Error):
            if self._log_pages < LOG_PAGES:
                connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            else:
                connection.set_busy_timeout(sqlite.milliseconds(_CHECKPOINT_WAIT_S))
                connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
                self._folded_pages = 0


def _run_together(connection: apsw.Connection, tickets: list[_Ticket]) -> None:
    operations = [cast("Together", ticket.operation) for ticket in tickets]
    results = operations[0].many(connection, [operation.item for operation in operations])
    for ticket, result in zip(tickets, results, strict=True):
        ticket.result = result


def _copied(error: BaseException) -> BaseException:
    """Return a copy for another thread to raise; errors that cannot be copied are shared."""
    try:
        copied = copy.copy(error)
    except Exception:  # whatever its constructor does
        return error
    copied.__cause__ = error.__cause__
    return copied
