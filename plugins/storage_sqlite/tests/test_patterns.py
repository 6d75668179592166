"""Patterns: what goes in comes out, where= selects, origins are complete, bad input changes nothing."""

from __future__ import annotations

import math
import zlib
from types import MappingProxyType

import apsw
import attrs
import numpy as np
import pytest
from aqe_storage_sqlite import checksums
from aqe_storage_sqlite.storage import SqliteStorage
from hypothesis import given, settings
from hypothesis import strategies as st

from aqe_core.contracts import Pattern
from aqe_core.errors import AqeError, CorruptStorageError, InputError, KeyRangeError, NonFiniteError, NotFoundError


def pattern(id_="a", **fields):
    return Pattern(**{"id": id_, "name": "n", "text": "t", **fields})


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.sampled_from([0, 1, -1, 1.0, 0.0, "1", "0", "null", "true", "a\0b", "' OR 1=1 --"])
)
KEYS = st.sampled_from(
    ["k", "a.b", 'q"x', "$", "$.k", "' OR 1=1 --", "", "é", "a\0b", "back\\slash", "[0]", "text", "line", "*", "?1"]
)
JSON = st.recursive(
    SCALARS | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
SHORT = st.text(max_size=4) | st.sampled_from(["x", "y", "it's", 'say "x"', "a\0b", "%", "1"])
PATTERNS = st.builds(
    Pattern,
    id=SHORT,
    name=SHORT,
    text=st.text(max_size=30),
    path=SHORT,
    class_name=SHORT,
    docstring=st.text(max_size=10),
    markers=st.lists(SHORT, max_size=3).map(tuple),
    line=st.integers(0, 2**63 - 1),
    metadata=st.dictionaries(KEYS, SCALARS | JSON, max_size=4),
    origin=SHORT,
)


@settings(max_examples=40, deadline=None)
@given(given_=st.lists(PATTERNS, max_size=8))
def test_what_goes_in_comes_out(tmp_path_factory, given_):
    with SqliteStorage(tmp_path_factory.mktemp("db") / "aqe.db", durability="normal") as storage:
        report = storage.put_patterns("n", given_)
        newest = {item.id: item for item in given_}
        expected = [newest[item.id] for item in given_]
        assert storage.get_patterns("n", report.keys) == expected
        assert storage.find_patterns("n", [item.id for item in given_]) == expected
        assert [found.key for found in storage.get_patterns("n", report.keys)] == report.keys.tolist()
        assert report.added == storage.count_patterns("n") == len(newest)
        again = storage.put_patterns("n", given_)
        assert (again.added, again.changed, again.unchanged) == (0, 0, len(newest))
        assert (again.keys == report.keys).all()
        assert again.written_keys.size == 0


# -- where ------------------------------------------------------------------------------------------------------------


def same(stored, wanted):
    """Equal as JSON: numbers among themselves, everything else of one type."""
    if isinstance(stored, bool) or isinstance(wanted, bool):
        return stored is wanted
    return (isinstance(stored, str) == isinstance(wanted, str)) and stored == wanted


def fits(item, where):
    for key, wanted in where.items():
        options = wanted if isinstance(wanted, list) else [wanted]
        if key in {"id", "name", "path", "class_name", "origin"}:
            stored = [getattr(item, key)]
        elif key == "marker":
            stored = item.markers
        else:
            stored = [item.metadata[key]] if key in item.metadata else []
        if not any(same(value, option) for value in stored for option in options):
            return False
    return True


WHERE = st.dictionaries(
    KEYS | st.sampled_from(["id", "name", "path", "class_name", "origin", "marker"]),
    SCALARS | SHORT | st.lists(SCALARS | SHORT, max_size=3),
    max_size=2,
)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), given_=st.lists(PATTERNS, max_size=8, unique_by=lambda item: item.id))
def test_where_agrees_with_python(tmp_path_factory, data, given_):
    with SqliteStorage(tmp_path_factory.mktemp("db") / "aqe.db", durability="normal") as storage:
        storage.put_patterns("other", given_)
        keys = storage.put_patterns("n", given_).keys.tolist()
        for _ in range(15):
            where = data.draw(WHERE)
            if given_ and data.draw(st.booleans()):  # ask for something that is there
                chosen = data.draw(st.sampled_from(given_))
                where = {
                    key: value
                    for key, value in chosen.metadata.items()
                    if not isinstance(value, (list, dict)) and not (type(value) is int and abs(value) > 2**53)
                }
            expected = [key for key, item in zip(keys, given_, strict=True) if fits(item, where)]
            assert storage.pattern_keys("n", where).tolist() == expected, where


INJECTIONS = ["' OR 1=1 --", "x'; DROP TABLE patterns; --", '") OR ("1"="1', "%", "_", "$", "?", ":a", "\0"]


@pytest.mark.parametrize("evil", INJECTIONS)
def test_nothing_that_is_said_becomes_sql(storage, evil):
    storage.put_patterns("n", [pattern(), pattern("b", metadata={"k": "v"}, markers=("m",))])
    for where in ({evil: "v"}, {"k": evil}, {"name": [evil]}, {"marker": evil}, {evil: evil}, {"id": evil}):
        assert storage.pattern_keys("n", where).tolist() == []
    assert storage.pattern_keys(evil).tolist() == []
    assert storage.find_patterns("n", [evil]) == [None]
    assert storage.put_patterns("n", [], origins=[evil]).removed == 0
    assert storage.known_runs([evil]) == set()
    assert storage.load_state(evil) is None
    assert storage.count_patterns("n") == 2


def test_where_asks_an_index_for_ids_and_origins(storage):
    from aqe_storage_sqlite.filters import to_sql

    for column, index in (("id", "sqlite_autoindex_patterns_1"), ("origin", "patterns_by_origin")):
        condition, bindings = to_sql({column: ["a", "b"]})
        with storage._database.read() as connection:
            plan = connection.execute(
                f"EXPLAIN QUERY PLAN SELECT p.key FROM patterns AS p WHERE p.namespace = ? AND {condition}",
                (1, *bindings),
            ).fetchall()
        assert any(index in row[3] and f"{column}=?" in row[3] for row in plan), plan


@pytest.mark.parametrize(
    "where",
    [
        {"k": {}},
        {"k": [["x"]]},
        {"k": math.nan},
        {"k": math.inf},
        {"k": 2**63},
        {"k": -(2**64)},
        {"k": 10**5000},
        {"k": b"x"},
        {"k": np.int64(3)},
        {3: "x"},
        {"k": "\ud800"},
        {"\ud800": "x"},
        {"name": object()},
    ],
)
def test_where_refuses(storage, where):
    with pytest.raises(InputError):
        storage.pattern_keys("n", where)


def test_any_of_nothing_and_of_many(storage):
    keys = storage.put_patterns("n", [pattern(str(i), metadata={"k": i}) for i in range(50)]).keys
    assert storage.pattern_keys("n", {"k": []}).size == 0
    many = list(range(40_000))
    assert (storage.pattern_keys("n", {"k": many}) == keys).all()
    assert (storage.pattern_keys("n", {"id": [str(i) for i in many]}) == keys).all()
    assert storage.pattern_keys("n", {"k": {3, 4}}).size == 2
    assert storage.pattern_keys("n", None).dtype == np.uint64


# -- putting ----------------------------------------------------------------------------------------------------------


def test_report(storage):
    first = storage.put_patterns("n", [pattern("a"), pattern("b"), pattern("a", text="newer")])
    assert (first.added, first.changed, first.unchanged, first.removed) == (2, 0, 0, 0)
    assert first.keys.dtype == first.written_keys.dtype == first.removed_keys.dtype == np.uint64
    assert first.keys[0] == first.keys[2]
    assert storage.get_patterns("n", first.keys[0])[0].text == "newer"

    second = storage.put_patterns("n", [pattern("b"), pattern("a", text="newest"), pattern("c")])
    assert (second.added, second.changed, second.unchanged) == (1, 1, 1)
    assert second.keys.tolist()[:2] == [first.keys[1], first.keys[0]]
    assert second.written_keys.tolist() == [first.keys[0], second.keys[2]]


def test_an_empty_call_writes_nothing(storage):
    report = storage.put_patterns("n", [])
    assert report.keys.shape == report.written_keys.shape == report.removed_keys.shape == (0,)
    assert storage.info()["counts"]["namespaces"] == 0
    assert storage.last_seq() == 0


def test_line_and_origin_follow_silently(storage):
    storage.put_patterns("n", [pattern(line=1, origin="old")])
    seq = storage.last_seq()
    report = storage.put_patterns("n", [pattern(line=9, origin="new")])
    assert (report.changed, report.unchanged, report.written_keys.size) == (0, 1, 0)
    (found,) = storage.get_patterns("n", report.keys)
    assert (found.line, found.origin) == (9, "new")
    assert storage.last_seq() == seq


def test_complete_origins_lose_what_vanished(storage):
    old = storage.put_patterns(
        "n", [pattern("a1", origin="A"), pattern("a2", origin="A"), pattern("b1", origin="B"), pattern("c", origin="C")]
    )
    storage.put_patterns("other", [pattern("a2", origin="A")])
    report = storage.put_patterns("n", [pattern("a1", origin="A")], origins=["A", "A", "unknown"])
    assert report.removed == 1
    assert report.removed_keys.tolist() == [old.keys[1]]
    assert storage.origins("n") == {"A": 1, "B": 1, "C": 1}
    assert storage.origins("other") == {"A": 1}
    # A test that moved to another file is not lost, whichever of both files is complete.
    moved = storage.put_patterns("n", [pattern("a1", origin="B")], origins={"A", "B"})
    assert moved.removed_keys.tolist() == [old.keys[2]]
    assert storage.origins("n") == {"B": 1, "C": 1}
    # And a file that lost all its tests is empty.
    assert storage.put_patterns("n", [], origins=["B"]).removed == 1
    assert storage.origins("n") == {"C": 1}


def test_keys_are_never_given_twice(storage):
    first = storage.put_patterns("n", [pattern("a"), pattern("b")]).keys
    assert storage.remove_patterns("n", first) == 2
    storage.close()
    with SqliteStorage(storage.path) as again:
        assert again.put_patterns("n", [pattern("a")]).keys[0] > first.max()


def test_namespaces_are_apart(storage):
    one = storage.put_patterns("one", [pattern("a")]).keys
    two = storage.put_patterns("two", [pattern("a", text="other")]).keys
    assert one[0] != two[0]
    assert storage.pattern_keys("one").tolist() == one.tolist()
    with pytest.raises(NotFoundError):
        storage.get_patterns("one", two)
    assert storage.remove_patterns("one", two) == 0
    assert storage.find_patterns("two", ["a"])[0].text == "other"
    assert storage.count_patterns("three") == 0
    assert storage.origins("three") == {}


# -- getting and removing ---------------------------------------------------------------------------------------------


def test_get(storage):
    keys = storage.put_patterns("n", [pattern(str(i)) for i in range(5)]).keys
    order = keys[[3, 0, 3]]
    assert [item.id for item in storage.get_patterns("n", order)] == ["3", "0", "3"]
    assert storage.get_patterns("n", []) == []
    for unknown in (0, 10_000, 2**63, 2**64 - 2):
        with pytest.raises(NotFoundError, match=str(unknown)):
            storage.get_patterns("n", [int(keys[0]), unknown])
    with pytest.raises(KeyRangeError):
        storage.get_patterns("n", [-1])
    assert storage.find_patterns("n", ["4", "x", "0", "4"])[1] is None


def test_remove(storage):
    keys = storage.put_patterns("n", [pattern(str(i)) for i in range(5)]).keys
    assert storage.remove_patterns("n", [keys[1], keys[1], 999, 2**64 - 2]) == 1
    assert storage.remove_patterns("n", keys[1]) == 0
    assert storage.remove_patterns("n", []) == 0
    assert storage.pattern_keys("n").tolist() == [1, 3, 4, 5]
    with pytest.raises(NotFoundError):
        storage.get_patterns("n", keys[1])


def test_iter(storage):
    storage.put_patterns("n", [pattern(str(i)) for i in range(10)])
    storage.remove_patterns("n", [2])
    lists = list(storage.iter_patterns("n", batch=4))
    assert [[item.key for item in part] for part in lists] == [[1, 3, 4, 5], [6, 7, 8, 9], [10]]
    assert list(storage.iter_patterns("none")) == []
    for wrong in (0, -1, 1.5, "4"):
        with pytest.raises(InputError):
            storage.iter_patterns("n", batch=wrong)


def test_iter_over_what_changes_meanwhile(storage):
    storage.put_patterns("n", [pattern(str(i)) for i in range(6)])
    iterator = storage.iter_patterns("n", batch=2)
    next(iterator)
    storage.remove_patterns("n", [3, 4, 5])
    storage.put_patterns("n", [pattern("late")])
    assert [[item.key for item in part] for part in iterator] == [[6]]


# -- refusals ---------------------------------------------------------------------------------------------------------

DEEP = []
for _ in range(200):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": 3},
        {"id": ["x"]},
        {"name": None},
        {"text": b"x"},
        {"name": 10**5000},
        {"docstring": "half \ud800 a pair"},
        {"id": "\udcff"},
        {"path": "\ud800"},
        {"markers": "abc"},
        {"markers": (1,)},
        {"markers": ("\ud800",)},
        {"line": -1},
        {"line": 2**63},
        {"line": 10**5000},
        {"line": "3"},
        {"metadata": {"x": math.inf}},
        {"metadata": {"x": [{"y": math.nan}]}},
        {"metadata": {"x": {1: 2}}},
        {"metadata": {3: 2}},
        {"metadata": {"x": {1, 2}}},
        {"metadata": {"x": b"y"}},
        {"metadata": {"x": "\ud800"}},
        {"metadata": {"x": DEEP}},
        {"metadata": {"x": 10**5000}},
        {"metadata": ["x"]},
        {"metadata": MappingProxyType({"x": 1})},
    ],
)
def test_a_bad_pattern_changes_nothing(storage, wrong):
    storage.put_patterns("n", [pattern("kept")])
    seq = storage.last_seq()
    with pytest.raises(InputError) as caught:
        storage.put_patterns("n", [pattern("good"), attrs.evolve(pattern("bad"), **wrong)], origins=[""])
    assert caught.value.fix
    assert storage.count_patterns("n") == 1
    assert storage.last_seq() == seq


def test_half_a_surrogate_pair_is_named(storage):
    with pytest.raises(InputError, match="position 5"):
        storage.put_patterns("n", [pattern(text="half \ud800 a pair")])
    with pytest.raises(InputError, match="half a surrogate"):
        storage.put_patterns("n\ud800", [pattern()])


def test_not_a_number_is_named(storage):
    with pytest.raises(NonFiniteError, match=r"metadata of pattern 'a'\['x'\]\[1\]"):
        storage.put_patterns("n", [pattern(metadata={"x": [0.5, math.nan]})])


def test_other_wrong_arguments(storage):
    for call in (
        lambda: storage.put_patterns(3, []),
        lambda: storage.put_patterns("n", ["x"]),
        lambda: storage.put_patterns("n", [], origins="abc"),
        lambda: storage.put_patterns("n", [], origins=[3]),
        lambda: storage.find_patterns("n", "abc"),
        lambda: storage.count_patterns(None),
    ):
        with pytest.raises(InputError):
            call()


# -- damage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("good", "bad"),
    [(b"find this text", b"find this \xff\xfe\xfdt"), (b'{"marked":1}', b'{"marked":1['), (b'["mark"]', b'["mark" ')],
)
def test_damage_in_a_pattern(path, good, bad):
    with SqliteStorage(path) as storage:
        storage.put_patterns("n", [pattern(text="find this text", metadata={"marked": 1}, markers=("mark",))])
    content = path.read_bytes()
    assert content.count(good) == 1
    path.write_bytes(content.replace(good, bad))
    with SqliteStorage(path) as storage:
        with pytest.raises(CorruptStorageError):
            storage.get_patterns("n", [1])
        storage.put_patterns("n", [pattern(text="again")])
        assert storage.get_patterns("n", [1])[0].text == "again"


def test_all_refusals_are_ours(storage):
    assert issubclass(InputError, AqeError)
    with pytest.raises(InputError):
        storage.put_patterns("n", [pattern(line=True, text=None)])


def test_what_is_read_is_what_the_constructor_makes(storage):
    """Its fields are set without the constructor: all of them, of its types."""
    stored = Pattern(id="a", name="n", text="t", markers=("x",), metadata={"k": [1]}, line=7, origin="o")
    [key] = storage.put_patterns("n", [stored]).keys.tolist()
    made = attrs.evolve(stored, key=key)
    for found in (*storage.find_patterns("n", ["a"]), *storage.get_patterns("n", [key])):
        assert vars(found) == vars(made)
        assert {name: type(value) for name, value in vars(found).items()} == {
            name: type(value) for name, value in vars(made).items()
        }
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            found.id = "b"


@pytest.mark.parametrize("field", ["id", "name", "docstring", "text"])
def test_a_field_with_the_separator_of_fields(storage, field):
    stored = Pattern(**{"id": "a", "name": "n", "text": "t"} | {field: "one\0two\0"})
    storage.put_patterns("n", [Pattern(id="other", name="n", text="t"), stored])
    assert storage.find_patterns("n", [stored.id]) == [stored]
    assert storage.find_patterns("n", [stored.id, "other"])[0] == stored
    assert storage.get_patterns("n", [2]) == [stored]


def test_a_field_of_null_is_damage(path):
    with SqliteStorage(path) as storage:
        storage.put_patterns("n", [Pattern(id="a", name="n", text="t")])
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA writable_schema = ON").fetchall()
    connection.execute("UPDATE sqlite_schema SET sql = replace(sql, 'docstring    TEXT NOT NULL', 'docstring    TEXT')")
    connection.execute("PRAGMA writable_schema = RESET").fetchall()
    connection.execute("UPDATE patterns SET docstring = NULL")
    connection.close()
    with SqliteStorage(path, read_only=True) as storage:
        for read in (
            lambda: storage.find_patterns("n", ["a"]),
            lambda: storage.find_patterns("n", ["a", "b"]),
            lambda: storage.get_patterns("n", [1]),
        ):
            with pytest.raises(CorruptStorageError):
                read()


@pytest.mark.parametrize("size", [0, 1, 63, 1000, 100_000])
def test_checksums_are_those_of_zlib(size):
    data = np.random.default_rng(size).bytes(size)
    assert checksums.crc32(data, 5) == zlib.crc32(data, 5)
    assert checksums.crc32(memoryview(data)) == zlib.crc32(data)
