"""States whose numbers were changed: a native engine refuses one with an error of ours, or goes on from it.

Files of states are checksummed (`tests/unit/test_state_file.py`); what is changed here would pass that.
Set AQE_MUTATIONS to change that many states of each kind (200 otherwise).
"""

from __future__ import annotations

import copy
import os

import numpy as np
import pytest

from aqe_core.errors import AqeError

pytest.importorskip(
    "aqe_backend_native._native", reason="the native backend is not installed: pip install ./plugins/backend_native"
)

from aqe_backend_native.learner import make_learner
from aqe_backend_native.policy import make_policy
from aqe_backend_native.quantization import make_quantizer
from aqe_backend_native.replay import NativeReplay
from aqe_backend_native.text_index import NativeTextIndex

MUTATIONS = int(os.environ.get("AQE_MUTATIONS", "200"))
N, DIM = 60, 5
RNG = np.random.default_rng(3)
SEEN = RNG.standard_normal((N, DIM)).astype(np.float32)
STATES = RNG.integers(0, 9, N)
POLICY = {"algorithm": "ppo", "observation_dim": DIM, "n_actions": 3, "hidden": (4,), "batch_steps": N}


def tabular(algorithm):
    def use(learner):
        learner.update_batch(STATES, STATES % 3, SEEN[:, 0].astype(np.float64), STATES[::-1].copy(), STATES == 0)
        learner.update(2, 1, 0.5, 3, False)
        return [learner.act(state, [0, 1, 2]) for state in range(9)]

    return lambda: make_learner(algorithm=algorithm), use


def bandit():
    def use(learner):
        for context in SEEN[:9].astype(np.float64):
            learner.update(context, learner.act(context), 1.0)
        return learner.values(SEEN[0].astype(np.float64))

    return lambda: make_learner(algorithm="discounted-linucb", dim=DIM, actions=["a", "b"], discount=0.9), use


def replay(*, prioritized):
    def use(ring):
        ring.add_batch(SEEN[:9], STATES[:9], np.ones(9), SEEN[:9], STATES[:9] == 0)
        drawn = ring.sample(20)
        if prioritized:
            ring.update_priorities(drawn.indices, np.ones(20))
        return ring.sample(20)

    return lambda: NativeReplay(capacity=20, observation_dim=DIM, prioritized=prioritized, n_step=3), use


def text():
    def use(index):
        index.add(np.arange(9, dtype=np.uint64) * 4, [(f"name {i}", f"word{i % 4} and text {i}") for i in range(9)])
        index.remove(np.arange(3, dtype=np.uint64))
        return index.search("word2 and text", 5)

    return NativeTextIndex, use


def policy():
    def use(learner):
        return learner.act(SEEN)

    return lambda: make_policy(**POLICY), use


def quantizer(scheme):
    def use(it):
        if not it.trained:
            it.train(SEEN)
        codes = it.encode(SEEN)
        return it.decode(codes), it.scores(SEEN[0], codes)

    return lambda: make_quantizer(scheme=scheme, dim=DIM, metric="l2"), use


KINDS = {
    **{name: tabular(name) for name in ("q-learning", "sarsa", "actor-critic", "ppo")},
    "bandit": bandit(),
    "replay": replay(prioritized=False),
    "replay with priorities": replay(prioritized=True),
    "text index": text(),
    "policy": policy(),
    **{scheme: quantizer(scheme) for scheme in ("int8", "binary", "product")},
}


def extremes(dtype):
    if dtype.kind == "f":
        return [np.nan, np.inf, -np.inf, -1.0, 0.0, 1e308 if dtype.itemsize == 8 else 3e38, 2.0**53, 5e-324]
    if dtype.kind == "b":
        return [False, True]
    info = np.iinfo(dtype)
    return [info.min, info.max, info.max - 1, 0, 1, min(info.max, 2**31), min(info.max, 70)]


def changed(array, rng):
    """Return an array in which numbers, length, form, order or kind were changed."""
    kind = int(rng.integers(8))
    flat = array.ravel().copy()
    if kind <= 2 and flat.size:
        for place in rng.integers(flat.size, size=int(rng.integers(1, 4))):
            choices = extremes(array.dtype)
            flat[place] = choices[int(rng.integers(len(choices)))]
        return flat.reshape(array.shape)
    if kind == 3 and flat.size:  # any bits
        bits = bytearray(flat.tobytes())
        bits[int(rng.integers(len(bits)))] ^= 1 << int(rng.integers(8))
        return np.frombuffer(bytes(bits), array.dtype).reshape(array.shape)
    if kind == 4:
        return array[: int(rng.integers(len(array) + 1))] if array.ndim else array
    if kind == 5:
        return np.concatenate([array, array]) if array.ndim else array
    if kind == 6 and array.ndim == 2:
        return np.asfortranarray(array) if rng.random() < 0.5 else array.T.copy()
    if kind == 7:
        return array.astype([np.float64, np.int32, np.uint8, np.bool_][int(rng.integers(4))])
    return rng.permutation(flat).reshape(array.shape)


@pytest.mark.filterwarnings("ignore:.*encountered in.*:RuntimeWarning")
@pytest.mark.parametrize("name", KINDS)
def test_a_changed_state_is_refused_or_works(name):
    make, use = KINDS[name]
    engine = make()
    use(engine)
    state = engine.export_state()
    rng = np.random.default_rng(MUTATIONS)
    names = sorted(state.arrays)
    taken = 0
    for _ in range(MUTATIONS):
        forged = copy.copy(state.arrays)
        for which in {names[int(rng.integers(len(names)))] for _ in range(int(rng.integers(1, 3)))}:
            with np.errstate(all="ignore"):
                forged[which] = changed(forged[which], rng)
        other = make()
        try:
            other.import_state(type(state)(kind=state.kind, manifest=state.manifest, arrays=forged))
        except AqeError:
            assert other.export_state().manifest == make().export_state().manifest  # nothing was changed
            continue
        taken += 1
        try:
            use(other)
        except AqeError:
            continue  # e.g. numbers that overflow when they are used
        other.export_state()
    assert taken < MUTATIONS
