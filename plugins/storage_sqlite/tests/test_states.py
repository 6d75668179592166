"""Engine states: what was kept comes back, or nothing does."""

from __future__ import annotations

import math
import zlib

import numpy as np
import pytest
from aqe_storage_sqlite import journal
from aqe_storage_sqlite.storage import SqliteStorage
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from aqe_core.contracts import Pattern, Run, TestResult
from aqe_core.errors import CorruptStorageError, InputError, NonFiniteError
from aqe_core.state import EngineState

ARRAYS = st.sampled_from(["<f8", "<f4", ">i4", "<u8", "|b1", "<c16", "<f2"]).flatmap(
    lambda dtype: nps.arrays(dtype, nps.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
)


def equal(one, two):
    assert one.kind == two.kind
    assert one.manifest == two.manifest
    assert sorted(one.arrays) == sorted(two.arrays)
    for name, array in one.arrays.items():
        other = two.arrays[name]
        assert other.dtype == array.dtype.newbyteorder("=")
        assert other.flags.writeable
        np.testing.assert_array_equal(other, array)


@settings(max_examples=40, deadline=None)
@given(
    manifest=st.dictionaries(st.text(), st.none() | st.integers() | st.lists(st.text()), max_size=3),
    arrays=st.dictionaries(st.text(max_size=4), ARRAYS, max_size=3),
    seq=st.integers(0, 2**63 - 1),
)
def test_round_trip(tmp_path_factory, manifest, arrays, seq):
    with SqliteStorage(tmp_path_factory.mktemp("db") / "aqe.db", durability="normal") as storage:
        state = EngineState(kind="learner/x/1", manifest=manifest, arrays=arrays)
        storage.save_state("name", EngineState(kind="old", manifest={}, arrays={"gone": np.ones(3)}), seq=1)
        storage.save_state("name", state, seq=seq)
        loaded, number = storage.load_state("name")
        equal(state, loaded)
        assert number == seq
        assert storage.load_state("other") is None


def test_strided_and_read_only_arrays(storage):
    base = np.arange(24.0).reshape(4, 6)
    base.flags.writeable = False
    state = EngineState(kind="k", manifest={}, arrays={"t": base.T, "s": base[::2, ::-3], "f": np.asfortranarray(base)})
    storage.save_state("n", state)
    equal(state, storage.load_state("n")[0])


@pytest.mark.parametrize(
    ("state", "error"),
    [
        (EngineState(kind=3, manifest={}), InputError),
        (EngineState(kind="k", manifest=[]), InputError),
        (EngineState(kind="k", manifest={"x": math.nan}), NonFiniteError),
        (EngineState(kind="k", manifest={"x": object()}), InputError),
        (EngineState(kind="k", manifest={}, arrays={"a": np.array(["x"], object)}), InputError),
        (EngineState(kind="k", manifest={}, arrays={"a": np.array(["x"])}), InputError),
        (EngineState(kind="k", manifest={}, arrays={"a": [1.0]}), InputError),
        (EngineState(kind="k", manifest={}, arrays={3: np.ones(1)}), InputError),
        (EngineState(kind="k\ud800", manifest={}), InputError),
    ],
)
def test_a_bad_state_leaves_the_old_one(storage, state, error):
    old = EngineState(kind="k", manifest={"good": 1}, arrays={"a": np.ones(2)})
    storage.save_state("n", old, seq=4)
    with pytest.raises(error):
        storage.save_state("n", state)
    equal(old, storage.load_state("n")[0])


@pytest.mark.parametrize("seq", [-1, 2**63, 1.5, None])
def test_seq_is_checked(storage, seq):
    with pytest.raises(InputError):
        storage.save_state("n", EngineState(kind="k", manifest={}), seq=seq)


STATE = EngineState(
    kind="learner/marked/1", manifest={"parameter": "marked value"}, arrays={"table": np.arange(1000.0) + 0.123}
)


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (np.float64(500.123).tobytes(), np.float64(500.124).tobytes()),
        (b"marked value", b"marked valux"),
        (b"marked value", b"marked valu\xff"),
        (b"learner/marked/1", b"learner/marked/2"),
        (b"<f8[1000]", b"<f8[1001]"),
        (b"<f8[1000]", b"<i8[1000]"),
    ],
)
def test_damage_means_nothing_is_kept(path, good, bad):
    with SqliteStorage(path) as storage:
        storage.save_state("n", STATE, seq=77)
    content = path.read_bytes()
    assert content.count(good) == 1
    path.write_bytes(content.replace(good, bad))
    with SqliteStorage(path) as storage:
        assert storage.load_state("n") is None
        storage.save_state("n", STATE, seq=78)
        equal(STATE, storage.load_state("n")[0])


@pytest.mark.parametrize(
    "sql", ["UPDATE states SET seq = 5", "DELETE FROM state_arrays", "UPDATE states SET crc32 = 0"]
)
def test_a_row_that_does_not_fit(storage, sql):
    storage.save_state("n", STATE, seq=77)
    storage._database._writer.connection.execute(sql).fetchall()
    assert storage.load_state("n") is None


# -- what a state says of the truth ----------------------------------------------------------------------------------


def claiming(storage, namespace="n"):
    """Return a state that holds the patterns that there are now, and the journal number."""
    keys = storage.pattern_keys(namespace)
    claim = {
        "namespace": namespace,
        "last_key": int(keys.max(initial=0)),
        "count": len(keys),
        "keys_crc32": zlib.crc32(keys.astype("<u8").tobytes()),
    }
    return EngineState(kind="k", manifest={"truth": {"patterns": claim}}), storage.last_seq()


def put(storage, *ids, text="t", namespace="n"):
    return storage.put_patterns(namespace, [Pattern(id=id_, name="n", text=text) for id_ in ids]).keys.tolist()


def findings(storage):
    verified = SqliteStorage.maintenance(storage.path).verify()
    assert {found.check for found in verified.findings} <= {"states"}
    assert all(found.severity == "warning" for found in verified.findings)
    return {found.row: found.message for found in verified.findings}


def test_states_agree_with_the_truth_whatever_happens_after(storage):
    """Changed, removed and new patterns since, of its own and of other namespaces, are no disagreement."""
    keys = put(storage, *"abcdef")
    put(storage, *"xyz", namespace="other")
    storage.remove_patterns("n", keys[:1])
    for name in ("first", "second", "third"):
        state, seq = claiming(storage)
        storage.save_state(name, state, seq=seq)
        put(storage, "b", text=name)
        storage.remove_patterns("n", [keys.pop()])
        put(storage, f"new {name}", name, namespace="n")
        put(storage, f"new {name}", namespace="other")
    assert findings(storage) == {}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda keys: keys[:-1], "it has 4 patterns of 'n', where there were 5"),
        (lambda keys: [*keys, 99], "it has 6 patterns of 'n', where there were 5"),
        (lambda keys: [*keys[:-1], 99], "other patterns of 'n'"),
    ],
)
def test_a_state_with_other_patterns_is_found_and_left_out_by_repair(storage, spoil, message):
    keys = put(storage, *"abcde")
    state, seq = claiming(storage)
    held = np.array(spoil(keys), "<u8")
    state.manifest["truth"]["patterns"] |= {"count": len(held), "keys_crc32": zlib.crc32(held.tobytes())}
    storage.save_state("wrong", state, seq=seq)
    storage.save_state("right", claiming(storage)[0], seq=seq)
    put(storage, "f", "g")
    storage.remove_patterns("n", keys[:2])
    found = findings(storage)
    assert list(found) == ["wrong"]
    assert message in found["wrong"]
    storage.close()
    repaired = SqliteStorage.maintenance(storage.path).repair()
    assert any("'wrong' is left out" in note for note in repaired.notes)
    with SqliteStorage(storage.path) as again:
        assert again.load_state("wrong") is None
        assert again.load_state("right") is not None


def test_a_state_ahead_of_the_journal_is_found(storage):
    put(storage, "a")
    state, seq = claiming(storage)
    storage.save_state("s", state, seq=seq + 1)
    assert "journal up to 2, which ends at 1" in findings(storage)["s"]


def test_a_state_that_lost_results_is_found(storage):
    storage.put_run(Run(id="1", source="s"), [TestResult(test="a", outcome="passed")] * 2)
    storage.put_run(Run(id="2", source="s"), [])
    claims = {"runs": 1, "results": 2}
    storage.save_state("right", EngineState(kind="k", manifest={"truth": {"results": claims}}), seq=1)
    storage.save_state("wrong", EngineState(kind="k", manifest={"truth": {"results": claims | {"results": 3}}}), seq=2)
    storage.put_run(Run(id="3", source="s"), [TestResult(test="a", outcome="failed")])
    assert findings(storage) == {"wrong": "it has learned from 3 results of 1 runs, where there are 2 of 1"}


@pytest.mark.parametrize(
    "truth",
    [{"patterns": 3}, {"patterns": {}}, {"results": []}, {"patterns": {"namespace": "n", "last_key": -1}}],
)
def test_a_claim_that_cannot_be_read(storage, truth):
    storage.save_state("s", EngineState(kind="k", manifest={"truth": truth}), seq=0)
    assert "cannot be read" in findings(storage)["s"]


def test_a_state_with_a_number_of_its_own_is_nobodys_concern(storage):
    """A learner counts what it has written; the journal of patterns says nothing about that."""
    storage.save_state("learner", STATE, seq=1_000)
    storage.save_state("other", EngineState(kind="k", manifest={"truth": {"of a newer aqe": 1}}), seq=1_000)
    assert findings(storage) == {}
    storage.close()
    SqliteStorage.maintenance(storage.path).repair()
    with SqliteStorage(storage.path) as again:
        equal(STATE, again.load_state("learner")[0])


def test_a_journal_that_cannot_be_read_is_not_the_fault_of_the_states(storage, monkeypatch):
    put(storage, "a")
    state, seq = claiming(storage)
    storage.save_state("s", state, seq=seq)

    def changes_since(*_):
        raise CorruptStorageError("the journal cannot be read.", fix="")

    monkeypatch.setattr(journal, "changes_since", changes_since)
    assert findings(storage) == {}
