"""Records refuse what they cannot be."""

from __future__ import annotations

import numpy as np
import pytest

from aqe_core.contracts import TestResult
from aqe_core.errors import InputError


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"test": 7}, "test is 7, but must be a str."),
        ({"outcome": "ok"}, "outcome is 'ok'."),
        ({"outcome": None}, "outcome is None."),
        ({"outcome": ["passed"]}, r"outcome is \['passed'\]."),
        ({"duration_s": -0.5}, "duration_s is -0.5, but must be a finite number of seconds, at least 0."),
        ({"duration_s": float("nan")}, "duration_s is nan"),
        ({"duration_s": float("inf")}, "duration_s is inf"),
        ({"duration_s": "1.5"}, "duration_s is '1.5'"),
        ({"message": b"no"}, "message is b'no', but must be a str."),
    ],
)
def test_a_result_of_wrong_values_is_refused(other, told):
    with pytest.raises(InputError, match=told) as caught:
        TestResult(**{"test": "a::b", "outcome": "passed", **other})
    assert caught.value.fix


@pytest.mark.parametrize("duration_s", [0, 1.5, np.float32(0.5), np.float64(0.5), np.int64(2)])
def test_any_number_of_seconds_is_taken(duration_s):
    assert TestResult(test="a", outcome="passed", duration_s=duration_s).duration_s == duration_s
