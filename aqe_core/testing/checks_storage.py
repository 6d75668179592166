"""Checks of storages: what was put is there, once, also after reopening; the journal tells what changed."""

# ruff: noqa: D401  # the first line of a check says what is promised
from __future__ import annotations

import tempfile
import threading
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from aqe_core.contracts.records import OUTCOMES, Pattern, Run, TestResult
from aqe_core.contracts.storage import Storage
from aqe_core.errors import InputError, NotFoundError, ReadOnlyError, StorageError
from aqe_core.state import EngineState
from aqe_core.testing.data import clustered_vectors
from aqe_core.testing.expect import equal, raises, require, run_threads, same_array, same_state
from aqe_core.testing.kit import Context, check

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NS = "default"


def patterns(n: int, *, origin: str = "tests/test_a.py", start: int = 0) -> list[Pattern]:
    """Return patterns that differ in everything that can be asked for."""
    return [
        Pattern(
            id=f"{origin}::test_{i}",
            name=f"test_{i}",
            text=f"def test_{i}():\n    assert retry({i}) == 'ä\0🙂'",
            path=origin,
            class_name="TestRetry" if i % 2 else "",
            docstring=f"Retry {i}.",
            markers=("slow", "net") if i % 3 == 0 else (),
            line=i + 1,
            metadata={"team": f"team {i % 4}", "level": i % 2, "nested": {"a": [1, None, True, 0.5]}},
            origin=origin,
        )
        for i in range(start, start + n)
    ]


@contextmanager
def opened(kit: Context) -> Iterator[tuple[Any, Callable[..., Any]]]:
    """Yield a storage in a folder of its own, and a function that opens the same file once more."""
    with tempfile.TemporaryDirectory(prefix="aqe-check-") as folder:
        made: list[Any] = []

        def reopen(**options: Any) -> Any:
            storage = kit.make(path=Path(folder) / "truth.db", **{"read_only": False, "timeout_s": 10.0, **options})
            made.append(storage)
            return storage

        try:
            yield reopen(), reopen
        finally:
            for storage in made:
                storage.close()


@check("storage")
def check_protocol(kit: Context) -> None:
    """A fresh storage fulfils the protocol, is empty, and can be closed twice.

    If this fails, look at the constructor and at the names and signatures in aqe_core.contracts.storage.
    """
    with opened(kit) as (storage, _):
        require(isinstance(storage, Storage), f"{type(storage).__name__} lacks a method of Storage")
        require(storage.path.is_file(), f"there is no file at {storage.path}")
        equal((storage.read_only, storage.last_seq()), (False, 0), "(read_only, last_seq) of a fresh storage")
        equal((storage.count_patterns(NS), storage.count_results()), (0, (0, 0)), "counts of a fresh storage")
        same_array(storage.pattern_keys(NS), np.empty(0, np.uint64), "keys of a fresh storage")
        equal(storage.origins(NS), {}, "origins of a fresh storage")
        require(isinstance(storage.info(), dict), "info() is no dict")
        storage.close()
        storage.close()


@check("storage")
def check_put_and_get(kit: Context) -> None:
    """Patterns come back equal, by key and by id, in the order asked for; unknown keys are an error.

    If this fails, look at the columns of a pattern: each must survive, NUL and Unicode included.
    """
    with opened(kit) as (storage, _):
        given = patterns(5)
        report = storage.put_patterns(NS, given)
        equal((report.added, report.changed, report.unchanged, report.removed), (5, 0, 0, 0), "report of a first put")
        equal((report.keys.dtype.name, len({*report.keys.tolist()})), ("uint64", 5), "(dtype, number) of the keys")
        same_array(np.sort(report.written_keys), np.sort(report.keys), "written_keys of a first put")
        equal(storage.get_patterns(NS, report.keys[::-1]), given[::-1], "patterns by key, backwards")
        found = storage.find_patterns(NS, [given[3].id, "nowhere", given[0].id])
        equal(found, [given[3], None, given[0]], "patterns by id")
        equal((found[0].key, found[2].key), (int(report.keys[3]), int(report.keys[0])), "keys of found patterns")
        raises(NotFoundError, partial(storage.get_patterns, NS, [int(report.keys.max()) + 1]), "get of an unknown key")
        equal(storage.count_patterns(NS), 5, "number of patterns")


@check("storage")
def check_put_again(kit: Context) -> None:
    """An unchanged pattern is not written again; a changed one keeps its key; of equal ids the last one counts.

    If this fails, look at how contents are compared, and at the upsert.
    """
    with opened(kit) as (storage, _):
        given = patterns(4)
        first = storage.put_patterns(NS, given)
        seq = storage.last_seq()
        again = storage.put_patterns(NS, given)
        equal((again.added, again.changed, again.unchanged), (0, 0, 4), "report of putting the same again")
        same_array(again.keys, first.keys, "keys of the same patterns")
        equal(storage.last_seq(), seq, "journal number after putting the same again")
        other = attrs.evolve(given[1], text="assert True")
        changed = storage.put_patterns(NS, [attrs.evolve(other, text="overtaken"), other])
        equal((changed.added, changed.changed), (0, 1), "report of putting one changed pattern twice")
        same_array(changed.written_keys, first.keys[1:2], "written_keys")
        equal(storage.get_patterns(NS, first.keys), [given[0], other, *given[2:]], "patterns after the change")


@check("storage")
def check_origins(kit: Context) -> None:
    """What vanished from an origin that was read completely is removed, and nothing else.

    If this fails, look at ``origins=``: only stored patterns of these origins that were not given go.
    """
    with opened(kit) as (storage, _):
        a, b = patterns(4), patterns(3, origin="tests/test_b.py")
        first = storage.put_patterns(NS, a + b)
        equal(storage.origins(NS), {"tests/test_a.py": 4, "tests/test_b.py": 3}, "origins")
        report = storage.put_patterns(NS, a[:2], origins=["tests/test_a.py"])
        equal((report.removed, report.unchanged), (2, 2), "(removed, unchanged)")
        same_array(np.sort(report.removed_keys), np.sort(first.keys[2:4]), "removed_keys")
        equal(storage.origins(NS), {"tests/test_a.py": 2, "tests/test_b.py": 3}, "origins afterwards")
        equal(storage.put_patterns(NS, [], origins=["tests/test_b.py"]).removed, 3, "patterns of an emptied origin")


@check("storage")
def check_remove(kit: Context) -> None:
    """Removed patterns are gone with their vectors; unknown keys are passed over; the call counts.

    If this fails, look at the foreign key from vectors to patterns.
    """
    with opened(kit) as (storage, _):
        keys = storage.put_patterns(NS, patterns(5)).keys
        storage.put_vectors(NS, keys, clustered_vectors(5, 8), "f/1")
        gone = np.append(keys[:2], keys.max() + np.uint64(7))
        equal(storage.remove_patterns(NS, gone), 2, "answer of remove_patterns")
        same_array(storage.pattern_keys(NS), np.sort(keys[2:]), "keys afterwards")
        same_array(storage.load_vectors(NS, "f/1")[0], np.sort(keys[2:]), "keys of vectors afterwards")


@check("storage")
def check_namespaces(kit: Context) -> None:
    """A namespace sees nothing of another.

    If this fails, look at every query: one lacks its namespace.
    """
    with opened(kit) as (storage, _):
        keys = storage.put_patterns("one", patterns(3)).keys
        storage.put_patterns("two", patterns(2))
        equal((storage.count_patterns("one"), storage.count_patterns("two")), (3, 2), "numbers of patterns")
        equal(storage.remove_patterns("two", keys[2:]), 0, "answer of removing a key of another namespace")
        changes = storage.changes_since("one", 0)
        same_array(changes.written, np.sort(keys), "changes of namespace one")
        equal(storage.find_patterns("three", [patterns(1)[0].id]), [None], "pattern found in an empty namespace")


@check("storage")
def check_iter_and_where(kit: Context) -> None:
    """All patterns can be walked through in ascending order of key, and chosen by their fields.

    If this fails, look at the translation of ``where``: a list means any of, all entries must fit.
    """
    with opened(kit) as (storage, _):
        given = patterns(25)
        keys = storage.put_patterns(NS, given).keys
        walked = list(storage.iter_patterns(NS, batch=10))
        equal([len(part) for part in walked], [10, 10, 5], "lengths of the parts")
        same_array(np.array([p.key for part in walked for p in part], np.uint64), np.sort(keys), "keys walked through")
        for where, fits in (
            ({"team": "team 1"}, lambda p: p.metadata["team"] == "team 1"),
            ({"team": ["team 1", "team 2"], "level": 1}, lambda p: p.metadata["team"] == "team 1"),
            ({"marker": "slow"}, lambda p: "slow" in p.markers),
            ({"name": "test_7"}, lambda p: p.name == "test_7"),
            ({"class_name": "TestRetry"}, lambda p: p.class_name == "TestRetry"),
            ({"unknown": 1}, lambda _: False),
            ({"team": []}, lambda _: False),
        ):
            wanted = [key for key, p in zip(keys.tolist(), given, strict=True) if fits(p)]
            same_array(storage.pattern_keys(NS, where), np.array(sorted(wanted), np.uint64), f"keys where {where}")
        raises(InputError, partial(storage.pattern_keys, NS, {"team": {"a": 1}}), "where with a mapping as value")


@check("storage")
def check_vectors(kit: Context) -> None:
    """Vectors come back bit for bit under their fingerprint, until their pattern changes.

    If this fails, look at what put_patterns does to the vectors of changed patterns.
    """
    with opened(kit) as (storage, _):
        keys, given = storage.put_patterns(NS, patterns(4)).keys, clustered_vectors(4, 33)
        empty = storage.load_vectors(NS, "f/1")
        equal((empty[0].shape, empty[1].shape), ((0,), (0, 0)), "shapes of no vectors")
        storage.put_vectors(NS, np.append(keys, keys.max() + np.uint64(9)), np.vstack([given, given[:1]]), "f/1")
        order = np.argsort(keys)
        found = storage.load_vectors(NS, "f/1")
        same_array(found[0], keys[order], "keys of vectors")
        same_array(found[1], given[order], "vectors")
        some = storage.load_vectors(NS, "f/1", keys[1:2])
        same_array(some[1], given[1:2], "the vector of one key")
        storage.put_patterns(NS, [attrs.evolve(patterns(1)[0], text="changed")])
        same_array(storage.load_vectors(NS, "f/1")[0], np.sort(keys[1:]), "keys of vectors after a change")
        storage.put_vectors(NS, keys, given, "f/2")
        equal(len(storage.load_vectors(NS, "f/1")[0]), 0, "number of vectors of a replaced fingerprint")


@check("storage")
def check_vectors_of_changed_patterns(kit: Context) -> None:
    """Vectors are not stored for patterns that were written after the journal number that is given with them.

    If this fails, look at put_vectors: what changed since that number is found in the transaction that stores.
    """
    with opened(kit) as (storage, _):
        keys, given = storage.put_patterns(NS, patterns(3)).keys, clustered_vectors(3, 8)
        seq = storage.last_seq()
        storage.put_patterns(NS, [attrs.evolve(patterns(1)[0], text="changed")])
        storage.put_vectors(NS, keys, given, "f/1", unchanged_since=seq)
        found = storage.load_vectors(NS, "f/1")
        same_array(found[0], np.sort(keys[1:]), "keys of vectors of patterns that did not change")
        storage.put_vectors(NS, keys, given, "f/1", unchanged_since=storage.last_seq())
        same_array(storage.load_vectors(NS, "f/1")[0], np.sort(keys), "keys of vectors made after the change")


@check("storage")
def check_results(kit: Context) -> None:
    """A run is stored once, and its results come back in order.

    If this fails, look at the run's id as a unique key, and at the order of the query.
    """
    with opened(kit) as (storage, _):
        late = Run(id="r2", source="b.xml", started_s=200.0)
        early = Run(id="r1", source="a.xml", started_s=100.0)
        results = [TestResult(test=f"t{i}", outcome=OUTCOMES[i % 4], duration_s=i / 8, message="m") for i in range(6)]
        equal(storage.put_run(late, results), True, "answer of a first put_run")
        equal(storage.put_run(late, results[:1]), False, "answer of putting the same run again")
        equal(storage.put_run(early, results[:2]), True, "answer of another put_run")
        equal(storage.count_results(), (2, 8), "numbers of runs and results")
        equal(storage.known_runs(["r1", "r3", "r2"]), {"r1", "r2"}, "known runs")
        table = storage.results()
        equal(
            [table.tests[i] for i in table.test.tolist()], ["t0", "t1", *[f"t{i}" for i in range(6)]], "tests in order"
        )
        same_array(table.outcome, np.array([0, 1, 0, 1, 2, 3, 0, 1], np.uint8), "outcomes")
        same_array(table.duration_s, np.array([0, 1, 0, 1, 2, 3, 4, 5]) / 8, "durations")
        newest = storage.results(after_run=int(table.run[-1]))
        equal(len(newest.test), 2, "number of results after the run stored first")


@check("storage")
def check_states(kit: Context) -> None:
    """Engine states come back bit for bit, with their number; the newest one of a name counts.

    If this fails, look at dtypes, shapes and byte order of arrays, and at the manifest's JSON.
    """
    with opened(kit) as (storage, reopen):
        state = EngineState(
            kind="learner/x/1",
            manifest={"text": "ä\0", "big": 2**127, "list": [1, "1", None, 0.1]},
            arrays={
                "f": np.array([[0.1, -0.0], [np.inf, 1e-310]]),
                "u": np.array([2**64 - 1], np.uint64),
                "e": np.empty((0, 3), np.float32),
            },
        )
        storage.save_state("q", state, seq=3)
        storage.save_state("q", state, seq=7)
        for one in (storage, reopen()):
            found = one.load_state("q")
            require(found is not None, "a kept state is not found")
            same_state(found[0], state, "state")
            equal(found[1], 7, "number of the state")
            equal(one.load_state("other"), None, "state of an unknown name")


@check("storage")
def check_journal(kit: Context) -> None:
    """The journal tells which keys were written and removed since a number, each by its last change.

    If this fails, look at a key that was written and then removed: it counts as removed only.
    """
    with opened(kit) as (storage, _):
        keys = storage.put_patterns(NS, patterns(4)).keys
        middle = storage.last_seq()
        require(middle > 0, "the journal's number did not grow")
        storage.put_patterns(NS, [attrs.evolve(patterns(2)[1], text="changed")])
        storage.remove_patterns(NS, keys[3:])
        whole, part = storage.changes_since(NS, 0), storage.changes_since(NS, middle)
        same_array(whole.written, np.sort(keys[:3]), "written since the beginning")
        same_array(part.written, keys[1:2], "written since the first put")
        for changes in (whole, part):
            same_array(changes.removed, keys[3:], "removed")
            equal(changes.seq, storage.last_seq(), "number of the changes")
        none = storage.changes_since(NS, storage.last_seq())
        equal((len(none.written), len(none.removed)), (0, 0), "changes since now")


@check("storage")
def check_reopen(kit: Context) -> None:
    """Everything is there after closing and opening again, and seen by a second handle at once.

    If this fails, look at commits: when a method returns, its transaction has ended.
    """
    with opened(kit) as (storage, reopen):
        given = patterns(3)
        keys = storage.put_patterns(NS, given).keys
        second = reopen()
        equal(second.get_patterns(NS, keys), given, "patterns seen by a second handle")
        version = second.data_version()
        storage.put_run(Run(id="r", source="a.xml"), [TestResult(test="t", outcome="passed")])
        require(second.data_version() != version, "data_version is the same after another handle committed")
        seq = storage.last_seq()
        storage.close()
        second.close()
        third = reopen()
        equal(third.get_patterns(NS, keys), given, "patterns after reopening")
        equal((third.last_seq(), third.count_results()), (seq, (1, 1)), "(last_seq, counts) after reopening")


@check("storage")
def check_read_only(kit: Context) -> None:
    """A storage opened read-only reads and refuses to write; it does not create a file.

    If this fails, look at how the file is opened.
    """
    with opened(kit) as (storage, reopen):
        keys = storage.put_patterns(NS, patterns(2)).keys
        reader = reopen(read_only=True)
        equal((reader.read_only, reader.count_patterns(NS)), (True, 2), "(read_only, number of patterns)")
        for call in (
            partial(reader.put_patterns, NS, patterns(1, start=9)),
            partial(reader.remove_patterns, NS, keys),
            partial(reader.put_run, Run(id="r", source="a.xml"), []),
        ):
            raises(ReadOnlyError, call, f"{call.func.__name__} of a read-only storage")
        equal(storage.count_patterns(NS), 2, "number of patterns afterwards")
        absent = storage.path.with_name("absent.db")
        refused = False
        try:
            kit.make(path=absent, read_only=True, timeout_s=1.0).close()
        except StorageError:
            refused = True
        require(refused and not absent.exists(), "a missing file is opened, or created, read-only")


@check("storage")
def check_all_or_nothing(kit: Context) -> None:
    """A call that raises has written nothing.

    If this fails, look at the transaction: one per call, rolled back on any error.
    """
    with opened(kit) as (storage, _):
        storage.put_patterns(NS, patterns(2))
        seq = storage.last_seq()
        bad = attrs.evolve(patterns(1, start=8)[0], metadata={"not JSON": object()})
        for call in (
            partial(storage.put_patterns, NS, [*patterns(3, start=5), bad]),
            partial(storage.put_run, Run(id="r", source="a.xml"), [TestResult(test="t", outcome="passed"), None]),
        ):
            failed = False
            try:
                call()
            except Exception:
                failed = True
            require(failed, f"{call.func.__name__} takes what it cannot store")
        equal((storage.count_patterns(NS), storage.count_results()), (2, (0, 0)), "counts after failed calls")
        equal(storage.last_seq(), seq, "last_seq after failed calls")


@check("storage")
def check_threads(kit: Context) -> None:
    """Several threads may write and read at once.

    If this fails, look at connections shared between threads, and at transactions that are not serialized.
    """
    with opened(kit) as (storage, _):
        failures: list[str] = []

        def work(i: int) -> None:
            for turn in range(5):
                given = patterns(4, origin=f"tests/test_{i}.py", start=4 * turn)
                keys = storage.put_patterns(NS, given).keys
                if storage.get_patterns(NS, keys) != given:
                    failures.append(f"thread {i} does not read what it wrote")

        run_threads([], [partial(work, i) for i in range(4)], threading.Event(), failures)
        require(not failures, "; ".join(failures[:3]))
        equal(storage.count_patterns(NS), 80, "number of patterns")
        equal(len(storage.pattern_keys(NS)), 80, "number of keys")
