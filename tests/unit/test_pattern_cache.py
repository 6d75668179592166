"""Patterns at hand: read once under one version of the truth, never after it has changed, and not without bound."""

from __future__ import annotations

import pytest

import aqe_core
from aqe_core import pattern_cache
from aqe_core.contracts.records import Pattern
from aqe_core.errors import NotFoundError
from aqe_core.pattern_cache import PatternCache


class Storage:
    """Counts what is read."""

    def __init__(self):
        self.read = []
        self.edition = "first"

    def get_patterns(self, namespace, keys):
        self.read += keys
        if 99 in keys:
            raise NotFoundError("there is no pattern with key 99.", fix="search again.")
        return [Pattern(id=f"{namespace}/{key}", name=self.edition, text="x" * 10, key=key) for key in keys]


def test_each_pattern_is_read_once_a_version():
    storage = Storage()
    cache = PatternCache(storage, "n")
    assert [pattern.key for pattern in cache.get([3, 1], 7)] == [3, 1]
    assert [pattern.id for pattern in cache.get([1, 2, 3], 7)] == ["n/1", "n/2", "n/3"]
    assert storage.read == [3, 1, 2]
    storage.edition = "second"
    assert cache.get([1], 7)[0].name == "first"
    assert cache.get([1], 8)[0].name == "second"
    assert storage.read == [3, 1, 2, 1]


def test_an_unknown_key_is_an_error_each_time():
    cache = PatternCache(Storage(), "n")
    for _ in range(2):
        with pytest.raises(NotFoundError):
            cache.get([1, 99], 7)
    assert cache.get([1], 7)[0].key == 1


@pytest.mark.parametrize(("entry_bytes", "most"), [(1, 5 * 11), (0, 5 * 10)])
def test_the_least_recently_used_makes_room_when_it_is_full(monkeypatch, entry_bytes, most):
    monkeypatch.setattr(pattern_cache, "_ENTRY_BYTES", entry_bytes)
    monkeypatch.setattr(pattern_cache, "_MAX_BYTES", most)
    storage = Storage()
    cache = PatternCache(storage, "n")
    for key in range(1, 7):
        cache.get([key], 7)
    cache.get([1], 7)
    assert storage.read == [1, 2, 3, 4, 5, 6, 1]
    cache.get([4, 6], 7)
    assert storage.read == [1, 2, 3, 4, 5, 6, 1]
    stats = cache.stats()
    assert (stats.hits, stats.misses, stats.evicted, stats.n_bytes) == (2, 7, 2, most)


def test_what_is_read_late_is_not_taken_for_newer():
    storage = Storage()
    cache = PatternCache(storage, "n")
    read = storage.get_patterns

    def overtaken(namespace, keys):
        storage.get_patterns = read
        old = read(namespace, keys)
        storage.edition = "second"
        cache.get([5], 8)  # another thread, after a commit
        return old

    storage.get_patterns = overtaken
    assert cache.get([1], 7)[0].name == "first"
    assert cache.get([1], 8)[0].name == "second"


def test_searches_see_what_another_handle_writes(tmp_path):
    with aqe_core.open(tmp_path) as ws, aqe_core.open(tmp_path) as other:
        ws.patterns.add({"id": "a", "name": "test_retry", "text": "retry", "line": 1})
        assert ws.patterns.search("retry")[0].pattern.line == 1
        other.patterns.add({"id": "a", "name": "test_retry", "text": "retry", "line": 5})  # no change of its content
        assert ws.patterns.search("retry")[0].pattern.line == 5
        other.patterns.add({"id": "a", "name": "test_retry", "text": "retry twice", "line": 5})
        assert ws.patterns.search("retry")[0].pattern.text == "retry twice"
        other.patterns.remove("a")
        assert ws.patterns.search("retry") == []
