"""Arrays that NumPy takes like any other and compiled code must not read as such, and calls within calls."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from aqe_backend_numpy.neural.policy import make_policy as make_numpy_policy
from aqe_backend_numpy.text_index import NumpyTextIndex

pytest.importorskip(
    "aqe_backend_native._native", reason="the native backend is not installed: pip install ./plugins/backend_native"
)

from aqe_backend_native.learner import make_learner
from aqe_backend_native.policy import make_policy
from aqe_backend_native.replay import NativeReplay
from aqe_backend_native.store import make_store
from aqe_backend_native.text_index import NativeTextIndex

N, DIM = 40, 6


def shifted(array):
    """Return a copy whose numbers begin at odd addresses."""
    moved = np.frombuffer(b"." + array.tobytes(), array.dtype, offset=1).reshape(array.shape)
    assert moved.itemsize == 1 or not moved.flags.aligned
    return moved


def field(array):
    """Return a view of a field of records: its numbers lie apart by less than twice their size."""
    records = np.zeros(array.shape, [("before", np.uint8), ("values", array.dtype)])
    records["values"] = array
    return records["values"]


def fortran(array):
    return np.asfortranarray(array)


def apart(array):
    return np.repeat(array, 2, axis=0)[::2]


FORMS = [shifted, field, fortran, apart]
# True, as NumPy sees it.
TRUTHS = [np.full(N, byte, np.uint8).view(np.bool_) for byte in (1, 2, 128, 255)]


def numbers(*shape):
    return np.random.default_rng(1).standard_normal(shape)


def states_of(engine):
    state = engine.export_state()
    return state.manifest, {name: array.tobytes() for name, array in state.arrays.items()}


@pytest.mark.parametrize("form", FORMS)
def test_a_store_keeps_and_finds_the_same(form):
    rows, keys = numbers(N, DIM).astype(np.float32), np.arange(N, dtype=np.uint64)
    plain, odd = make_store(dim=DIM), make_store(dim=DIM)
    plain.add(keys, rows)
    odd.add(form(keys), form(rows))
    assert odd.remove(form(keys[:3])) == plain.remove(keys[:3]) == 3
    for queries in (rows, rows[0]):
        assert np.array_equal(odd.search(form(queries)).keys, plain.search(queries).keys)
        found, expected = odd.search(form(queries), 4, among=form(keys)), plain.search(queries, 4, among=keys)
        assert np.array_equal(found.keys, expected.keys)
        assert np.array_equal(found.scores, expected.scores)


@pytest.mark.parametrize("form", FORMS)
def test_a_learner_learns_the_same(form):
    states, rewards, dones = np.arange(N) % 5, numbers(N), np.arange(N) % 7 == 0
    plain, odd = make_learner(), make_learner()
    plain.update_batch(states, states, rewards, states[::-1].copy(), dones)
    odd.update_batch(form(states), form(states), form(rewards), form(states[::-1].copy()), form(dones.view(np.int8)))
    assert states_of(odd) == states_of(plain)


@pytest.mark.parametrize("form", FORMS)
def test_a_bandit_learns_and_chooses_the_same(form):
    plain, odd = (make_learner(algorithm="linucb", dim=DIM, actions=["a", "b", "c"]) for _ in range(2))
    for i, context in enumerate(numbers(20, DIM)):
        action = "abc"[i % 3]
        plain.update(context, action, 0.1 * i)
        odd.update(form(context), action, 0.1 * i)
        assert odd.act(form(context)) == plain.act(context)
        assert np.array_equal(odd.values(form(context)), plain.values(context))
    assert states_of(odd) == states_of(plain)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("action_dim", [0, 2])
def test_a_replay_keeps_the_same(form, action_dim):
    seen, after = numbers(2, N, DIM).astype(np.float32)
    actions = numbers(N, action_dim).astype(np.float32) if action_dim else np.arange(N)
    plain, odd = (NativeReplay(capacity=64, observation_dim=DIM, action_dim=action_dim) for _ in range(2))
    plain.add_batch(seen, actions, numbers(N), after, np.arange(N) % 7 == 0)
    odd.add_batch(form(seen), form(actions), form(numbers(N)), form(after), np.arange(N) % 7 == 0)
    plain.add(seen[0], actions[0], 1.0, after[0], False)
    odd.add(form(seen[0]), actions[0], 1.0, form(after[0]), False)
    assert states_of(odd) == states_of(plain)


@pytest.mark.parametrize("form", FORMS)
def test_a_text_index_keeps_the_same(form):
    keys, texts = np.arange(N, dtype=np.uint64) * 3, [f"word{i % 4} of text {i}" for i in range(N)]
    indexes = NumpyTextIndex(), NativeTextIndex()
    for index in indexes:
        index.add(form(keys), [(text, text) for text in texts])
        index.remove(form(keys[:5]))
    one, other = (index.search("word2 text", 5) for index in indexes)
    assert np.array_equal(one.keys, other.keys)


@pytest.mark.parametrize("form", FORMS)
def test_a_policy_obeys_the_same_masks(form):
    options = {"algorithm": "ppo", "observation_dim": DIM, "n_actions": 4, "hidden": (8,), "batch_steps": N}
    seen = numbers(N, DIM).astype(np.float32)
    masks = np.random.default_rng(2).random((N, 4)) < 0.4
    masks[:, 3] |= ~masks.any(axis=1)
    for mask in (masks, form(masks), (form(masks).astype(np.uint8) * 2).view(np.bool_)):
        one, other = make_numpy_policy(**options), make_policy(**options)
        chosen = other.act(form(seen), mask=mask)
        assert masks[np.arange(N), chosen].all()
        assert np.array_equal(chosen, one.act(seen, mask=masks))


@pytest.mark.parametrize("true", TRUTHS, ids=lambda true: true.view(np.uint8)[0])
def test_any_byte_but_zero_is_true(true):
    states, rewards = np.arange(N) % 5, numbers(N)
    plain, odd = make_learner(), make_learner()
    plain.update_batch(states, states, rewards, states, np.ones(N, np.bool_))
    odd.update_batch(states, states, rewards, states, true)
    assert states_of(odd) == states_of(plain)
    seen = numbers(N, DIM).astype(np.float32)
    for terminated, truncated in [(true, None), (true, true), (np.zeros(N, np.bool_), true)]:
        plain, odd = (NativeReplay(capacity=64, observation_dim=DIM) for _ in range(2))
        plain.add_batch(seen, states, rewards, seen, terminated != 0, None if truncated is None else truncated != 0)
        odd.add_batch(seen, states, rewards, seen, terminated, truncated)
        assert states_of(odd) == states_of(plain)


class Leaving:
    """Calls something when it is collected, which only the collector can find out."""

    def __init__(self, call):
        self.call, self.me = call, self

    def __del__(self):
        self.call()


def collected_in(call, within):
    """Call, with garbage around whose collection, at the first allocation, makes another call."""
    seen = []
    before = gc.get_threshold()
    for _ in range(50):
        gc.disable()
        Leaving(lambda: seen.append(within()))
        gc.set_threshold(1)
        gc.enable()
        try:
            call()
        finally:
            gc.set_threshold(*before)
    gc.collect()
    assert len(seen) == 50


def test_a_search_may_come_within_a_search():
    rows = numbers(N, DIM).astype(np.float32)
    store = make_store(dim=DIM)
    store.add(np.arange(N), rows)
    expected = store.search(rows[0], 5)

    def found():
        hits = store.search(rows[0], 5)
        assert np.array_equal(hits.keys, expected.keys)
        assert np.array_equal(hits.scores, expected.scores)

    collected_in(found, lambda: store.search(rows[1], 3))


@pytest.mark.parametrize("call", ["export_state", "add", "sample"])
def test_a_replay_may_be_used_while_it_is_used(call):
    seen = numbers(N, DIM).astype(np.float32)
    replay = NativeReplay(capacity=64, observation_dim=DIM)
    replay.add(seen[0], 1, 1.0, seen[1], False)
    calls = {
        "export_state": replay.export_state,
        "add": lambda: replay.add(seen[2], 1, 1, seen[3], False),
        "sample": lambda: replay.sample(3),
    }
    collected_in(calls[call], lambda: replay.add(seen[2], 2, 0.5, seen[3], True))
    assert len(replay) == (64 if call == "add" else 51)
