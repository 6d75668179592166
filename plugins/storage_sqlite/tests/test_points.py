"""Time series: every bit comes back, in the order of time; nothing damaged is believed."""

from __future__ import annotations

import math
import shutil
import sys
import zlib

import apsw
import attrs
import numpy as np
import pytest
from aqe_storage_sqlite import blocks, compression, point_coding
from aqe_storage_sqlite.points import BLOCK
from aqe_storage_sqlite.storage import SqliteStorage
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aqe_core.errors import (
    AqeError,
    CorruptStorageError,
    DimensionError,
    InputError,
    NonFiniteError,
    NotFoundError,
    ReadOnlyError,
)

FINITE = st.floats(allow_nan=False, allow_infinity=False)
DECIMALS = st.integers(-(10**6), 10**6).map(lambda cents: cents / 100)
VALUES = FINITE | DECIMALS | st.sampled_from([0.0, -0.0, 5e-324, 1.7976931348623157e308, 2.0**53, 0.1, 1e15 + 0.3])
TIMES = st.integers(0, 20).map(float) | st.integers(0, 10**6).map(lambda ms: 1.7e9 + ms / 1000) | FINITE


def bits(numbers):
    return np.asarray(numbers, np.float64).view(np.uint64).tolist()


def by_time(points):
    return sorted(points, key=lambda point: point[0])  # stable: those of one time stay in their order


def summary_of(points):
    ordered = by_time(points)
    values = [value for _, value in ordered]
    return (len(values), ordered[0][0], ordered[-1][0], min(values), max(values), ordered[0][1], ordered[-1][1])


def noisy(n, seed=0):
    generator = np.random.default_rng(seed)
    return 1.7e9 + np.arange(n) * 10.0, np.round(100 + 10 * generator.standard_normal(n), 2)


# -- coding -----------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    rows=st.integers(1, 5).flatmap(
        lambda n: st.lists(st.lists(VALUES | TIMES, min_size=n, max_size=n), min_size=1, max_size=6)
    )
)
@example(rows=[[-0.0, 1.0], [0.0, 1.0]])
@example(rows=[[-1.7e308, 1.7e308], [5e-324, -5e-324]])
@example(rows=[[2.0**53, 2.0**53 + 2], [2.0**63, -(2.0**63)], [1e300, 0.01]])
@example(rows=[[0.1 + 0.2, 0.3], [0.01, 0.02]])
def test_every_bit_of_a_column_comes_back(rows):
    numbers = np.array(rows, np.float64)
    headers, planes = point_coding.encode(numbers)
    assert point_coding.is_known(headers)
    for row, header, plane in zip(numbers, headers, planes, strict=True):
        assert len(plane) == header["width"] * row.size
        shaped = np.frombuffer(plane, np.uint8).reshape(1, header["width"], row.size)
        assert bits(point_coding.decode(np.atleast_1d(header), shaped)[0]) == bits(row)


@pytest.mark.parametrize(
    ("numbers", "exponent", "order", "width"),
    [
        (np.full(BLOCK, 7.25), 2, 0, 0),
        (1.7e9 + np.arange(BLOCK) * 60.0, 0, 1, 0),
        (np.arange(BLOCK) % 200 / 100, 2, 0, 1),
        (1.7e9 + np.cumsum(np.arange(BLOCK) % 7) / 1000, 3, 1, 1),
        (np.random.default_rng(0).standard_normal(BLOCK), -1, 0, 8),
    ],
)
def test_small_numbers_take_few_bytes(numbers, exponent, order, width):
    (header,), _ = point_coding.encode(numbers.reshape(1, -1))
    assert (header["exponent"], header["order"], header["width"]) == (exponent, order, width)


def test_a_number_that_the_sample_does_not_show():
    numbers = np.tile(np.arange(BLOCK) / 100, (3, 1))
    numbers[1, 1] = math.pi  # between two that are looked at first
    headers, _ = point_coding.encode(numbers)
    assert headers["exponent"].tolist() == [2, -1, 2]


# -- in and out -------------------------------------------------------------------------------------------------------

BATCHES = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]),
        st.lists(st.tuples(TIMES, VALUES), max_size=30) | st.integers(900, 2100),
        st.booleans(),
    ),
    max_size=8,
)


@settings(max_examples=40, deadline=None)
@given(batches=BATCHES, seed=st.integers(0, 2**32 - 1), codec=st.sampled_from(["zlib", "raw"]))
def test_round_trip_through_any_batches_and_reopening(tmp_path_factory, batches, seed, codec):
    path = tmp_path_factory.mktemp("db") / "aqe.db"
    generator = np.random.default_rng(seed)
    model = {}
    storage = SqliteStorage(path, durability="normal", codec=codec)
    try:
        for name, given_, reopen in batches:
            if isinstance(given_, int):  # many points, some of one time, some out of order, noisy
                times_s = np.round(generator.uniform(0, 500, given_), generator.integers(0, 4))
                points = list(zip(times_s.tolist(), generator.normal(size=given_).round(2).tolist(), strict=True))
            else:
                points = given_
            storage.append_points(name, [time_s for time_s, _ in points], [value for _, value in points])
            model.setdefault(name, []).extend(points)
            if reopen:
                storage.close()
                storage = SqliteStorage(path, durability="normal", codec=codec)
        infos = storage.list_series()
        assert [info.name for info in infos] == sorted(model)
        for info in infos:
            expected = by_time(model[info.name])
            times_s, values = storage.points(info.name)
            assert times_s.dtype == values.dtype == np.float64
            assert bits(times_s) == bits([time_s for time_s, _ in expected])
            assert bits(values) == bits([value for _, value in expected])
            start_s, stop_s = sorted(generator.uniform(-50, 550, 2).tolist())
            within = [point for point in expected if start_s <= point[0] < stop_s]
            times_s, values = storage.points(info.name, start_s, stop_s)
            assert bits(times_s) == bits([time_s for time_s, _ in within])
            assert bits(values) == bits([value for _, value in within])
            if expected:
                found = (info.count, info.first_s, info.last_s, info.minimum, info.maximum, info.first, info.last)
                assert found == summary_of(model[info.name])
            else:
                assert info == attrs.evolve(info, count=0, first_s=None, sum=None, first=None, last=None)
    finally:
        storage.close()


def test_one_by_one(storage):
    expected = []
    for number in range(2 * BLOCK + 100):
        expected.append((float(number * 7919 % 1000), float(number)))
        storage.append_points("s", *([part] for part in expected[-1]))
        with storage._database.read() as connection:
            sizes = [size for (size,) in connection.execute("SELECT count FROM point_blocks ORDER BY number")]
        assert sum(sizes) == len(expected)
        assert sum(size < BLOCK for size in sizes) <= 32
    times_s, values = storage.points("s")
    assert list(zip(times_s.tolist(), values.tolist(), strict=True)) == by_time(expected)
    assert sizes[:2] == [BLOCK, BLOCK]


def test_a_range_opens_no_other_blocks(storage):
    storage.append_points("s", *noisy(10 * BLOCK))
    storage._database.write(
        lambda connection: connection.execute("UPDATE point_blocks SET data = x'00' WHERE number <> 4")
    )
    times_s, _ = noisy(10 * BLOCK)
    inside = slice(4 * BLOCK, 5 * BLOCK)
    found, _ = storage.points("s", times_s[inside][0], times_s[inside][-1])
    assert found.tolist() == times_s[inside][:-1].tolist()
    with pytest.raises(CorruptStorageError, match="block 5 of the points"):
        storage.points("s", times_s[inside][0])


def test_sums(storage):
    times_s, values = noisy(3000)
    storage.append_points("fits", times_s, values)
    storage.append_points("overflows", [0.0, 1.0], [1.7e308, 1.7e308])
    storage.append_points("cancels", [0.0, 1.0], [1.7e308, -1.7e308])
    # What is infinite in one block and minus infinite in another is no number.
    for number, value in enumerate([1.7e308, -1.7e308]):
        storage.append_points("undefined", np.arange(BLOCK) + number * BLOCK, np.full(BLOCK, value))
    sums = {info.name: info.sum for info in storage.list_series()}
    assert math.isclose(sums.pop("fits"), math.fsum(values))
    assert sums == {"overflows": None, "cancels": 0.0, "undefined": None}


def test_labels(storage):
    storage.append_points("s", [1.0], [2.0], {"unit": "ms", "ä": '"'})
    storage.append_points("s", [2.0], [3.0])
    assert storage.list_series()[0].labels == {"unit": "ms", "ä": '"'}
    storage.append_points("s", [], [], {})
    storage.append_points("new", [], [], {"a": "b"})
    assert [(info.name, info.labels, info.count) for info in storage.list_series()] == [
        ("new", {"a": "b"}, 0),
        ("s", {}, 2),
    ]
    assert [part.tolist() for part in storage.points("new")] == [[], []]


def test_removing_a_series(storage):
    storage.append_points("a", *noisy(3000))
    storage.append_points("b", [1.0], [2.0])
    assert storage.remove_series("a") == 3000
    assert [info.name for info in storage.list_series()] == ["b"]
    with pytest.raises(NotFoundError, match="list_series"):
        storage.points("a")
    with pytest.raises(NotFoundError):
        storage.remove_series("a")
    with storage._database.read() as connection:
        assert connection.execute("SELECT count(*) FROM point_blocks").get == 1


def test_other_types_of_numbers(storage):
    storage.append_points("s", np.array([3, 1], np.int32), np.array([1.5, 2.5], np.float32)[::-1])
    times_s, values = storage.points("s", 1, np.int64(4))
    assert (times_s.tolist(), values.tolist()) == ([1.0, 3.0], [1.5, 2.5])


@pytest.mark.parametrize(
    ("times_s", "values", "error"),
    [
        ([1.0], [math.nan], NonFiniteError),
        ([math.nan], [1.0], NonFiniteError),
        ([1.0], [-math.inf], NonFiniteError),
        ([math.inf], [1.0], NonFiniteError),
        ([1.0], [], DimensionError),
        ([[1.0]], [[1.0]], DimensionError),
        (1.0, 1.0, DimensionError),
        ([[1.0], [1.0, 2.0]], [1.0], DimensionError),
        (["x"], [1.0], InputError),
        ([1.0], [None], InputError),
        ([1.0], [True], InputError),
        ([1.0], [1j], InputError),
        (np.array(["2020"], "M8[s]"), [1.0], InputError),
        ([1.0], [10**400], InputError),
    ],
)
def test_bad_points_change_nothing(storage, times_s, values, error):
    with pytest.raises(error) as caught:
        storage.append_points("s", times_s, values, {"a": "b"})
    assert caught.value.fix
    assert storage.list_series() == []


@pytest.mark.skipif(np.finfo(np.longdouble).max <= np.finfo(np.float64).max, reason="no longer floats here")
def test_a_long_float_that_overflows(storage):
    with pytest.raises(NonFiniteError):
        storage.append_points("s", [1.0], np.array([1], np.longdouble) * np.finfo(np.longdouble).max)


@pytest.mark.parametrize("labels", [[("a", "b")], "ab", {"a": 1}, {1: "a"}, {"a": None}])
def test_bad_labels(storage, labels):
    with pytest.raises(InputError):
        storage.append_points("s", [1.0], [1.0], labels)
    assert storage.list_series() == []


@pytest.mark.parametrize("bound", [math.nan, "1", None, True, [1.0]])
def test_bad_ranges(storage, bound):
    storage.append_points("s", [1.0], [1.0])
    for arguments in ((bound,), (0.0, bound)):
        with pytest.raises(InputError, match="time in seconds"):
            storage.points("s", *arguments)


def test_names(storage):
    for wrong in (None, 1, b"s"):
        with pytest.raises(InputError):
            storage.append_points(wrong, [1.0], [1.0])
    with pytest.raises(InputError):
        storage.append_points("\ud800", [1.0], [1.0])
    storage.append_points("a'b\0\"c", [1.0], [1.0])
    assert storage.points("a'b\0\"c")[0].tolist() == [1.0]


def test_read_only(path):
    with SqliteStorage(path) as storage:
        storage.append_points("s", [1.0], [2.0])
    with SqliteStorage(path, read_only=True) as storage:
        assert storage.points("s")[1].tolist() == [2.0]
        with pytest.raises(ReadOnlyError):
            storage.append_points("s", [1.0], [2.0])


def test_zstd_blocks(path):
    if compression._zstd() is None:
        pytest.skip("neither Python 3.14 nor backports.zstd is here")
    times_s, values = np.arange(5000.0), np.repeat(np.arange(50.0), 100)
    with SqliteStorage(path, codec="zstd") as storage:
        storage.append_points("s", times_s, values)
        with storage._database.read() as connection:
            assert connection.execute("SELECT max(codec) FROM point_blocks").get == blocks.ZSTD
    with SqliteStorage(path, read_only=True) as storage:
        assert [part.tolist() for part in storage.points("s")] == [times_s.tolist(), values.tolist()]


# -- damage -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A file with full blocks of each codec that is always there, and two small ones."""
    path = tmp_path_factory.mktemp("sound") / "aqe.db"
    times_s, values = noisy(3 * BLOCK)
    with SqliteStorage(path, durability="normal", codec="zlib") as storage:
        storage.append_points("s", times_s[:BLOCK], np.repeat(np.arange(4.0), BLOCK // 4), {"unit": "s"})
        storage.append_points("s", times_s[BLOCK : 2 * BLOCK], values[:BLOCK])
        storage.append_points("s", times_s[2 * BLOCK : -100], values[2 * BLOCK : -100])
        storage.append_points("s", times_s[-100:-50], values[-100:-50])
        with storage._database.read() as connection:
            assert connection.execute("SELECT DISTINCT codec FROM point_blocks ORDER BY 1").fetchall() == [(0,), (1,)]
    return path


COLUMNS = (
    "series", "number", "count", "first_s", "last_s", "minimum", "maximum", "sum", "first", "last", "codec",
    "data_crc32", "crc32",
)  # fmt: skip


def changed_rows(path, sql, *bindings):
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON").fetchall()
    connection.execute(sql, bindings)
    connection.close()


def answers(path):
    with SqliteStorage(path, read_only=True) as storage:
        return storage.list_series(), [part.tolist() for part in storage.points("s")]


@settings(max_examples=60, deadline=None)
@given(
    number=st.integers(0, 3), position=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255), cut=st.booleans()
)
def test_damaged_bytes_are_seen(tmp_path_factory, sound, number, position, flip, cut):
    path = tmp_path_factory.mktemp("damaged") / "aqe.db"
    shutil.copyfile(sound, path)
    connection = apsw.Connection(str(path))
    data = bytearray(connection.execute("SELECT data FROM point_blocks WHERE number = ?", (number,)).get)
    connection.close()
    place = int(position * len(data))
    if cut:
        del data[place:]
    else:
        data[place] ^= flip
    changed_rows(path, "UPDATE point_blocks SET data = ? WHERE number = ?", bytes(data), number)
    with SqliteStorage(path, read_only=True) as storage, pytest.raises(CorruptStorageError) as caught:
        storage.points("s")
    assert f"block {number}" in caught.value.message


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("change", ["+ 5", "* 2 + 5", "+ 1073741824"])
@pytest.mark.parametrize("number", [0, 3])
def test_damaged_columns_are_seen(tmp_path, sound, column, change, number):
    path = tmp_path / "aqe.db"
    shutil.copyfile(sound, path)
    changed_rows(path, f"UPDATE point_blocks SET {column} = {column} {change} WHERE number = ?", number)
    if column == "series":  # a row that nobody's series refers to cannot be missed by those who look for theirs
        with SqliteStorage(path) as storage, storage._database.read() as connection:
            assert connection.execute("PRAGMA foreign_key_check").fetchall()
        return
    with pytest.raises(CorruptStorageError):
        answers(path)


@pytest.mark.parametrize("change", ["name = 't'", "labels = '{}'", "crc32 = crc32 + 1"])
def test_a_damaged_series_is_seen(tmp_path, sound, change):
    path = tmp_path / "aqe.db"
    shutil.copyfile(sound, path)
    changed_rows(path, f"UPDATE series SET {change}")
    with SqliteStorage(path, read_only=True) as storage, pytest.raises(CorruptStorageError):
        storage.list_series()


@pytest.mark.parametrize(
    "header",
    [
        {"width": 9}, {"width": 255}, {"exponent": -2}, {"exponent": 10}, {"exponent": 127}, {"order": 2},
        {"width": 3}, {"width": 8},
    ],
)  # fmt: skip
@pytest.mark.parametrize("column", [0, 1])
def test_a_lying_header_with_right_checksums(tmp_path, sound, header, column):
    """Whoever writes such a block on purpose gets an error too."""
    from aqe_storage_sqlite import points

    path = tmp_path / "aqe.db"
    shutil.copyfile(sound, path)
    connection = apsw.Connection(str(path))
    row = connection.execute(points._SELECT + "number = 1").fetchone()
    data = bytearray(row[-1])
    headers = np.frombuffer(data, point_coding.HEADER, 2)
    for name, value in header.items():
        assert headers[column][name] != value
        headers[column][name] = value
    head = (*row[:-3], zlib.crc32(data))
    connection.execute("DELETE FROM point_blocks WHERE number = 1")
    connection.execute(points._INSERT, (*head, points._checksum(head), bytes(data)))
    connection.close()
    with SqliteStorage(path, read_only=True) as storage, pytest.raises(CorruptStorageError):
        storage.points("s")


def test_a_row_of_nothing(tmp_path, sound):
    path = tmp_path / "aqe.db"
    shutil.copyfile(sound, path)
    connection = apsw.Connection(str(path))
    from aqe_storage_sqlite import points

    head = (*connection.execute(points._SELECT + "number = 1").fetchone()[:-3], 0)
    connection.execute("DELETE FROM point_blocks WHERE number = 1")
    connection.execute(points._INSERT, (*head, points._checksum(head), b""))
    connection.close()
    with SqliteStorage(path, read_only=True) as storage, pytest.raises(CorruptStorageError, match="too short"):
        storage.points("s")


def test_a_column_of_another_type(sound):
    """Damage can turn a number into anything; what cannot be summed is damaged."""
    from aqe_storage_sqlite import points

    connection = apsw.Connection(str(sound), flags=apsw.SQLITE_OPEN_READONLY)
    row = connection.execute(points._SELECT + "number = 1").fetchone()
    connection.close()
    block = points._Block._make(row)
    assert points._checked_summary(block) is block
    for wrong in ({"maximum": "1"}, {"size": 1.5}, {"codec": 2**70}, {"number": None}):
        with pytest.raises(CorruptStorageError):
            points._checked_summary(block._replace(**wrong))


def test_everything_damaged_is_named(tmp_path, sound):
    from aqe_storage_sqlite import points

    path = tmp_path / "aqe.db"
    shutil.copyfile(sound, path)
    connection = apsw.Connection(str(path))
    assert list(points.damaged(connection)) == []
    connection.execute("UPDATE point_blocks SET data = x'00' WHERE number IN (1, 3); UPDATE series SET labels = ''")
    found = [(table, row, series) for table, row, series, reason in points.damaged(connection) if reason]
    by_sums = [(table, row, series) for table, row, series, _ in points.damaged(connection, unpack=False)]
    connection.close()
    assert found == by_sums == [("series", 1, 1), ("point_blocks", 2, 1), ("point_blocks", 4, 1)]


def test_appending_to_a_damaged_series_changes_nothing(tmp_path, sound):
    path = tmp_path / "aqe.db"
    shutil.copyfile(sound, path)
    changed_rows(path, "UPDATE point_blocks SET data = x'00' WHERE number = 3")
    with SqliteStorage(path, durability="normal") as storage:
        before = storage.list_series()
        with pytest.raises(AqeError):
            storage.append_points("s", *noisy(BLOCK))
        assert storage.list_series() == before


def test_a_negative_zero_is_kept_beside_rows_of_decimals():
    """No integer gives it back, so its row is kept as bits, and the others as integers of two bytes."""
    numbers = np.linspace(0.0, 50.0, 2 * 501).round(2).reshape(2, -1)
    numbers[1, 7] = -0.0
    headers, planes = point_coding.encode(numbers)
    assert headers["exponent"].tolist() == [2, -1]
    assert len(planes[0]) < len(planes[1])
    decoded = point_coding.decode(headers[1:], np.frombuffer(planes[1], np.uint8).reshape(1, -1, 501))
    assert decoded.tobytes() == numbers[1].tobytes()


def test_the_code_does_not_depend_on_the_machine(sound):
    """The stored bytes are little-endian: this block was written on such a machine."""
    assert point_coding.HEADER.itemsize == 19
    (header,), (planes,) = point_coding.encode(np.array([[1.5, 2.0, 300.0]]))
    assert header.tobytes() == bytes.fromhex("01 00 02 0000000000000000 0f00000000000000".replace(" ", ""))
    assert planes == bytes([0, 5, (3000 - 15) & 255, 0, 0, (3000 - 15) >> 8])
    assert sys.byteorder in {"little", "big"}
