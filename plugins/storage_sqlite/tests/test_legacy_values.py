from __future__ import annotations

import json
import math
import struct
from pathlib import Path

import pytest
from aqe_storage_sqlite.legacy.javascript import (
    action_key,
    as_json,
    number_text,
    parse_json,
    round_half_up,
    seconds,
    state_key,
    vector,
)
from aqe_storage_sqlite.legacy.rebuild import Step, learner_state, rebuild

import aqe_core

GOLDEN = Path(__file__).parents[4] / "shared/fixtures/v2.8.0/golden.json"


@pytest.fixture(scope="module")
def golden():
    if not GOLDEN.exists():
        pytest.skip("the ancestor's answers are not there")
    return json.loads(GOLDEN.read_text())


def test_keys_are_the_ancestors(golden):
    for case in golden["state_keys"]:
        assert state_key(case["state"]) == case["learner_key"]
    for parallelization, key in golden["action_keys"]:
        assert action_key({"strategy": "s", "parallelization": parallelization, "retryPolicy": "none"}) == key


def test_learning_without_replay_is_the_ancestors(golden, monkeypatch):
    monkeypatch.setattr("aqe_storage_sqlite.legacy.rebuild._BATCH", 10**9)  # the engine replays, its learner does not
    rebuilt = rebuild(
        Step(state_key(e["state"]), action_key(e["action"]), e["reward"], state_key(e["nextState"]))
        for e in golden["experiences"]
    )
    pairs = {
        state: {action: [value, rebuilt.visits[state][action]] for action, value in row.items()}
        for state, row in rebuilt.values.items()
    }
    assert pairs == golden["qlearning"]["qTable"]


def rebuild_plainly(steps):
    """The rule and the replay, written down a second time."""
    values = {}
    for n in range(1, len(steps) + 1):
        todo = [steps[n - 1]]
        if n % 10 == 0 and n >= 32:
            todo += steps[n - 32 : n]
        for state, action, reward, next_state in todo:
            best = max(values.get(next_state, {"": 0.0}).values())
            row = values.setdefault(state, {})
            old = row.get(action, 0.0)
            row[action] = old + 0.1 * (reward + 0.95 * best - old)
    return values


def some_steps(count):
    return [Step(f"s{i * 7 % 5}", f"a{i * 3 % 4}", math.sin(i), f"s{i * 11 % 6}") for i in range(count)]


@pytest.mark.parametrize("count", [0, 1, 10, 31, 32, 39, 40, 41, 95])
def test_a_rebuilt_table_equals_the_plain_loop(count):
    steps = some_steps(count)
    rebuilt = rebuild(steps)
    assert rebuilt.values == rebuild_plainly(steps)
    replays = 32 * sum(n % 10 == 0 and n >= 32 for n in range(1, count + 1))
    assert sum(sum(row.values()) for row in rebuilt.visits.values()) == count + replays


def test_a_saved_table_proves_or_disproves():
    steps = some_steps(95)
    assert rebuild(steps).verified is None
    assert rebuild(steps, rebuild_plainly(steps[:60])).verified is True
    assert rebuild(steps, rebuild_plainly(steps[3:60])).verified is False


def test_a_learner_imports_a_rebuilt_table():
    rebuilt = rebuild(some_steps(95))
    learner = aqe_core.open_learner("numpy")
    learner.import_state(learner_state(rebuilt.values, rebuilt.visits))
    assert len(learner) == sum(map(len, rebuilt.values.values()))
    for state, row in rebuilt.values.items():
        for action, value in row.items():
            assert learner.value(state, action) == value
    empty = aqe_core.open_learner("numpy")
    empty.import_state(learner_state({}, {}))
    assert len(empty) == 0


def test_numbers_are_rounded_and_printed_as_there():
    assert [round_half_up(x) for x in (2.5, 3.5, -2.5, -0.5, 0.49999999999999994)] == [3, 4, -2, 0, 0]
    assert [number_text(x) for x in (1.0, 0.3, -0.0, 1e20, 1.6)] == ["1", "0.3", "0", "100000000000000000000", "1.6"]


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (1767692322996, 1767692322.996),
        (1767692322, 1767692322.0),
        (1767692322996.0, 1767692322.996),
        ("1767692322996", 1767692322.996),
        ("2026-01-06 09:38:42", 1767692322.0),
        ("2026-01-06T09:38:42.996Z", 1767692322.996),
        ("2026-01-06T10:38:42+01:00", 1767692322.0),
        ("2026-13-06 09:38:42", None),
        ("soon", None),
        (None, None),
        (True, None),
        (math.inf, None),
        (b"x", None),
    ],
)
def test_times_of_all_kinds(value, wanted):
    assert seconds(value) == wanted


@pytest.mark.parametrize("text", ["{", "", "NaN", "Infinity", "[" * 100_000, None, 3, "9" * 5000])
def test_what_is_no_json_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011  # json's own error is one
        parse_json(text)


def test_json_of_what_json_cannot_say():
    assert json.loads(as_json({"b": b"\x00\xff", "f": math.inf, "d": {"n": None}})) == {
        "b": {"$blob": "AP8="},
        "f": {"$float": "inf"},
        "d": {"n": None},
    }
    assert json.loads(as_json([math.nan, b""])) == [{"$float": "nan"}, {"$blob": ""}]


def test_embeddings():
    assert vector(struct.pack("<3f", 1.0, 2.0, 3.0)).tolist() == [1.0, 2.0, 3.0]
    for broken in (b"", b"123", struct.pack("<f", math.nan), "text", None):
        assert vector(broken) is None
