"""A disk that fails: every write, sync, open and cut in turn, below SQLite."""

from __future__ import annotations

import os

import apsw
import numpy as np
import pytest
from aqe_storage_sqlite import connection as sqlite
from aqe_storage_sqlite import writer
from aqe_storage_sqlite.storage import SqliteStorage

from aqe_core.contracts import Pattern, Run, TestResult
from aqe_core.errors import AqeError
from aqe_core.state import EngineState

FAULTS = {
    "ENOSPC": ("write", apsw.FullError, apsw.SQLITE_FULL),
    "EIO on write": ("write", apsw.IOError, apsw.SQLITE_IOERR_WRITE),
    "EROFS": ("write", apsw.ReadOnlyError, apsw.SQLITE_READONLY),
    "EIO on sync": ("sync", apsw.IOError, apsw.SQLITE_IOERR_FSYNC),
    "EMFILE": ("open", apsw.CantOpenError, apsw.SQLITE_CANTOPEN),
    "EIO on truncate": ("truncate", apsw.IOError, apsw.SQLITE_IOERR_TRUNCATE),
    "EIO on delete": ("delete", apsw.IOError, apsw.SQLITE_IOERR_DELETE),
}
EVERY_CALL = bool(os.environ.get("AQE_ALL_FAULTS"))
"""Else some, ever further apart: what is opened and migrated comes first."""


PASSED = TestResult(test="t", outcome="passed")


class Disk(apsw.VFS):
    """The operating system's files, of which one call fails, or all of a kind from that one on."""

    def __init__(self):
        super().__init__("failing", "")
        self.mend()

    def fail(self, fault, at, *, for_good):
        self.call, self.kind, self.code = FAULTS[fault]
        self.at, self.for_good, self.calls, self.failed = at, for_good, 0, False

    def mend(self):
        self.call = None

    def meet(self, call):
        if call != self.call:
            return
        self.calls += 1
        if self.calls == self.at or (self.for_good and self.calls > self.at):
            self.failed = True
            error = self.kind("injected")
            error.result, error.extendedresult = self.code & 255, self.code
            raise error

    def xOpen(self, name, flags):  # noqa: N802  # SQLite's name
        self.meet("open")
        return File(self, name, flags)

    def xDelete(self, name, sync_folder):  # noqa: N802  # SQLite's name
        self.meet("delete")
        super().xDelete(name, sync_folder)


class File(apsw.VFSFile):
    """A file of that disk."""

    def __init__(self, disk, name, flags):
        self.disk = disk
        super().__init__("", name, flags)

    def xWrite(self, data, offset):  # noqa: N802  # SQLite's name
        self.disk.meet("write")
        super().xWrite(data, offset)

    def xSync(self, flags):  # noqa: N802  # SQLite's name
        self.disk.meet("sync")
        super().xSync(flags)

    def xTruncate(self, size):  # noqa: N802  # SQLite's name
        self.disk.meet("truncate")
        super().xTruncate(size)

    def xLock(self, level):  # noqa: N802  # SQLite's name
        try:
            super().xLock(level)
        except apsw.IOError:  # who reads only cannot lock to write; SQLite passes over that, apsw over "busy" only
            raise apsw.BusyError from None


@pytest.fixture
def disk(monkeypatch):
    failing = Disk()
    monkeypatch.setattr(sqlite, "VFS", "failing")
    monkeypatch.setattr(writer, "CHECKPOINT_PAGES", 12)
    monkeypatch.setattr(writer, "LOG_PAGES", 30)
    yield failing
    failing.unregister()


class Workload:
    """Writes of every kind, and which of them were begun and acknowledged."""

    def __init__(self, path):
        self.path = path
        self.begun, self.done, self.keys, self.errors = set(), set(), {}, []
        self.storage = None

    def attempt(self, what, operation):
        self.begun.add(what)
        try:
            result = operation()
        except AqeError as error:
            self.errors.append(error)
            return None
        self.done.add(what)
        return result

    def open(self):
        self.storage = self.attempt("open", lambda: SqliteStorage(self.path, timeout_s=0.2))
        return self.storage is not None

    def run(self):
        for i in range(6):
            if i in {0, 3}:
                self.close()
                if not self.open() and not self.open():  # one failure passes
                    return
            self.round(i)
        self.close()

    def round(self, i):
        storage = self.storage
        report = self.attempt(("put", i), lambda: storage.put_patterns("n", patterns(i, "old")))
        if report is not None:
            self.keys[i] = report.keys
            self.attempt(("vectors", i), lambda: storage.put_vectors("n", report.keys, np.full((3, 64), i), "f"))
        self.attempt(("run", i), lambda: storage.put_run(Run(id=str(i), source="s"), [PASSED] * 4))
        self.attempt(("state", i), lambda: storage.save_state("s", state(i), seq=i))
        if i >= 1:
            self.attempt(("change", i - 1), lambda: storage.put_patterns("n", patterns(i - 1, "new")))
        if i >= 2 and i - 2 in self.keys:
            self.attempt(("remove", i - 2), lambda: storage.remove_patterns("n", self.keys[i - 2]))

    def close(self):
        if self.storage is not None:
            self.storage.close()

    def check(self):
        assert all(error.message and error.fix for error in self.errors)
        with SqliteStorage(self.path) as storage:
            for i in range(6):
                found = storage.find_patterns("n", [pattern.id for pattern in patterns(i, "")])
                texts = {None if each is None else each.text.split()[0] for each in found}
                assert texts <= self.allowed(i), (i, texts)
                assert len(texts) == 1, "half applied"
                runs = storage.known_runs([str(i)])
                assert runs or ("run", i) not in self.done
            runs, results = storage.count_results()
            assert results == 4 * runs
            seq = max((i for what, i in self.done - {"open"} if what == "state"), default=-1)
            kept = storage.load_state("s")
            assert seq == -1 or (kept is not None and kept[1] >= seq and (kept[0].arrays["a"] == kept[1]).all())
            keys, vectors = storage.load_vectors("n", "f")
            assert keys.size % 3 == 0
            assert not keys.size or (np.ptp(vectors, axis=1) == 0).all()
            assert storage.put_patterns("after", patterns(0, "new")).added == 3

    def allowed(self, i):
        states = {"old"} if ("put", i) in self.done else {None, "old"} if ("put", i) in self.begun else {None}
        for what, becomes in (("change", "new"), ("remove", None)):
            if (what, i) in self.done:
                states = {becomes}
            elif (what, i) in self.begun:
                states = states | {becomes}
        return states


def patterns(i, text):
    return [Pattern(id=f"{i} {j}", name="n", text=f"{text} " * 400) for j in range(3)]


def state(i):
    return EngineState(kind="k", manifest={}, arrays={"a": np.full(1000, i)})


@pytest.mark.parametrize("for_good", [False, True], ids=["once", "for good"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_disk_that_fails_loses_nothing(tmp_path, disk, check_sound, fault, for_good):
    at, failures = 1, 0
    while True:
        folder = tmp_path / str(at)
        folder.mkdir()
        workload = Workload(folder / "aqe.db")
        disk.fail(fault, at, for_good=for_good)
        try:
            workload.run()
            failed = disk.failed
        finally:
            disk.mend()
            workload.close()
        workload.check()
        check_sound(workload.path)
        if not failed:
            break
        failures += 1
        at += 1 if EVERY_CALL else max(1, at // 2)
    assert failures, "the fault never struck"


def test_the_storage_goes_on_when_the_disk_is_mended(path, disk):
    with SqliteStorage(path) as storage:
        storage.put_patterns("n", patterns(0, "old"))
        disk.fail("EIO on write", 1, for_good=True)
        with pytest.raises(AqeError, match="cannot be read or written"):
            storage.put_patterns("n", patterns(1, "old"))
        assert storage.count_patterns("n") == 3
        disk.mend()
        assert storage.put_patterns("n", patterns(1, "old")).added == 3
