"""Keys and vectors: the ancestor's to the letter, ours stable, both readable."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aqe_core.encoding import (
    Choice,
    Encoding,
    Number,
    ancestor_action_key,
    ancestor_context_feature,
    ancestor_extractor_key,
    ancestor_state_key,
    read_key,
)
from aqe_core.errors import InputError, NonFiniteError

GOLDEN = Path(__file__).parents[3] / "shared/fixtures/v2.8.0/golden.json"
SHARE = st.floats(0.0, 1.0)
ENCODING = Encoding(
    Number(name="coverage", high=100.0, bins=20),
    Number(name="change", low=-1.0, bins=3),
    Choice(name="kind", options=["unit", "ui", 1, True]),
)


@pytest.fixture(scope="module")
def golden():
    if not GOLDEN.exists():
        pytest.skip("the ancestor's answers are not there")
    return json.loads(GOLDEN.read_text(encoding="utf-8"))


# -- the ancestor ---------------------------------------------------------------------------------------------------


def test_keys_are_the_ancestors(golden):
    for case in golden["state_keys"]:
        assert ancestor_state_key(case["state"]) == case["learner_key"]
        assert ancestor_extractor_key(case["state"]) == case["extractor_key"]
        assert ancestor_context_feature(case["state"]["contextFeatures"]) == case["features"][5]
    for parallelization, key in golden["action_keys"]:
        assert ancestor_action_key({"strategy": "s", "parallelization": parallelization, "retryPolicy": "none"}) == key


def test_context_hash_by_hand():
    # "{}": 31 * 123 + 125 = 3938
    assert ancestor_context_feature({}) == 0.938
    assert ancestor_context_feature({"a": 1.0}) == ancestor_context_feature({"a": 1})
    assert ancestor_context_feature({"a": [1.5, "\ud800é😀", None, True]}) < 1.0


@given(SHARE, st.integers(0, 20), st.integers(0, 50), SHARE, st.none() | st.integers(0, 10**7))
def test_ancestor_keys_are_read(complexity, capabilities, attempts, resources, limit):
    state = {
        "taskComplexity": complexity,
        "requiredCapabilities": ["c"] * capabilities,
        "previousAttempts": attempts,
        "availableResources": resources,
        "timeConstraint": limit,
    }
    found = read_key(ancestor_state_key(state))
    assert found.format == "agentic-qe-2.8"
    assert found.parts["capabilities"] == pytest.approx(capabilities / 10, abs=0.0501)
    longer = read_key(ancestor_extractor_key(state))
    assert longer.format == "agentic-qe-2.8-extractor"
    assert max(longer.parts.values()) <= 1.0
    assert longer.parts["complexity"] == found.parts["complexity"] == pytest.approx(complexity, abs=0.0501)


@given(st.text("ab:c", min_size=1), SHARE)
def test_ancestor_actions_are_read(strategy, parallelization):
    key = ancestor_action_key({"strategy": strategy, "parallelization": parallelization, "retryPolicy": "none"})
    found = read_key(key)
    assert found.format == "agentic-qe-2.8-action"
    assert found.parts["strategy"] == strategy
    assert found.parts["parallelization"] == pytest.approx(parallelization, abs=0.0501)


@pytest.mark.parametrize(
    "key", ["", "a", 7, "1,2,3,4", "1,2,3,4,x", "a:b:c", ":0.1:none", "k1:", "k1:a", "k1:a=-1", "a:1:n"]
)
def test_other_keys(key):
    assert read_key(key) == ("other", {})


# -- ours -----------------------------------------------------------------------------------------------------------


def test_key_and_vector_by_hand():
    state = {"coverage": 99, "change": 0.0, "kind": True, "unknown": object()}
    assert ENCODING.key(state) == "k1:coverage=19,change=1,kind=3"
    assert ENCODING.dim == 7
    assert ENCODING.vector(state).tolist() == [0.99, 0.5, 0.0, 0.0, 0.0, 1.0, 0.0]
    assert ENCODING.key({**state, "kind": 1}).endswith("kind=2")
    assert ENCODING.key({**state, "kind": "never"}).endswith("kind=4")
    assert ENCODING.read(ENCODING.key({**state, "kind": "never"})) == {"coverage": 97.5, "change": 0.0, "kind": None}


@given(
    st.floats(allow_nan=False, allow_infinity=False), st.floats(-9, 9), st.sampled_from(["unit", "ui", 1, True, "?"])
)
def test_reading_a_key_gives_the_key_again(coverage, change, kind):
    key = ENCODING.key({"coverage": coverage, "change": np.float32(change), "kind": kind})
    again = ENCODING.read(key)
    assert ENCODING.key(again) == key
    vector = ENCODING.vector(again)
    assert vector.shape == (7,)
    assert ((vector >= 0.0) & (vector <= 1.0)).all()


@pytest.mark.parametrize("coverage", [math.nan, math.inf])
def test_not_finite(coverage):
    with pytest.raises(NonFiniteError):
        ENCODING.key({"coverage": coverage, "change": 0.0, "kind": 1})


@pytest.mark.parametrize(
    "state", [{}, {"coverage": "1", "change": 0.0, "kind": 1}, {"coverage": True}, [1.0, 2.0], None]
)
def test_bad_states(state):
    with pytest.raises(InputError):
        ENCODING.key(state)
    with pytest.raises(InputError):
        ENCODING.vector(state)


@pytest.mark.parametrize("key", ["0.7,0.1,1.6,0.1,0.2", "k1:coverage=20,change=1,kind=0", "k1:coverage=1", 3])
def test_keys_of_other_encodings_are_refused(key):
    with pytest.raises(InputError):
        ENCODING.read(key)


@pytest.mark.parametrize(
    "fields",
    [
        (),
        (Number(name="a"), Choice(name="a", options=[1])),
        (Number(name="a=b"),),
        (Number(name="a", low=1.0),),
        (Number(name="a", high=math.inf),),
        (Number(name="a", bins=0),),
        (Choice(name="a", options=[]),),
        (Choice(name="a", options=["b", "b"]),),
    ],
)
def test_impossible_fields(fields):
    with pytest.raises(InputError):
        Encoding(*fields)


@given(
    st.floats(-2, 7) | st.integers(-3, 8) | st.sampled_from([True, np.float32(0.3), np.int8(4), -0.0, 5.0, 10**400]),
    st.sampled_from(["a", "b", "other", 1, True, None, np.str_("a"), 1.0]),
)
def test_a_key_is_what_its_fields_say(number, choice):
    """Plain values are read from tables; that changes nothing."""
    fields = Number(name="n", low=-1, high=5.0, bins=7), Choice(name="c", options=["a", 1, "b"])
    state = {"n": number, "c": choice}
    try:
        parts = [f"{field.name}={field.code(state[field.name])}" for field in fields]
    except (InputError, OverflowError) as error:
        with pytest.raises(type(error)):
            Encoding(*fields).key(state)
    else:
        assert Encoding(*fields).key(state) == "k1:" + ",".join(parts)
