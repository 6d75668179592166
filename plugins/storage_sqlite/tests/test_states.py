"""Engine states: what was kept comes back, or nothing does."""

from __future__ import annotations

import math

import numpy as np
import pytest
from aqe_storage_sqlite.storage import SqliteStorage
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from aqe_core.errors import InputError, NonFiniteError
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
