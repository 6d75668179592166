"""Vectors: one per pattern, of its present content, with checksums."""

from __future__ import annotations

import threading
import zlib

import apsw
import numpy as np
import pytest
from aqe_storage_sqlite import checksums, vectors
from aqe_storage_sqlite.storage import SqliteStorage
from hypothesis import given
from hypothesis import strategies as st

from aqe_core.contracts import Pattern
from aqe_core.errors import CorruptStorageError, DimensionError, InputError, NonFiniteError, StorageError


def put(storage, n, namespace="n", prefix=""):
    patterns = [Pattern(id=f"{prefix}{i}", name="n", text="t") for i in range(n)]
    return storage.put_patterns(namespace, patterns).keys


def rows(n, dim=8, seed=0):
    return np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)


def test_round_trip(storage):
    keys = put(storage, 100)
    vectors = rows(100)
    storage.put_vectors("n", keys, vectors, "f")
    found, loaded = storage.load_vectors("n", "f")
    assert found.dtype == np.uint64
    assert loaded.dtype == np.float32
    assert loaded.flags.c_contiguous
    np.testing.assert_array_equal(found, keys)
    np.testing.assert_array_equal(loaded, vectors)


def test_nothing_there(storage):
    keys = put(storage, 3)
    storage.put_vectors("n", keys[:1], rows(1), "f")
    for found, loaded in (
        storage.load_vectors("n", "other"),
        storage.load_vectors("none", "f"),
        storage.load_vectors("n", "f", []),
        storage.load_vectors("n", "f", [keys[1], 2**64 - 2]),
    ):
        assert found.shape == (0,)
        assert found.dtype == np.uint64
        assert loaded.shape == (0, 0)
        assert loaded.dtype == np.float32
    storage.remove_patterns("n", keys)
    assert storage.load_vectors("n", "f")[1].shape == (0, 0)


@pytest.mark.parametrize("step", [1, 3, 16, 17])
def test_vectors_that_come_in_pieces(storage, step):
    """Blocks that are new, that are there in part, and that are filled by the next piece."""
    keys = put(storage, 120)
    expected = {}
    generator = np.random.default_rng(step)
    for number in range(6):
        some = generator.permutation(keys)[:: step if number % 2 else 2]
        given = rows(some.size, seed=number)
        storage.put_vectors("n", some, given, "f")
        expected |= dict(zip(some.tolist(), given, strict=True))
        found, loaded = storage.load_vectors("n", "f")
        assert found.tolist() == sorted(expected)
        np.testing.assert_array_equal(loaded, [expected[key] for key in sorted(expected)])


def test_consecutive_keys_of_which_some_are_others(storage):
    put(storage, 20)
    other = put(storage, 20, namespace="other")
    gone = put(storage, 20, prefix="x")[5:7]
    storage.remove_patterns("n", gone)
    keys = np.arange(1, 61, dtype=np.uint64)
    vectors = rows(60)
    storage.put_vectors("n", keys, vectors, "f")
    kept = ~np.isin(keys, np.concatenate((other, gone)))
    found, loaded = storage.load_vectors("n", "f")
    np.testing.assert_array_equal(found, keys[kept])
    np.testing.assert_array_equal(loaded, vectors[kept])
    backwards = np.asfortranarray(vectors[::-1])
    storage.put_vectors("n", keys[::-1], backwards, "f")
    np.testing.assert_array_equal(storage.load_vectors("n", "f")[1], vectors[kept])


def test_order_duplicates_and_unknown_keys(storage):
    keys = put(storage, 40)
    vectors = rows(40)
    shuffled = np.random.default_rng(1).permutation(40)
    given = np.concatenate([np.array([keys[3], 5000, 2**64 - 2], np.uint64), keys[shuffled]])
    storage.put_vectors("n", given, np.vstack([rows(3, seed=9), vectors[shuffled]]), "f")
    found, loaded = storage.load_vectors("n", "f")
    np.testing.assert_array_equal(found, keys)
    np.testing.assert_array_equal(loaded, vectors)  # of equal keys the last one counts


def test_subsets(storage):
    keys = put(storage, 100)
    vectors = rows(100)
    storage.put_vectors("n", keys[::2], vectors[::2], "f")
    wanted = [int(keys[10]), int(keys[10]), int(keys[11]), int(keys[98]), int(keys[2]), 10**9]
    found, loaded = storage.load_vectors("n", "f", wanted)
    np.testing.assert_array_equal(found, keys[[2, 10, 98]])
    np.testing.assert_array_equal(loaded, vectors[[2, 10, 98]])


def test_piece_by_piece(storage):
    keys = put(storage, 50)
    vectors = rows(50)
    for i in np.random.default_rng(2).permutation(50):
        storage.put_vectors("n", keys[i], vectors[i], "f")  # a single key and row
    found, loaded = storage.load_vectors("n", "f")
    np.testing.assert_array_equal(found, keys)
    np.testing.assert_array_equal(loaded, vectors)


def test_another_fingerprint_replaces(storage):
    keys = put(storage, 30)
    storage.put_vectors("n", keys, rows(30), "old")
    storage.put_vectors("n", keys[5:10], rows(5, dim=3), "new")
    assert storage.load_vectors("n", "old")[0].tolist() == [*keys[:5], *keys[10:]]
    assert storage.load_vectors("n", "new")[1].shape == (5, 3)


def test_changed_and_removed_patterns_have_none(storage):
    keys = put(storage, 30)
    storage.put_vectors("n", keys, rows(30), "f")
    storage.put_patterns("n", [Pattern(id="4", name="n", text="changed"), Pattern(id="5", name="n", text="t")])
    storage.put_patterns("n", [Pattern(id="6", name="n", text="t", line=7)])
    storage.remove_patterns("n", keys[10:12])
    storage.put_patterns("n", [Pattern(id="20", name="n", text="t", origin="o"), Pattern(id="21", name="n", text="t")])
    storage.put_patterns("n", [], origins=["o"])
    gone = {4, 10, 11, 20}
    found, loaded = storage.load_vectors("n", "f")
    kept = [i for i in range(30) if i not in gone]
    np.testing.assert_array_equal(found, keys[kept])
    np.testing.assert_array_equal(loaded, rows(30)[kept])


def test_patterns_without_a_vector_change(storage):
    keys = put(storage, 50)
    storage.put_vectors("n", keys[:3], rows(3), "f")
    storage.put_patterns("n", [Pattern(id="40", name="n", text="changed")])
    storage.remove_patterns("n", keys[40:])
    np.testing.assert_array_equal(storage.load_vectors("n", "f")[1], rows(3))


def test_namespaces_share_blocks_of_keys_but_not_vectors(storage):
    one, two = put(storage, 5, "one"), put(storage, 5, "two")
    storage.put_vectors("one", [*one, *two], rows(10), "f")  # those of two are unknown in one
    storage.put_vectors("two", two, rows(5, seed=4), "f")
    np.testing.assert_array_equal(storage.load_vectors("one", "f")[0], one)
    np.testing.assert_array_equal(storage.load_vectors("two", "f")[1], rows(5, seed=4))
    storage.put_vectors("none", one, rows(5), "f")
    storage.remove_patterns("one", one)
    assert storage.load_vectors("two", "f")[0].size == 5


def test_what_was_written_since_keeps_no_vector_of_what_it_was(storage):
    keys = put(storage, 5)
    seq = storage.last_seq()
    storage.put_patterns("n", [Pattern(id="1", name="n", text="changed")])
    put(storage, 3, "other")  # of another namespace
    storage.put_vectors("n", keys, rows(5), "f", unchanged_since=seq)
    found, vectors = storage.load_vectors("n", "f")
    assert found.tolist() == keys[[0, 2, 3, 4]].tolist()
    np.testing.assert_array_equal(vectors, rows(5)[[0, 2, 3, 4]])
    storage.put_vectors("n", keys, rows(5), "g", unchanged_since=storage.last_seq() + 1)  # unknown to the journal
    assert not storage.load_vectors("n", "g")[0].size
    assert storage.load_vectors("n", "f")[0].size == 4


def test_refusals(storage):
    keys = put(storage, 3)
    storage.put_vectors("n", keys, rows(3), "f")
    bad = rows(3)
    bad[1, 2] = np.nan
    for error, call in (
        (NonFiniteError, lambda: storage.put_vectors("n", keys, bad, "f")),
        (DimensionError, lambda: storage.put_vectors("n", keys, rows(2), "f")),
        (DimensionError, lambda: storage.put_vectors("n", keys, rows(3, dim=7), "f")),
        (DimensionError, lambda: storage.put_vectors("n", keys, np.empty((3, 0)), "g")),
        (DimensionError, lambda: storage.put_vectors("n", keys, 3.0, "f")),
        (DimensionError, lambda: storage.put_vectors("n", keys, [["x"]] * 3, "f")),
        (InputError, lambda: storage.put_vectors("n", keys, rows(3), None)),
        (InputError, lambda: storage.put_vectors("n", keys, rows(3), "f", unchanged_since=-1)),
        (InputError, lambda: storage.put_vectors("n", [], [], "f", unchanged_since="x")),
        (InputError, lambda: storage.load_vectors("n", 3)),
        (InputError, lambda: storage.put_vectors("n", keys, rows(3), "\ud800")),
    ):
        with pytest.raises(error):
            call()
    np.testing.assert_array_equal(storage.load_vectors("n", "f")[1], rows(3))
    storage.put_vectors("n", [], np.empty((0, 8)), "f")
    storage.put_vectors("n", [], [], "f")


@pytest.fixture
def damaged(path):
    """A file of two full blocks, with one bit of the second flipped."""
    with SqliteStorage(path) as storage:
        keys = put(storage, 47)
        storage.put_vectors("n", keys, rows(47), "f")
    content = bytearray(path.read_bytes())
    place = content.find(rows(47)[20].tobytes())
    assert place > 0
    content[place + 5] ^= 4
    path.write_bytes(content)
    return path


def test_a_flipped_bit_is_found(damaged):
    with SqliteStorage(damaged) as storage:
        with pytest.raises(CorruptStorageError, match="keys 16 to 31"):
            storage.load_vectors("n", "f")
        with pytest.raises(CorruptStorageError):
            storage.load_vectors("n", "f", [17])
        np.testing.assert_array_equal(storage.load_vectors("n", "f", [3])[1], rows(47)[2:3])


def test_storing_again_repairs(damaged):
    with SqliteStorage(damaged) as storage:
        storage.put_vectors("n", [21], rows(47)[20], "f")  # its neighbours are gone, and said to be
        found, loaded = storage.load_vectors("n", "f")
        expected = [key for key in range(1, 48) if key // 16 != 1 or key == 21]
        assert found.tolist() == expected
        np.testing.assert_array_equal(loaded, rows(47)[np.array(expected) - 1])
        storage.put_vectors("n", np.arange(1, 48), rows(47), "f")
        np.testing.assert_array_equal(storage.load_vectors("n", "f")[1], rows(47))


def test_removing_from_a_damaged_block(damaged):
    with SqliteStorage(damaged) as storage:
        storage.remove_patterns("n", [16])
        assert set(storage.load_vectors("n", "f")[0].tolist()) == set(range(1, 16)) | set(range(32, 48))


@pytest.mark.parametrize("column", ["slots", "block"])
def test_a_wrong_header_is_found(storage, column):
    keys = put(storage, 20)
    storage.put_vectors("n", keys, rows(20), "f")
    storage._database._writer.connection.execute(
        f"UPDATE vector_blocks SET {column} = {column} + 6 WHERE block = 1"
    ).fetchall()
    with pytest.raises(CorruptStorageError):
        storage.load_vectors("n", "f")


@pytest.fixture
def large(path, monkeypatch):
    """A file of many blocks; returns its vectors."""
    monkeypatch.setattr(vectors, "_MANY", 128)
    with SqliteStorage(path) as storage:
        keys = put(storage, 3000)
        storage.put_vectors("n", keys, rows(3000), "f")
    return rows(3000)


def test_a_large_load(path, large):
    with SqliteStorage(path) as storage:
        found, loaded = storage.load_vectors("n", "f")
        assert found.tolist() == list(range(1, 3001))
        np.testing.assert_array_equal(loaded, large)
        storage.remove_patterns("n", np.arange(5, 3000, 7))
        found, loaded = storage.load_vectors("n", "f")
        np.testing.assert_array_equal(loaded, large[found.astype(np.int64) - 1])
        assert len(found) == 3000 - len(range(5, 3000, 7))


@pytest.mark.parametrize("row", [0, 1500, 2999])
def test_a_flipped_bit_of_a_large_load_is_found(path, large, row):
    right = large[row].tobytes()
    wrong = right[:9] + bytes([right[9] ^ 1]) + right[10:]
    path.write_bytes(path.read_bytes().replace(right, wrong))  # pages may hold old copies too
    first = (row + 1) // 16 * 16
    with SqliteStorage(path) as storage, pytest.raises(CorruptStorageError, match=f"keys {first} to {first + 15}"):
        storage.load_vectors("n", "f")


def test_two_damaged_blocks_of_a_large_load(path, large):
    """Each has the other's numbers, so that nothing but the order is wrong."""
    with SqliteStorage(path) as storage, storage._database.alone() as connection:
        (one, other), *_ = connection.execute(
            "SELECT a.data, b.data FROM vector_blocks AS a, vector_blocks AS b WHERE a.block = 34 AND b.block = 35"
        )
        connection.executemany("UPDATE vector_blocks SET data = ? WHERE block = ?", [(other, 34), (one, 35)])
        with pytest.raises(CorruptStorageError, match=f"keys {34 * 16} to {34 * 16 + 15}"):
            storage.load_vectors("n", "f")


@pytest.mark.parametrize("change", ["crc32 - (1 << 32)", "crc32 + (1 << 32)", "-1", "1 << 62"])
def test_a_number_that_is_no_checksum_in_a_large_load(path, large, change):
    with SqliteStorage(path) as storage, storage._database.alone() as connection:
        connection.execute(f"UPDATE vector_blocks SET crc32 = {change} WHERE block = 34")
        with pytest.raises(CorruptStorageError, match=f"keys {34 * 16} to {34 * 16 + 15}"):
            storage.load_vectors("n", "f")


def test_a_large_load_without_another_thread(path, large, monkeypatch):
    def refuse(_):
        raise RuntimeError("can't start new thread")

    with SqliteStorage(path) as storage:
        monkeypatch.setattr(threading.Thread, "start", refuse)
        np.testing.assert_array_equal(storage.load_vectors("n", "f")[1], large)


def test_damage_is_found_where_the_other_thread_ends_early(path, large, monkeypatch):
    def fail(_):
        raise MemoryError

    monkeypatch.setattr(vectors, "made_present", fail)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    with SqliteStorage(path) as storage:
        np.testing.assert_array_equal(storage.load_vectors("n", "f")[1], large)
        storage._database._writer.connection.execute(
            "UPDATE vector_blocks SET crc32 = crc32 + 1 WHERE block = 150"
        ).fetchall()
        with pytest.raises(CorruptStorageError):
            storage.load_vectors("n", "f")


def test_a_large_load_that_cannot_be_read_to_its_end(path, large, monkeypatch):
    read_runs = vectors._read_runs

    def failing(*given):
        yield next(read_runs(*given))
        raise apsw.IOError("the disk is gone")

    monkeypatch.setattr(vectors, "_read_runs", failing)
    with SqliteStorage(path) as storage, pytest.raises(StorageError, match="the disk is gone"):
        storage.load_vectors("n", "f")
    for thread in threading.enumerate():
        if thread.name == "aqe-checksums":
            thread.join(10)  # it has been told to end
            assert not thread.is_alive()


@given(parts=st.lists(st.tuples(st.integers(0, 2**32 - 1), st.binary(max_size=300)), max_size=8))
def test_sums_of_parts_make_that_of_the_whole(parts):
    sums = [(start, zlib.crc32(data, start), len(data)) for start, data in parts]
    assert checksums.together(sums) == zlib.crc32(b"".join(data for _, data in parts))
