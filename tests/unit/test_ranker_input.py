"""Candidates and outcomes are checked when they are made."""

from __future__ import annotations

import numpy as np
import pytest

from aqe_core.contracts import Candidates, Outcomes
from aqe_core.errors import AqeError, DimensionError, InputError, NonFiniteError


def test_what_is_given_is_kept_in_one_form():
    candidates = Candidates(iter(["a", "b"]), duration_s=[1, float("nan")], context={"x": [True, False]}, budget_s=3)
    assert candidates.tests == ("a", "b")
    assert candidates.duration_s.dtype == candidates.context["x"].dtype == candidates.offset.dtype == np.float64
    assert (len(candidates), candidates.budget_s, candidates.offset.tolist()) == (2, 3.0, [0.0, 0.0])
    assert Candidates([]).budget_s == float("inf")
    outcomes = Outcomes([1, 0])
    assert (outcomes.failed.tolist(), outcomes.ran.tolist(), len(outcomes)) == ([True, False], [True, True], 2)
    assert np.isnan(outcomes.duration_s).all()


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"tests": "ab"}, InputError, "list of names"),
        ({"tests": 3}, InputError, "list of names"),
        ({"tests": ["a", 1]}, InputError, r"tests\[1\] is 1"),
        ({"tests": ["a", "b", "a"]}, InputError, "'a' is given twice"),
        ({"duration_s": [1.0]}, DimensionError, "duration_s has shape"),
        ({"duration_s": [1.0, -1.0]}, InputError, r"duration_s\[1\] is -1.0"),
        ({"duration_s": [1.0, float("inf")]}, InputError, r"duration_s\[1\] is inf"),
        ({"duration_s": ["x", "y"]}, InputError, "duration_s cannot be read"),
        ({"context": {"x": [1.0]}}, DimensionError, "context 'x' has 1 items"),
        ({"context": {"x": [1.0, float("nan")]}}, NonFiniteError, "context 'x'"),
        ({"context": {1: [1.0, 2.0]}}, InputError, "must be named by a text"),
        ({"offset": [0.0]}, DimensionError, "offset has 1 items"),
        ({"offset": [0.0, float("inf")]}, NonFiniteError, "offset"),
        ({"budget_s": 0.0}, InputError, "above 0"),
        ({"budget_s": float("nan")}, NonFiniteError, "budget_s is nan"),
        ({"budget_s": True}, InputError, "must be a number"),
        ({"budget_s": "120s"}, InputError, "must be a number"),
    ],
)
def test_wrong_candidates(given, error, message):
    with pytest.raises(AqeError, match=message) as caught:
        Candidates(**{"tests": ["a", "b"], **given})
    assert type(caught.value) is error
    assert caught.value.fix


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"failed": [2, 0]}, InputError),
        ({"failed": [[True]]}, DimensionError),
        ({"ran": [True]}, DimensionError),
        ({"duration_s": [1.0, 2.0, 3.0]}, DimensionError),
    ],
)
def test_wrong_outcomes(given, error):
    with pytest.raises(AqeError) as caught:
        Outcomes(**{"failed": [True, False], **given})
    assert type(caught.value) is error
