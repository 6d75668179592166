from __future__ import annotations

import enum
import warnings
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from aqe_core import validate
from aqe_core.contracts.pattern_store import METRICS, NO_KEY
from aqe_core.errors import (
    AqeError,
    CapabilityError,
    DimensionError,
    InputError,
    KeyRangeError,
    NonFiniteError,
)
from aqe_core.testing.data import variants

RAGGED = [[1.0], [2.0, 3.0]]


def refused(error, message, call, *arguments):
    """Require exactly this class, a message that starts like that, and advice."""
    with pytest.raises(AqeError) as caught:
        call(*arguments)
    assert type(caught.value) is error
    assert caught.value.message.startswith(message), caught.value.message
    assert caught.value.fix


# -- scalars -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", [validate.as_dim, validate.as_k])
@pytest.mark.parametrize("number", [1, 7, 4096, np.int64(7), np.uint8(7)])
def test_whole_numbers_in_range_are_returned_as_int(call, number):
    got = call(number)
    assert (got, type(got)) == (int(number), int)


@pytest.mark.parametrize(
    ("call", "given_", "error", "message"),
    [
        (validate.as_dim, 0, DimensionError, "dim is 0, but must be in 1 .. 4096."),
        (validate.as_dim, 4097, DimensionError, "dim is 4097, but must be in 1 .. 4096."),
        (validate.as_dim, 3.0, DimensionError, "dim is 3.0, but must be an integer."),
        (validate.as_dim, "3", DimensionError, "dim is '3', but must be an integer."),
        (validate.as_dim, None, DimensionError, "dim is None"),
        (validate.as_k, 0, InputError, "k is 0, but must be in 1 .. 16777216."),
        (validate.as_k, -1, InputError, "k is -1"),
        (validate.as_k, 2**31, InputError, "k is 2147483648"),
        (validate.as_k, 1.5, InputError, "k is 1.5, but must be an integer."),
        (validate.as_metric, "cosinus", InputError, "metric is 'cosinus', but must be one of cosine, dot, l2."),
        (validate.as_metric, None, InputError, "metric is None"),
        (validate.as_metric, ["dot"], InputError, "metric is ['dot']"),
    ],
)
def test_a_wrong_scalar_is_refused(call, given_, error, message):
    refused(error, message, call, given_)


def test_a_dim_may_have_another_limit():
    assert validate.as_dim(5000, 65536) == 5000
    refused(DimensionError, "dim is 9, but must be in 1 .. 8.", validate.as_dim, 9, 8)


def test_a_metric_is_one_that_the_backend_has():
    for metric in METRICS:
        assert validate.as_metric(metric) == metric
    assert validate.as_metric("dot", {"dot", "l2"}) == "dot"
    message = "this backend does not compute the metric 'cosine', only dot, l2."
    refused(CapabilityError, message, validate.as_metric, "cosine", {"l2", "dot"})


@pytest.mark.parametrize(
    "reward", [1, -2.5, True, np.float32(0.5), np.int8(-1), np.array(2.0), Decimal("1.5"), Fraction(1, 3), 5e-324]
)
def test_a_reward_is_any_finite_number(reward):
    got = validate.as_reward(reward)
    assert (got, type(got)) == (float(reward), float)


@pytest.mark.parametrize(
    "reward", [None, "1.0", b"1", bytearray(b"1"), 1j, np.complex128(1), [1.0], np.array([1.0]), 10**400, object]
)
def test_a_reward_that_is_no_number_is_refused(reward):
    refused(InputError, "reward is ", validate.as_reward, reward)


@pytest.mark.parametrize("reward", [np.nan, np.inf, -np.inf, np.float32("nan"), Decimal("inf")])
def test_a_reward_that_is_not_finite_is_refused(reward):
    refused(NonFiniteError, f"reward is {float(reward)}.", validate.as_reward, reward)


@pytest.mark.parametrize("done", [True, False, np.True_, np.False_, 0, 1, np.uint8(1)])
def test_the_end_of_an_episode_is_a_boolean(done):
    assert validate.as_done(done) is bool(done)


@pytest.mark.parametrize("done", [None, 2, 1.0, "yes", [True], np.array([True, False]), np.timedelta64(1, "s")])
def test_another_end_is_refused(done):
    refused(InputError, "done is ", validate.as_done, done)


class Color(str, enum.Enum):  # noqa: UP042  # str() of a StrEnum's member is no trap
    RED = "red"


@pytest.mark.parametrize(
    ("name", "plain"),
    [("a", "a"), ("", ""), (np.str_("é"), "é"), (Color.RED, "red"), (3, 3), (np.uint8(3), 3), (-(2**63), -(2**63))],
)
def test_a_name_is_returned_as_plain_str_or_int(name, plain):
    got = validate.as_key_name(name, "state")
    assert (got, type(got)) == (plain, type(plain))


@pytest.mark.parametrize(
    "name", [None, 1.0, True, np.True_, b"a", ("a",), 2**63, -(2**63) - 1, np.uint64(2**63), np.timedelta64(1, "s")]
)
def test_another_name_is_refused(name):
    refused(InputError, "action is ", validate.as_key_name, name, "action")


# -- keys ----------------------------------------------------------------------------------------------------------

_integers = st.sampled_from("bhilqBHILQ").map(np.dtype)


@given(array=_integers.flatmap(lambda dtype: hnp.arrays(dtype, st.integers(0, 6))))
def test_integer_keys_of_any_dtype_are_taken_or_the_first_bad_one_is_named(array):
    before = array.copy()
    bad = [i for i, key in enumerate(array.tolist()) if not 0 <= key < NO_KEY]
    for form in [array, array.tolist(), array.astype(array.dtype.newbyteorder()), *variants(array).values()]:
        if bad:
            refused(KeyRangeError, f"keys[{bad[0]}] is ", validate.as_keys, form)
        else:
            got = validate.as_keys(form)
            assert (got.dtype, got.tolist(), got.flags.c_contiguous) == (np.uint64, array.tolist(), True)
    assert np.array_equal(array, before)


@given(keys=st.lists(st.one_of(st.integers(-2, 2**64 + 1), st.just(2**80)), max_size=5))
def test_python_integers_of_any_size_are_judged_exactly(keys):
    bad = [i for i, key in enumerate(keys) if not 0 <= key < NO_KEY]
    if bad:
        refused(KeyRangeError, f"keys[{bad[0]}] is ", validate.as_keys, keys)
    else:
        assert validate.as_keys(keys).tolist() == keys


def test_a_single_key_is_one_key_and_no_keys_are_none():
    assert validate.as_keys(7).tolist() == [7]
    assert validate.as_keys(2**64 - 2).tolist() == [2**64 - 2]
    for empty in ([], (), np.empty(0), np.empty(0, object)):
        got = validate.as_keys(empty)
        assert (got.dtype, got.shape) == (np.uint64, (0,))


def test_python_integers_in_an_array_of_objects_are_keys():
    got = validate.as_keys(np.array([3, 2**64 - 2], object))
    assert (got.dtype, got.tolist()) == (np.uint64, [3, 2**64 - 2])


def test_keys_that_fit_are_not_copied():
    keys = np.arange(5, dtype=np.uint64)
    assert validate.as_keys(keys) is keys


@pytest.mark.parametrize(
    "keys",
    [
        [1.0],
        [True],
        [np.True_],
        ["a"],
        [None],
        None,
        "ab",
        {1},
        [b"x"],
        [1j],
        np.array([1.0]),
        [np.timedelta64(1, "s")],
    ],
)
def test_keys_that_are_no_integers_are_refused(keys):
    refused(KeyRangeError, "keys[", validate.as_keys, keys)


def test_the_place_of_the_first_bad_key_is_named():
    refused(KeyRangeError, "keys[2] is True, but keys are integers", validate.as_keys, [0, 1, True, None])
    array = np.array([0, NO_KEY], np.uint64)
    refused(KeyRangeError, "keys[1] is 2**64 - 1, which marks missing hits.", validate.as_keys, array)


@pytest.mark.parametrize("keys", [[[1, 2]], np.zeros((1, 1), np.uint64), np.zeros((2, 0))])
def test_keys_of_two_axes_are_refused(keys):
    refused(DimensionError, "keys have shape (", validate.as_keys, keys)


@pytest.mark.parametrize(
    ("call", "what"),
    [
        (validate.as_keys, "keys"),
        (lambda rows: validate.as_vectors(rows, 2, 2, "dot"), "vectors"),
        (lambda rows: validate.as_queries(rows, 2, "dot"), "queries"),
        (validate.as_values, "values"),
        (validate.as_outcomes, "failed"),
        (lambda rows: validate.as_groups(rows, 2, 2), "groups"),
        (validate.as_quantiles, "quantiles"),
    ],
)
def test_lists_of_unequal_length_are_refused(call, what):
    refused(DimensionError, f"{what} cannot be read as", call, RAGGED)


# -- vectors and queries -------------------------------------------------------------------------------------------

_numbers = st.sampled_from(["f2", "f4", "f8", "g", "i1", "i8", "u8", "?"]).map(np.dtype)
_matrices = _numbers.flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=2, max_dims=2, max_side=4)))


@given(matrix=_matrices, metric=st.sampled_from(METRICS))
def test_a_matrix_of_any_dtype_and_order_is_taken_or_its_first_bad_row_is_named(matrix, metric):
    with np.errstate(all="ignore"):
        want = matrix.astype(np.float32)
    (m, dim), before = matrix.shape, matrix.copy()
    infinite = np.argwhere(~np.isfinite(want))
    zero = [row for row in range(m) if not want[row].any()] if metric == "cosine" else []
    forms = [matrix, *variants(matrix).values(), matrix.astype(matrix.dtype.newbyteorder())]
    for form in forms if matrix.dtype.char == "g" else [*forms, matrix.tolist()]:
        for what, call in (
            ("vectors", lambda rows: validate.as_vectors(rows, m, dim, metric)),
            ("queries", lambda rows: validate.as_queries(rows, dim, metric)[0]),
        ):
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                if len(infinite):
                    row, column = infinite[0]
                    refused(NonFiniteError, f"{what}[{row}] has {want[row, column]} at position {column}.", call, form)
                elif zero:
                    refused(InputError, f"{what}[{zero[0]}] is all zeros, and cosine is undefined", call, form)
                else:
                    got = call(form)
                    assert (got.dtype, got.flags.c_contiguous) == (np.float32, True)
                    assert np.array_equal(got, want)
    assert np.array_equal(matrix, before, equal_nan=matrix.dtype.kind == "f")


@pytest.mark.parametrize("row", [[1e-45, 0.0], [3e38, 3e38], [-3e38, 1e-45]])
def test_rows_whose_squares_overflow_or_vanish_are_as_good_as_any(row):
    assert validate.as_vectors([row], 1, 2, "cosine").tolist() == np.float32([row]).tolist()
    assert validate.as_queries(row, 2, "cosine")[1] is True


def test_values_are_looked_at_later_if_the_caller_says_so():
    bad = np.float32([[np.nan, 0.0]])
    assert validate.as_vectors(bad, 1, 2, "dot", check=False) is bad
    refused(NonFiniteError, "vectors[0] has nan at position 0.", validate.refuse_bad_rows, bad, "dot", "vectors")


def test_a_vector_alone_stands_for_one_row_and_nothing_for_none():
    assert validate.as_vectors([1.0, 2.0], 1, 2, "dot").shape == (1, 2)
    assert validate.as_vectors([], 0, 2, "dot").shape == (0, 2)
    assert validate.as_vectors(np.empty((0, 2)), 0, 2, "dot").shape == (0, 2)
    rows, single = validate.as_queries([1.0, 2.0], 2, "dot")
    assert (rows.shape, single) == ((1, 2), True)
    rows, single = validate.as_queries(np.empty((0, 2)), 2, "cosine")
    assert (rows.shape, single) == ((0, 2), False)


def test_arrays_that_fit_are_not_copied():
    rows = np.ones((2, 3), np.float32)
    assert validate.as_vectors(rows, 2, 3, "cosine") is rows
    assert validate.as_queries(rows, 3, "cosine")[0] is rows


@pytest.mark.parametrize(
    ("vectors", "n", "message"),
    [
        (np.ones((2, 3)), 2, "vectors have 3 dimensions, but the store has 2."),
        (np.ones((3, 2)), 2, "there are 2 keys, but 3 vectors."),
        (np.ones(2), 2, "vectors have shape (2,), but must have shape (2, 2)."),
        (np.ones((1, 2, 2)), 1, "vectors have shape (1, 2, 2)"),
        (3.0, 1, "vectors have shape ()"),
        ([], 1, "vectors have shape (0,)"),
        ([[]], 1, "vectors have 0 dimensions"),
        ([["a", "b"]], 1, "vectors cannot be read as a rectangular float32 array"),
        ([[1j, 1j]], 1, "vectors cannot be read as"),
        ([[None, 1.0]], 1, "vectors cannot be read as"),
        (None, 1, "vectors cannot be read as"),
    ],
)
def test_vectors_of_another_shape_are_refused(vectors, n, message):
    refused(DimensionError, message, validate.as_vectors, vectors, n, 2, "dot")


@pytest.mark.parametrize(
    ("queries", "message"),
    [
        (np.ones(3), "queries have 3 dimensions, but the store has 2."),
        (np.ones((1, 3)), "queries have 3 dimensions"),
        (np.ones((1, 1, 2)), "queries have shape (1, 1, 2), but must have shape (2,) or (m, 2)."),
        (1.0, "queries have shape ()"),
        ([], "queries have 0 dimensions"),
        ("ab", "queries cannot be read as"),
    ],
)
def test_queries_of_another_shape_are_refused(queries, message):
    refused(DimensionError, message, validate.as_queries, queries, 2, "dot")


# -- values, outcomes, groups, quantiles ---------------------------------------------------------------------------


@given(array=_numbers.flatmap(lambda dtype: hnp.arrays(dtype, st.integers(0, 6))))
def test_values_of_any_dtype_are_taken_or_the_first_bad_one_is_named(array):
    with np.errstate(all="ignore"):
        want = array.astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(want))
    for form in [array, *variants(array).values()]:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            if bad.size:
                refused(NonFiniteError, f"values[{bad[0]}] is {want[bad[0]]}.", validate.as_values, form)
            else:
                got = validate.as_values(form)
                assert (got.dtype, got.flags.c_contiguous) == (np.float64, True)
                assert np.array_equal(got, want)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (3.0, "durations have shape (), but must have one axis."),
        ([[1.0]], "durations have shape (1, 1)"),
        (["a"], "durations cannot be read as float64 (dtype <U1)."),
        ([None], "durations cannot be read as float64 (dtype object)."),
    ],
)
def test_values_of_another_shape_are_refused(values, message):
    refused(DimensionError, message, validate.as_values, values, "durations")


@given(outcomes=st.lists(st.booleans(), max_size=6), dtype=st.sampled_from(["?", "i1", "u8", "f2", "f8"]))
def test_outcomes_are_booleans_or_zeros_and_ones(outcomes, dtype):
    array = np.array(outcomes, dtype)
    for form in [array, *variants(array).values(), array.tolist()]:
        got = validate.as_outcomes(form, n=len(outcomes))
        assert (got.dtype, got.tolist(), got.flags.c_contiguous) == (np.bool_, outcomes, True)


@pytest.mark.parametrize(
    ("failed", "error", "message"),
    [
        ([0, 1, 2], InputError, "failed[2] is 2, but must be a boolean (or 0 or 1)."),
        ([0.0, np.nan], InputError, "failed[1] is nan"),
        ([-1], InputError, "failed[0] is -1"),
        (["yes"], InputError, "failed has dtype <U3, but must be bool."),
        ([None], InputError, "failed has dtype object"),
        ([[True]], DimensionError, "failed has shape (1, 1), but must have one axis."),
        (True, DimensionError, "failed has shape ()"),
    ],
)
def test_other_outcomes_are_refused(failed, error, message):
    refused(error, message, validate.as_outcomes, failed)


def test_outcomes_are_as_many_as_asked_for():
    refused(DimensionError, "dones has 1 items, but must have 2.", validate.as_outcomes, [True], "dones", 2)


@given(groups=st.lists(st.integers(0, 4), max_size=6), dtype=st.sampled_from(["i1", "u1", "i4", "i8", "u8"]))
def test_groups_are_numbered_from_zero(groups, dtype):
    array = np.array(groups, dtype)
    for form in [array, *variants(array).values(), groups]:
        got, count = validate.as_groups(form, len(groups), np.int8(5))
        assert (got.dtype, got.tolist(), got.flags.c_contiguous) == (np.int64, groups, True)
        assert (count, type(count)) == (5, int)


@pytest.mark.parametrize(
    ("groups", "n", "n_groups", "error", "message"),
    [
        ([0, 1, 2], 3, 2, InputError, "groups[2] is 2, but must be in 0 .. n_groups - 1 = 1."),
        ([0, -1], 2, 2, InputError, "groups[1] is -1, but must be in 0 .. n_groups - 1 = 1."),
        (np.array([2**64 - 1], np.uint64), 1, 3, InputError, "groups[0] is 18446744073709551615"),
        ([0], 1, 0, InputError, "groups[0] is 0, but must be in 0 .. n_groups - 1 = -1."),
        ([], 0, -1, InputError, "n_groups is -1, but must not be negative."),
        ([0], 1, 1.0, InputError, "n_groups is 1.0, but must be an integer."),
        ([0], 1, None, InputError, "n_groups is None"),
        ([0.0], 1, 1, InputError, "groups have dtype float64, but must be integers."),
        ([True], 1, 2, InputError, "groups have dtype bool"),
        ([0], 2, 1, DimensionError, "there are 2 values, but groups have shape (1,)."),
        ([], 1, 1, DimensionError, "there are 1 values, but groups have shape (0,)."),
        ([[0]], 1, 1, DimensionError, "there are 1 values, but groups have shape (1, 1)."),
    ],
)
def test_other_groups_are_refused(groups, n, n_groups, error, message):
    refused(error, message, validate.as_groups, groups, n, n_groups)


def test_quantile_levels_are_fractions():
    assert validate.as_quantiles([0, 0.5, 1]).tolist() == [0.0, 0.5, 1.0]
    assert validate.as_quantiles(0.5).tolist() == [0.5]
    assert validate.as_quantiles([]).shape == (0,)
    refused(InputError, "quantiles[1] is 95.0, but must be in 0 .. 1.", validate.as_quantiles, [0.5, 95])
    refused(InputError, "quantiles[0] is -0.1", validate.as_quantiles, [-0.1])
    refused(NonFiniteError, "quantiles[0] is nan.", validate.as_quantiles, np.nan)
    refused(DimensionError, "quantiles have shape (1, 1)", validate.as_quantiles, [[0.5]])
