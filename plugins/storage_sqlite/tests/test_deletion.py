"""Deleted means deleted: what was removed is not found, and after compacting not in the file's bytes either."""

from __future__ import annotations

import numpy as np
import pytest
from aqe_storage_sqlite.backup import compact
from aqe_storage_sqlite.storage import SqliteStorage

from aqe_core.contracts import Pattern

SECRET = "zqxjkvbwpy"
DIM = 64


def bytes_of(path):
    """Everything that stands on the disk, of the file and of what is beside it."""
    return b"".join(beside.read_bytes() for beside in sorted(path.parent.glob(path.name + "*")))


def put_secrets(storage):
    """Store patterns in whose every field, and in whose vectors, something stands that can be looked for."""
    generator = np.random.default_rng(5)
    kept = [Pattern(id=f"kept{number}", name="kept", text=f"plain {number} " * 30) for number in range(300)]
    secret = [
        Pattern(
            id=f"{SECRET}id{number}",
            name=f"test_{SECRET}name{number}",
            text=f"{SECRET}text{number} " * (1000 if number == 7 else 5),
            path=f"{SECRET}/path.py",
            class_name=f"{SECRET}Class",
            docstring=f"{SECRET} doc",
            markers=(f"{SECRET}mark",),
            metadata={f"{SECRET}key": f"{SECRET}value"},
            origin=f"{SECRET}.origin",
        )
        for number in range(40)
    ]
    mixed = [item for pair in zip(kept[:40], secret, strict=True) for item in pair] + kept[40:]
    keys = storage.put_patterns("n", mixed).keys
    vectors = generator.standard_normal((keys.size, DIM)).astype(np.float32)
    storage.put_vectors("n", keys, vectors, "embedder")
    is_secret = np.array([item.id.startswith(SECRET) for item in mixed])
    return keys[is_secret], keys[~is_secret], vectors[is_secret]


@pytest.mark.parametrize("way", ["by key", "by origin", "replaced"])
def test_nothing_of_a_removed_pattern_stays(path, way, check_sound):
    with SqliteStorage(path, durability="normal") as storage:
        secret, kept, vectors = put_secrets(storage)
    assert SECRET.encode() in bytes_of(path)
    assert all(vector.tobytes() in bytes_of(path) for vector in vectors[:5])

    with SqliteStorage(path, durability="normal") as storage:
        if way == "by key":
            assert storage.remove_patterns("n", secret) == secret.size
        elif way == "by origin":
            assert storage.put_patterns("n", [], origins=[f"{SECRET}.origin"]).removed == secret.size
        else:
            ids = [item.id for item in storage.get_patterns("n", secret)]
            storage.put_patterns("n", [Pattern(id=id_, name="new", text="new") for id_ in ids])
            storage.remove_patterns("n", secret)  # the ids hold it too
        assert not storage.search_text("n", f"{SECRET}name3 {SECRET}text3 {SECRET}", 5)
        assert not np.isin(storage.load_vectors("n", "embedder")[0], secret).any()
        compact(path, timeout_s=10)
        assert storage.count_patterns("n") == kept.size
        assert len(storage.search_text("n", "plain", 999)) == kept.size
        assert storage.load_vectors("n", "embedder")[0].tolist() == kept.tolist()
    left = bytes_of(path)
    assert SECRET.encode() not in left
    assert SECRET.title().encode() not in left
    assert not any(vector.tobytes() in left for vector in vectors)
    check_sound(path)


def test_the_file_shrinks(path):
    with SqliteStorage(path, durability="normal") as storage:
        keys = storage.put_patterns(
            "n", [Pattern(id=str(number), name=f"name{number}", text=f"word{number} " * 50) for number in range(3000)]
        ).keys
        storage.append_points("s", np.arange(50_000.0), np.random.default_rng(0).standard_normal(50_000))
        compact(path, timeout_s=10)
        full = path.stat().st_size
        storage.remove_patterns("n", keys[10:])
        storage.remove_series("s")
        compact(path, timeout_s=10)
    assert path.stat().st_size < full / 5


def test_removed_points_are_gone(path):
    values = np.random.default_rng(0).standard_normal(2000)
    with SqliteStorage(path, durability="normal", codec="raw") as storage:
        storage.append_points(SECRET, np.arange(2000.0), values, {"label": SECRET})
        storage.append_points("kept", [1.0], [2.0])
    plane = values[:1024].view(np.uint8)[::8].tobytes()
    assert SECRET.encode() in bytes_of(path)
    with SqliteStorage(path, durability="normal") as storage:
        assert storage.remove_series(SECRET) == 2000
        compact(path, timeout_s=10)
        assert storage.points("kept")[1].tolist() == [2.0]
    assert SECRET.encode() not in bytes_of(path)
    assert plane not in bytes_of(path)
