"""Filters: against a plain reading of the language, on changing patterns, and what is refused."""

from __future__ import annotations

import operator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import aqe_core
from aqe_core.errors import InputError

OPERATORS = {"$gt": operator.gt, "$gte": operator.ge, "$lt": operator.lt, "$lte": operator.le}

SCALARS = st.one_of(
    st.integers(-3, 3), st.sampled_from([0.5, 2.0, 1e300, 2**53 + 1]), st.booleans(), st.none(), st.sampled_from("ab1")
)
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=3), st.just({"nested": 1}))
METADATA = st.lists(st.dictionaries(st.sampled_from(["x", "y"]), VALUES), min_size=1, max_size=12)
BOUNDS = st.one_of(st.integers(-3, 3), st.floats(-3, 3), st.just(2**53)) | st.sampled_from("ab")
RANGES = BOUNDS.flatmap(
    lambda bound: st.dictionaries(
        st.sampled_from([*OPERATORS]), st.sampled_from("ab1") if isinstance(bound, str) else st.just(bound), min_size=1
    )
)
CONDITIONS = st.one_of(SCALARS, st.lists(SCALARS, max_size=3), RANGES, st.lists(SCALARS).map(lambda v: {"$in": v}))
FIELDS = st.dictionaries(st.sampled_from(["x", "y", "z"]), CONDITIONS, max_size=2)
FILTERS = st.recursive(
    FIELDS,
    lambda inner: st.one_of(
        st.fixed_dictionaries({"$not": inner}),
        st.fixed_dictionaries({"$or": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"$and": st.lists(inner, min_size=1, max_size=3)}),
    ),
    max_leaves=4,
)


def same(one, other):
    if isinstance(one, bool) or isinstance(other, bool) or one is None or other is None:
        return one is other
    return isinstance(one, str) == isinstance(other, str) and one == other


def fits(fields, where):
    """The language, as the module's docstring says it."""
    for field, wanted in where.items():
        if field == "$not":
            good = not fits(fields, wanted)
        elif field in {"$or", "$and"}:
            good = {"$or": any, "$and": all}[field](fits(fields, part) for part in wanted)
        elif field not in fields:
            good = False
        else:
            value = fields[field]
            good = fits_value(value if isinstance(value, (list, tuple)) else [value], wanted)
        if not good:
            return False
    return True


def fits_value(values, wanted):
    if not isinstance(wanted, dict):
        wanted = {"$in": wanted if isinstance(wanted, list) else [wanted]}
    good = True
    if "$in" in wanted:
        scalars = [value for value in values if not isinstance(value, dict)]
        good = any(same(value, each) for value in scalars for each in wanted["$in"])
    bounds = {name: bound for name, bound in wanted.items() if name != "$in"}
    if bounds:
        text = isinstance(next(iter(bounds.values())), str)
        kind = str if text else (int, float)
        comparable = [v for v in values if isinstance(v, kind) and not isinstance(v, bool)]
        good = good and any(all(OPERATORS[name](v, bound) for name, bound in bounds.items()) for v in comparable)
    return good


@pytest.fixture(scope="module")
def ws(tmp_path_factory):
    with aqe_core.open(tmp_path_factory.mktemp("filters")) as ws:
        yield ws


@given(METADATA, METADATA, FILTERS)
@settings(max_examples=30, deadline=None)
def test_filters_mean_what_they_say_also_after_changes(ws, before, after, where):
    patterns = ws.patterns
    patterns.remove([int(key) for key in ws.storage.pattern_keys("default")])
    for version in (before, after):  # the second adds to, replaces, and shortens the first
        patterns.remove([f"p{i}" for i in range(len(version), len(before))])
        patterns.add([{"id": f"p{i}", "name": "n", "text": "t", "metadata": m} for i, m in enumerate(version)])
        found = {patterns.get(int(key)).id for key in patterns._filter.keys(where)}
        assert found == {f"p{i}" for i, fields in enumerate(version) if fits(fields, where)}


def test_fields_of_patterns(ws):
    ws.patterns.add(
        {"id": "q", "name": "test_q", "text": "t", "path": "a/b.py", "class_name": "C", "markers": ["slow", "net"],
         "line": 7, "origin": "a/b.py"}
    )  # fmt: skip

    def found(where):
        return "q" in {ws.patterns.get(int(key)).id for key in ws.patterns._filter.keys(where)}

    for field, value in {"id": "q", "name": "test_q", "path": "a/b.py", "class_name": "C", "origin": "a/b.py"}.items():
        assert found({field: value})
        assert not found({field: value + "x"})
    assert found({"marker": "net"})
    assert found({"marker": ["x", "slow"], "line": {"$gte": 7, "$lt": 8}})
    assert not found({"line": {"$gt": 7}})
    assert found({"path": {"$gte": "a/", "$lt": "a0"}})


def test_columns_of_many_changes_are_read_anew(ws):
    keep = ws.patterns
    for i in range(40):
        keep.add({"id": "again", "name": "n", "text": "t", "turn": i})
        assert len(keep._filter.keys({"turn": i})) == 1
    assert len(keep._filter._columns["turn"].code_of) < 40


def test_a_field_that_nobody_has_gets_a_hint(ws):
    ws.patterns.add({"id": "h", "name": "n", "text": "t", "area": "ui"})
    assert ws.patterns.hint({"$or": [{"arae": 1}]}) == "no pattern has the field 'arae': did you mean 'area'?"
    assert ws.patterns.hint({"zzzzzz": 1}).startswith("no pattern has the field 'zzzzzz': there are ")
    assert ws.patterns.hint({"area": "api", "$not": {"marker": "x"}}) == ""


def nested(depth):
    where = {"a": 1}
    for _ in range(depth):
        where = {"$not": where}
    return where


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("area=ui", "where is 'area=ui', but must be a mapping"),
        ({1: 2}, "where has the key 1, but keys are strings"),
        ({"$nor": []}, r"where\['\$nor'\]: there is no '\$nor'. Fix: did you mean '\$or'"),
        ({"$or": []}, r"where\['\$or'\] is \[\], but must be a list of filters"),
        ({"$and": {"a": 1}}, "must be a list of filters"),
        ({"$or": [{"a": 1}, 3]}, r"where\['\$or'\]\[1\] is 3, but must be a mapping"),
        ({"$not": [1]}, "must be a mapping"),
        ({"a": {}}, r"where\['a'\] is an empty mapping"),
        ({"a": {"$gr": 1}}, r"has no operator '\$gr'. Fix: did you mean '\$gt'"),
        ({"a": {"$gt": None}}, "bounds are numbers or strings"),
        ({"a": {"$gt": True}}, "bounds are numbers or strings"),
        ({"a": {"$gt": float("nan")}}, "bounds are numbers or strings"),
        ({"a": {"$gt": 1, "$lt": "z"}}, "a number and a string for bounds"),
        ({"a": {"$in": "text"}}, "must be a list"),
        ({"a": {"$in": [object]}}, "nothing stored could equal"),
        ({"a": float("inf")}, "nothing stored could equal"),
        ({"a": b"x"}, "nothing stored could equal"),
        (nested(40), "nested more than 32 deep"),
    ],
)
def test_what_is_no_filter(ws, where, message):
    with pytest.raises(InputError, match=message):
        ws.patterns.search("x", where=where)
