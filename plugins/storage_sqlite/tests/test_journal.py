"""The journal: how an engine catches up with the truth."""

from __future__ import annotations

import numpy as np
import pytest
from aqe_storage_sqlite import journal
from aqe_storage_sqlite.storage import SqliteStorage

from aqe_core.contracts import Pattern
from aqe_core.errors import InputError


def put(storage, *ids, text="t", namespace="n"):
    return storage.put_patterns(namespace, [Pattern(id=id_, name="n", text=text) for id_ in ids]).keys.tolist()


def changes(storage, seq, namespace="n"):
    found = storage.changes_since(namespace, seq)
    assert found.written.dtype == found.removed.dtype == np.uint64
    return found.seq, found.written.tolist(), found.removed.tolist()


def test_an_empty_file(storage):
    assert storage.last_seq() == 0
    assert changes(storage, 0) == (0, [], [])
    assert storage.changes_since("n", 1) is None


def test_the_last_change_of_each_key_counts(storage):
    a, b, c = put(storage, "a", "b", "c")
    seq = storage.last_seq()
    assert changes(storage, 0) == (seq, [a, b, c], [])
    assert changes(storage, seq) == (seq, [], [])

    put(storage, "c", "a", text="changed")
    storage.remove_patterns("n", [a])
    (d,) = put(storage, "d")
    assert changes(storage, seq) == (storage.last_seq(), [c, d], [a])

    (again,) = put(storage, "a")  # the same id, but another key
    assert changes(storage, seq) == (storage.last_seq(), [c, d, again], [a])
    storage.remove_patterns("n", [again, again, 999])
    assert changes(storage, seq) == (storage.last_seq(), [c, d], [a, again])


def test_vanished_ones_are_removed(storage):
    (a,) = storage.put_patterns("n", [Pattern(id="a", name="n", text="t", origin="o")]).keys.tolist()
    seq = storage.last_seq()
    storage.put_patterns("n", [], origins=["o"])
    assert changes(storage, seq) == (seq + 1, [], [a])


def test_what_changed_nothing_is_not_noted(storage):
    (a,) = put(storage, "a")
    seq = storage.last_seq()
    put(storage, "a")
    storage.put_vectors("n", [a], np.ones((1, 3)), "f")
    storage.remove_patterns("n", [999])
    assert storage.last_seq() == seq


def test_namespaces(storage):
    (a,) = put(storage, "a")
    seq = storage.last_seq()
    (b,) = put(storage, "b", namespace="other")
    assert changes(storage, seq) == (seq + 1, [], [])
    assert changes(storage, seq, "other") == (seq + 1, [b], [])
    assert changes(storage, 0) == (seq + 1, [a], [])
    assert changes(storage, 0, "none") == (seq + 1, [], [])


def test_it_is_pruned(path, monkeypatch):
    monkeypatch.setattr(journal, "KEPT", 10)
    with SqliteStorage(path) as storage:
        for i in range(8):
            put(storage, str(i))
        keys = list(range(1, 9))
        assert changes(storage, 0) == (8, keys, [])
        late = put(storage, "8", "9", "10", "11")
        assert storage.info()["counts"]["journal"] == 7  # six of one key, one of four
        assert storage.changes_since("n", 0) is None
        assert storage.changes_since("n", 1) is None
        assert changes(storage, 2) == (12, keys[2:] + late, [])
        many = put(storage, *(f"many {i}" for i in range(30)))
        assert storage.changes_since("n", 11) is None
        assert changes(storage, 12) == (42, many, [])  # one entry, which is kept whole
        assert changes(storage, 32) == (42, many[20:], [])
        put(storage, "last")
        assert storage.info()["counts"]["journal"] == 2
    with SqliteStorage(path) as storage:
        assert storage.last_seq() == 43
        assert storage.changes_since("n", 11) is None
        storage._database.write(lambda connection: connection.execute("DELETE FROM journal").fetchall())
        assert storage.changes_since("n", 42) is None
        assert changes(storage, 43) == (43, [], [])


def test_consecutive_keys_are_one_entry(storage):
    put(storage, *"abcdefgh")
    storage.remove_patterns("n", [2, 3, 5, 7, 8])
    put(storage, "a", "d", "i", "j", text="new")
    with storage._database.read() as connection:
        entries = connection.execute("SELECT seq, written, key, count FROM journal ORDER BY seq").fetchall()
    assert entries == [
        (8, 1, 1, 8),
        *((10, 0, 2, 2), (11, 0, 5, 1), (13, 0, 7, 2)),
        *((14, 1, 1, 1), (15, 1, 4, 1), (17, 1, 9, 2)),
    ]
    for seq in range(18):
        last = {}
        for end, written, key, count in entries:
            last |= {key + i: written for i in range(count) if end - count + 1 + i > seq}
        expected = (sorted(key for key in last if last[key]), sorted(key for key in last if not last[key]))
        assert changes(storage, seq)[1:] == expected


def test_an_engine_that_read_a_journal_of_single_entries_goes_on(storage):
    """Until version 5 of the schema each key had an entry of its own."""
    put(storage, *"abc")
    storage._database.write(
        lambda connection: connection.execute(
            "DELETE FROM journal;"
            "INSERT INTO journal (seq, namespace, written, key) VALUES (1, 1, 1, 1), (2, 1, 1, 2), (3, 1, 1, 3)"
        ).fetchall()
    )
    put(storage, "d", "e")
    assert changes(storage, 1) == (5, [2, 3, 4, 5], [])
    assert changes(storage, 4) == (5, [5], [])


@pytest.mark.parametrize(
    "change", ["count = 2", "count = 1 << 60", "count = 0", "key = 2", "written = 0", "crc32 = NULL"]
)
def test_a_damaged_entry_of_many_keys_is_not_followed(storage, change):
    """It says how much memory the answer takes; the engine rebuilds."""
    put(storage, *"abcdefgh")
    (last,) = put(storage, "i")
    storage._database.write(
        lambda connection: connection.execute(
            f"PRAGMA ignore_check_constraints = ON; UPDATE journal SET {change} WHERE count > 1"
        ).fetchall()
    )
    assert storage.changes_since("n", 0) is None
    assert changes(storage, 8) == (9, [last], [])


@pytest.mark.parametrize("wrong", [-1, "0", 2**63, 1.5])
def test_seq_is_checked(storage, wrong):
    with pytest.raises(InputError):
        storage.changes_since("n", wrong)


def test_data_version(path):
    with SqliteStorage(path) as one, SqliteStorage(path) as two:
        first, second = one.data_version(), two.data_version()
        assert (one.data_version(), two.data_version()) == (first, second)
        put(one, "a")
        assert one.data_version() != first
        assert two.data_version() != second
        seen = two.data_version()
        two.count_patterns("n")
        assert two.data_version() == seen
