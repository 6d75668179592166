"""A state that was written to a file is read back as it was, or not at all."""

from __future__ import annotations

import io
import json
import math
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from aqe_core.errors import InputError, ReadOnlyError
from aqe_core.state import EngineState, Portable, read_state, write_state

NUMBERS = arrays_of.arrays(
    st.sampled_from(["<f8", ">f8", "f4", "i8", "u8", "i1", "?"]),
    arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text("aé\n\0"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab"), inner, max_size=3),
    max_leaves=6,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(manifest=st.dictionaries(st.text(), JSON, max_size=3), values=NUMBERS)
def test_round_trip(tmp_path, manifest, values):
    path = tmp_path / "a.aqestate"
    write_state(path, EngineState(kind="x/1", manifest=manifest, arrays={"v": values}))
    found = read_state(path)
    assert (found.kind, found.manifest) == ("x/1", manifest)
    assert found.arrays["v"].shape == values.shape
    assert found.arrays["v"].dtype == values.dtype.newbyteorder("=")
    assert np.array_equal(found.arrays["v"], values, equal_nan=values.dtype.kind == "f")


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "a.aqestate"
    arrays = {"v": np.arange(6.0), "n": np.array([-0.0, math.inf])}
    write_state(path, EngineState(kind="x/1", manifest={"n": [1, "é"]}, arrays=arrays))
    return path


def test_equal_states_give_equal_files(saved, tmp_path):
    arrays = {"n": np.array([-0.0, math.inf]), "v": np.arange(12.0)[::2] / 2}
    write_state(tmp_path / "b", EngineState(kind="x/1", manifest={"n": [1, "é"]}, arrays=arrays))
    assert (tmp_path / "b").read_bytes() == saved.read_bytes()


def test_members_of_other_backends_are_passed_over(saved):
    with zipfile.ZipFile(saved, "a") as archive:
        archive.writestr("ext/other/cache.bin", b"1234")
    assert sorted(read_state(saved).arrays) == ["n", "v"]


def rewritten(path, change):
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    head = json.loads(members["manifest.json"])
    change(head, members)
    members["manifest.json"] = json.dumps(head).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def objects(head, members):
    import hashlib

    out = io.BytesIO()
    np.save(out, np.array([{}], object), allow_pickle=True)
    members["arrays/v.npy"] = out.getvalue()
    head["sha256"]["arrays/v.npy"] = hashlib.sha256(out.getvalue()).hexdigest()


@pytest.mark.parametrize(
    "change",
    [
        lambda head, members: head.update(format="aqestate/99"),
        lambda head, members: head.pop("kind"),
        lambda head, members: head.update(kind=1),
        lambda head, members: head.update(manifest=[]),
        lambda head, members: head.update(sha256={"arrays/v.npy": "0"}),
        lambda head, members: head["sha256"].update({"../v": "0"}),
        lambda head, members: members.pop("arrays/v.npy"),
        lambda head, members: members.update({"arrays/v.npy": members["arrays/n.npy"]}),
        objects,
    ],
)
def test_a_wrong_file_is_refused(saved, change):
    rewritten(saved, change)
    with pytest.raises(InputError, match=r"a\.aqestate"):
        read_state(saved)


def test_every_flipped_byte_is_seen_or_changes_nothing(saved):
    good = saved.read_bytes()
    before = read_state(saved)
    for where in range(0, len(good), 23):
        saved.write_bytes(good[:where] + bytes([good[where] ^ 0x55]) + good[where + 1 :])
        try:
            found = read_state(saved)
        except InputError:
            continue
        assert (found.kind, found.manifest) == (before.kind, before.manifest)
        assert all(np.array_equal(found.arrays[name], before.arrays[name]) for name in before.arrays)


def test_every_cut_is_seen(saved):
    good = saved.read_bytes()
    for end in range(0, len(good), 41):
        saved.write_bytes(good[:end])
        with pytest.raises(InputError):
            read_state(saved)


def test_limits(saved):
    with pytest.raises(InputError, match="max_bytes"):
        read_state(saved, max_bytes=100)
    with pytest.raises(InputError, match="cannot be read"):
        read_state(saved.with_name("absent"))


@pytest.mark.parametrize(
    "state",
    [
        EngineState(kind="x/1", manifest={"n": math.nan}),
        EngineState(kind="x/1", manifest={"n": {1}}),
        EngineState(kind="x/1", manifest={}, arrays={"v": np.array(["a"])}),
        EngineState(kind="x/1", manifest={}, arrays={"../v": np.zeros(1)}),
    ],
)
def test_what_cannot_be_written_leaves_the_old_file(saved, state):
    good = saved.read_bytes()
    with pytest.raises(InputError):
        write_state(saved, state)
    assert saved.read_bytes() == good
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(ReadOnlyError):
        write_state(tmp_path / "no" / "a", EngineState(kind="x/1", manifest={}))


def test_portable(tmp_path):
    class Counter(Portable):
        n = 0

        def export_state(self):
            return EngineState(kind="counter/1", manifest={"n": self.n})

        def import_state(self, state):
            self.n = state.manifest["n"]

    one, two = Counter(), Counter()
    one.n = 7
    one.save(tmp_path / "c.aqestate")
    two.load(tmp_path / "c.aqestate")
    assert two.n == 7
