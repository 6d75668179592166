"""Learners of a workspace: what they learned survives closing, crashes and damage."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import aqe_core
from aqe_core.encoding import Choice, Encoding, Number
from aqe_core.errors import (
    InputError,
    InvalidActionError,
    NonFiniteError,
    ReadOnlyError,
    StorageBusyError,
    StorageError,
)

keys = st.one_of(st.sampled_from(["a", "b", "1", "é"]), st.integers(-2, 2), st.just(2**62))
steps = st.tuples(keys, keys, st.floats(-5, 5), keys, st.booleans(), st.one_of(st.none(), keys))


def exported(learner):
    state = learner.engine.export_state() if hasattr(learner, "engine") else learner.export_state()
    return dict(state.manifest), {name: array.tolist() for name, array in state.arrays.items()}


@settings(max_examples=40, deadline=None)
@given(st.lists(steps, max_size=40), st.integers(1, 7), st.sampled_from(["q-learning", "sarsa"]))
def test_reopened_equals_uninterrupted(tmp_path_factory, transitions, batch, algorithm):
    folder = tmp_path_factory.mktemp("ws")
    plain = aqe_core.open_learner("numpy", algorithm=algorithm)
    for start in range(0, len(transitions), 11):
        with aqe_core.open(folder) as ws:
            learner = ws.learner("x", algorithm=algorithm, batch=batch)
            for each in transitions[start : start + 11]:
                learner.update(*each)
                plain.update(*each)
    with aqe_core.open(folder) as ws:
        assert exported(ws.learner("x", algorithm=algorithm)) == exported(plain)


def test_batches_of_arrays_and_of_names(tmp_path):
    plain = aqe_core.open_learner("numpy", algorithm="sarsa")
    random = np.random.default_rng(0)
    n = 3000
    columns = (random.integers(0, 50, n), random.integers(0, 9, n), random.random(n), random.integers(0, 50, n))
    dones, following = random.random(n) < 0.1, random.integers(0, 9, n)
    with aqe_core.open(tmp_path) as ws:
        learner = ws.learner("x", algorithm="sarsa")
        learner.update_batch(*columns, dones, following)
        learner.update_batch(["s"], ["a"], [1.0], ["t"])
        learner.update_batch([], [], [], [])
        assert learner.pending == 0
    plain.update_batch(*columns, dones, following)
    plain.update_batch(["s"], ["a"], [1.0], ["t"])
    with aqe_core.open(tmp_path) as ws:
        assert exported(ws.learner("x", algorithm="sarsa")) == exported(plain)


def test_many_batches_go_round_the_ring(tmp_path):
    plain = aqe_core.open_learner("numpy")
    for part in range(3):
        with aqe_core.open(tmp_path) as ws:
            learner = ws.learner("x", batch=1)
            for step in range(70):
                learner.update(step % 7, part, float(step), (step + 1) % 7)
                plain.update(step % 7, part, float(step), (step + 1) % 7)
    with aqe_core.open(tmp_path) as ws:
        assert exported(ws.learner("x")) == exported(plain)


def test_updates_are_durable_when_flushed_or_old_enough(tmp_path):
    with aqe_core.open(tmp_path) as ws, aqe_core.open(tmp_path, read_only=True) as reader:
        learner = ws.learner("x", batch=3)
        learner.update("s", "a", 1.0, "t")
        learner.update("s", "a", 1.0, "t")
        assert learner.pending == 2
        learner.update("s", "a", 1.0, "t")
        assert learner.pending == 0
        assert reader.learner("x").value("s", "a") == learner.value("s", "a")
        eager = ws.learner("eager", max_wait_s=0.0)
        eager.update("s", "a", 1.0, "t")
        assert eager.pending == 0


CRASH = """
import sys
import aqe_core
ws = aqe_core.open(sys.argv[1])
learner = ws.learner("x", batch=50, max_wait_s=60)
step = 0
while True:
    learner.update(step % 13, step % 3, float(step % 5), (step + 1) % 13)
    step += 1
    if step % 50 == 0:
        print(step, flush=True)
"""


def test_after_a_crash_it_equals_a_replay_of_what_was_flushed(tmp_path):
    for wanted in (150, 2050):
        folder = tmp_path / str(wanted)
        folder.mkdir()
        child = subprocess.Popen([sys.executable, "-c", CRASH, str(folder)], stdout=subprocess.PIPE, text=True)
        acknowledged = 0
        for line in child.stdout:
            acknowledged = int(line)
            if acknowledged >= wanted:
                break
        os.kill(child.pid, signal.SIGKILL)
        acknowledged = max([acknowledged, *(int(line) for line in child.stdout.read().split())])
        child.stdout.close()
        child.wait()
        with aqe_core.open(folder) as ws:
            learner = ws.learner("x", batch=50, max_wait_s=60)
            kept = int(learner.engine.export_state().arrays["visits"].sum())
            assert kept >= acknowledged
            assert kept % 50 == 0
            plain = aqe_core.open_learner("numpy")
            for step in range(kept):
                plain.update(step % 13, step % 3, float(step % 5), (step + 1) % 13)
            assert exported(learner) == exported(plain)


def test_two_writers_of_one_name_are_told(tmp_path):
    with aqe_core.open(tmp_path) as one, aqe_core.open(tmp_path) as other:
        mine, yours = one.learner("x", batch=1), other.learner("x", batch=1)
        mine.update("s", "a", 1.0, "t")
        with pytest.raises(StorageBusyError, match="another process has learned as 'x'"):
            yours.update("s", "a", 5.0, "t")
        mine.update("s", "a", 1.0, "t")
        yours._recorder.drop(1)  # what it could not write is its own loss; closing would raise again
    with aqe_core.open(tmp_path) as ws:
        assert ws.learner("x").value("s", "a") == mine.value("s", "a")


def test_a_learner_that_cannot_be_kept_keeps_no_other_from_it(tmp_path):
    with aqe_core.open(tmp_path) as other:
        ws = aqe_core.open(tmp_path)
        for name in ("a", "contested", "z"):
            ws.learner(name).update("s", "a", 1.0, "t", True)
        other.learner("contested").update_batch(["s"], ["a"], [1.0], ["t"])
        with pytest.raises(StorageBusyError, match="'contested'"):
            ws.close()
    with aqe_core.open(tmp_path) as ws:
        assert [ws.learner(name).engine.steps for name in ("a", "contested", "z")] == [1, 1, 1]


def test_what_cannot_be_closed_keeps_no_learner_from_being_kept(tmp_path, monkeypatch):
    ws = aqe_core.open(tmp_path)
    ws.learner("x").update("s", "a", 1.0, "t", True)

    def full():
        raise StorageError("the disk is full.", fix="make room.")

    monkeypatch.setattr(ws.patterns, "close", full)
    with pytest.raises(StorageError, match="full"):
        ws.close()
    with aqe_core.open(tmp_path) as ws:
        assert ws.learner("x").engine.steps == 1


def test_what_comes_after_closing_is_refused_not_forgotten(tmp_path):
    with aqe_core.open(tmp_path) as ws:
        learner, strategies = ws.learner("x"), ws.strategies
        learner.update("s", "a", 1.0, "t", True)
        strategies.learn("flaky", "retry", reward=1.0)
    for late in (
        lambda: learner.update("s", "a", 1.0, "t"),
        lambda: learner.update_batch(["s"], ["a"], [1.0], ["t"]),
        lambda: strategies.learn("flaky", "retry", reward=1.0),
        lambda: ws.learner("x"),
    ):
        with pytest.raises(StorageError, match=r"was closed\. Fix: open it anew"):
            late()
    assert learner.engine.steps == 1
    ws.close()


def test_every_update_beside_closing_is_kept_or_refused(tmp_path):
    done = 0
    for _ in range(10):
        ws = aqe_core.open(tmp_path)
        learner = ws.learner("x")
        counts = [0, 0]

        def learn(i, learner=learner, counts=counts):
            try:
                while True:
                    learner.update("s", i, 1.0, "t", True)
                    counts[i] += 1
            except StorageError as error:
                return str(error)

        with ThreadPoolExecutor(2) as pool:
            running = [pool.submit(learn, i) for i in range(2)]
            while not all(counts):
                time.sleep(0.001)
            ws.close()
            assert all("was closed" in each.result() for each in running)
        done += sum(counts)
    with aqe_core.open(tmp_path) as ws:
        assert ws.learner("x").engine.steps == done


def test_other_parameters_are_refused(tmp_path):
    with aqe_core.open(tmp_path) as ws:
        ws.learner("x", learning_rate=0.5).update("s", "a", 1.0, "t")
    with aqe_core.open(tmp_path) as ws, pytest.raises(InputError, match=r"made with learning_rate=0\.5"):
        ws.learner("x", learning_rate=0.25)
    with aqe_core.open(tmp_path) as ws, pytest.raises(InputError, match="state is of kind"):
        ws.learner("x", algorithm="sarsa", learning_rate=0.5)
    with aqe_core.open(tmp_path) as ws:
        assert ws.learner("x", learning_rate=0.5).value("s", "a") == 0.5


def test_a_damaged_batch_ends_the_replay_and_is_told(tmp_path):
    with aqe_core.open(tmp_path) as ws:
        learner = ws.learner("x", batch=1)
        for reward in (1.0, 2.0, 3.0, 4.0):
            learner.update("s", "a", reward, "t")
    import apsw

    with apsw.Connection(str(tmp_path / ".aqe" / "aqe.db")) as db:
        db.execute("UPDATE states SET crc32 = crc32 + 1 WHERE name = 'learner/default/x/02'")
    (tmp_path / "watch.py").write_text(
        "from aqe_core import hookimpl\nAQE_API = 1\nseen = []\n@hookimpl\ndef aqe_event(event): seen.append(event)\n"
    )
    with aqe_core.open(tmp_path) as ws:
        events = []
        ws.plugins.tell = events.append
        assert ws.learner("x").value("s", "a") == pytest.approx(0.1)
        assert [(each.name, each.data["batches"]) for each in events if each.name == "learning-lost"] == [
            ("learning-lost", 2)
        ]
        ws.learner("x").update("s", "a", 1.0, "t")
    with aqe_core.open(tmp_path) as ws:
        assert ws.learner("x").value("s", "a") == pytest.approx(0.19)


def test_bad_input_learns_and_keeps_nothing(tmp_path):
    with aqe_core.open(tmp_path) as ws:
        learner = ws.learner("x", actions=["a"])
        with pytest.raises(NonFiniteError):
            learner.update("s", "a", float("nan"), "t")
        with pytest.raises(InvalidActionError):
            learner.update("s", "b", 1.0, "t")
        with pytest.raises(InputError, match="half a surrogate pair"):
            learner.update("é\udc80", "a", 1.0, "t")
        with pytest.raises(InputError, match="half a surrogate pair"):
            learner.update_batch(["s"], ["a"], [1.0], ["\udc80"])
        with pytest.raises(InputError):
            learner.update_batch(["s"], ["a", "a"], [1.0], ["t"])
        with pytest.raises(InputError):
            learner.update_batch(5, ["a"], [1.0], ["t"])
        with pytest.raises(InputError, match="batch is 0"):
            ws.learner("y", batch=0)
        assert len(learner) == learner.pending == 0
    with aqe_core.open(tmp_path, read_only=True) as ws:
        learner = ws.learner("x", actions=["a"])
        with pytest.raises(ReadOnlyError, match="cannot learn"):
            learner.update("s", "a", 1.0, "t")
        with pytest.raises(ReadOnlyError, match="cannot learn"):
            learner.update_batch(["s"], ["a"], [1.0], ["t"])
        assert learner.act("s", ["a"]) == "a"


def test_one_name_is_one_learner_and_namespaces_are_apart(tmp_path):
    with aqe_core.open(tmp_path) as ws, aqe_core.open(tmp_path, namespace="other") as other:
        assert ws.learner("x") is ws.learner("x")
        ws.learner("x").update("s", "a", 1.0, "t")
        assert other.learner("x").value("s", "a") == 0.0
        assert len(ws.learner("x")) == 1


@pytest.mark.parametrize("backend", ["numpy", "native"])
def test_states_may_be_mappings(tmp_path, backend):
    if backend == "native":
        pytest.importorskip("aqe_backend_native._native", reason="the native extension is not built")
    name = "duration in seconds " * 20  # its keys are longer than what is made without Python
    for field in ("duration_s", name):
        encoding = Encoding(Number(name=field, high=60.0, bins=6), Choice(name="kind", options=["unit", "ui"]))
        states = [{field: 7.0 * (i % 9), "kind": ["unit", "ui", "load"][i % 3]} for i in range(40)]
        plain = aqe_core.open_learner(backend)
        with aqe_core.open(tmp_path, learner=backend) as ws:
            learner = ws.learner(field, encoding=encoding, batch=7)
            for state, after in itertools.pairwise(states):
                learner.update(state, "run", 1.0, after)
                plain.update(encoding.key(state), "run", 1.0, encoding.key(after))
            value = learner.value(states[0], "run")
            assert value == plain.value(encoding.key(states[0]), "run")
            assert learner.act(MappingProxyType(states[0]), ["skip", "run"], explore=False) == "run"
            with pytest.raises(InputError, match="the state has no 'kind'"):
                learner.update(states[0], "run", 1.0, {field: 1.0})
        with aqe_core.open(tmp_path, learner=backend) as ws:
            assert exported(ws.learner(field)) == exported(plain)
            with pytest.raises(InputError, match="must be a str or a 64-bit int"):
                ws.learner(field).update(states[0], "run", 1.0, "end")


def test_asking_again_with_other_parameters_is_refused(tmp_path):
    with aqe_core.open(tmp_path) as ws:
        learner = ws.learner("a", algorithm="sarsa", epsilon=0.5, actions=("go", "stay"))
        learner.engine.set_params(epsilon=0.1)  # a schedule: not what it was made with
        assert ws.learner("a") is learner
        assert ws.learner("a", algorithm="sarsa", epsilon=0.5, actions=("go", "stay"), discount=0.95) is learner
        assert ws.learner("a", actions=np.array(["go", "stay"])) is learner
        for other, told in (
            ({"epsilon": 0.1}, "'a' was made with epsilon=0.5"),
            ({"algorithm": "q-learning"}, "'a' was made with algorithm='sarsa'"),
            ({"actions": ["go"]}, "actions="),
            ({"actions": None}, "actions="),
            ({"actions": 7}, "actions="),
            ({"epsilom": 0.5}, "'a' has no parameter 'epsilom'"),
        ):
            with pytest.raises(InputError, match=told):
                ws.learner("a", **other)
        learner.update("s", "go", 1.0, "t")
        assert learner.pending == 1


def test_asking_again_with_actions_where_there_were_none_is_refused(tmp_path):
    with aqe_core.open(tmp_path) as ws:
        ws.learner("a")
        with pytest.raises(InputError, match="'a' was made with actions=None"):
            ws.learner("a", actions=np.array(["go", "stay"]))


def test_configured_parameters_come_above_those_asked_for_again(tmp_path):
    (tmp_path / "aqe.toml").write_text("[learner.options]\nepsilon = 0.25\n")
    with aqe_core.open(tmp_path) as ws:
        learner = ws.learner("a", epsilon=0.5)
        assert learner.engine.get_params()["epsilon"] == 0.25
        assert ws.learner("a", epsilon=0.5) is learner


def test_an_encoding_that_is_none_or_another_one_is_refused(tmp_path):
    encoding, other = (Encoding(Number(name="coverage", high=high, bins=4)) for high in (1.0, 2.0))
    with aqe_core.open(tmp_path) as ws:
        with pytest.raises(InputError, match="must be an Encoding"):
            ws.learner("a", encoding="coverage")
        learner = ws.learner("a", encoding=encoding)
        assert ws.learner("a") is learner
        with pytest.raises(InputError, match="must be an Encoding"):
            ws.learner("a", encoding="coverage")
        assert ws.learner("a", encoding=Encoding(*encoding.fields)) is learner
        with pytest.raises(InputError, match="another encoding"):
            ws.learner("a", encoding=other)
        ws.learner("b")
        with pytest.raises(InputError, match="another encoding, or none"):
            ws.learner("b", encoding=encoding)
