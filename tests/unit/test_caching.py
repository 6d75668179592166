"""The cache against a plain model of it, and under threads."""

from __future__ import annotations

import threading
from collections import OrderedDict

import attrs
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import aqe_core
from aqe_core.caching import LruCache
from aqe_core.errors import InputError

verbs = st.sampled_from(["get", "put", "wait", "clear"])
steps = st.lists(st.tuples(verbs, st.integers(0, 4), st.integers(0, 2), st.integers(0, 9)), max_size=30)


# A busy machine is no fault of the cache.
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps, st.integers(0, 20), st.sampled_from([None, 2.5]), st.booleans())
def test_it_does_what_a_plain_model_does(steps, budget, ttl_s, watched):
    now = [0.0]
    cache = LruCache(budget, ttl_s=ttl_s, clock=lambda: now[0])
    model: OrderedDict[int, tuple[int, int, int, float]] = OrderedDict()
    hits = misses = 0
    for value, (what, key, version, size) in enumerate(steps):
        now[0] += 0.5
        if what == "wait":
            now[0] += size
        elif what == "clear":
            cache.clear()
            model.clear()
        elif what == "put":
            cache.put(key, value, n_bytes=size, version=version)
            model.pop(key, None)
            if size <= budget:
                while sum(entry[1] for entry in model.values()) + size > budget:
                    model.popitem(last=False)
                model[key] = (value, size, version, now[0])
        else:
            entry = model.get(key)
            found = entry if entry and entry[2] == version and (ttl_s is None or now[0] - entry[3] <= ttl_s) else None
            assert cache.get(key, version=version) == (found[0] if found else None)
            if found:
                model.move_to_end(key)
                hits += 1
            else:
                model.pop(key, None)
                misses += 1
        if watched or value == len(steps) - 1:  # to list the entries puts them in order
            assert cache.items() == [(key, entry[0]) for key, entry in model.items()]
        assert cache.n_bytes == sum(entry[1] for entry in model.values()) <= budget
        assert len(cache) == len(model)
    stats = cache.stats()
    assert (stats.hits, stats.misses, stats.max_bytes) == (hits, misses, budget)


def test_the_order_of_use_holds_over_many_look_ups():
    cache = LruCache(5)
    for key in range(5):
        cache.put(key, key, n_bytes=1)
    model = OrderedDict.fromkeys(range(5))
    random = np.random.default_rng(3)
    for i in range(3000):
        asked = random.integers(0, 5, random.integers(0, 5)).tolist()
        assert cache.get_many(asked) == asked
        for key in asked:
            model.move_to_end(key)
        if i % 900 == 0:
            assert [key for key, _ in cache.items()] == [*model]
    cache.put("new", 7, n_bytes=3)
    assert [key for key, _ in cache.items()] == [*list(model)[3:], "new"]
    assert cache.get_many(["new", *list(model)[3:], 9]) == [7, *list(model)[3:], None]


def test_it_counts_why_something_was_not_found():
    now = [0.0]
    cache = LruCache(10, ttl_s=1.0, clock=lambda: now[0])
    assert cache.get("a") is None
    cache.put("a", 1, n_bytes=4)
    assert cache.get("a") == 1
    assert cache.get("a", version=7) is None
    cache.put("a", 2, n_bytes=4)
    now[0] = 1.5
    assert cache.get("a") is None
    cache.put("a", 3, n_bytes=6)
    cache.put("b", 4, n_bytes=6)
    cache.put("c", 5, n_bytes=11)
    assert attrs.asdict(cache.stats()) == {
        "hits": 1, "misses": 3, "stale": 1, "expired": 1, "evicted": 1, "refused": 1,
        "entries": 1, "n_bytes": 6, "max_bytes": 10,
    }  # fmt: skip


@pytest.mark.parametrize("options", [{"max_bytes": -1}, {"max_bytes": 1, "ttl_s": 0}, {"max_bytes": 1, "ttl_s": -1}])
def test_a_budget_that_makes_no_sense_is_refused(options):
    with pytest.raises(InputError, match="max_bytes is"):
        LruCache(**options)


def test_threads_keep_its_books():
    cache = LruCache(100)
    start = threading.Barrier(4)

    def work(seed):
        start.wait()
        for i in range(3000):
            key = (i * seed) % 37
            if cache.get(key) is None:
                cache.put(key, key, n_bytes=1 + key % 9)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (1, 5, 11, 17)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stats = cache.stats()
    assert stats.hits + stats.misses == 4 * 3000
    assert cache.n_bytes == sum(1 + key % 9 for key, _ in cache.items()) <= 100
    assert all(key == value for key, value in cache.items())


def test_answers_of_a_workspace_are_never_stale(tmp_path):
    """By the truth's own version: writes of another connection are seen, too."""
    cache = LruCache(1 << 20)
    with aqe_core.open(tmp_path) as ws, aqe_core.open(tmp_path) as other:

        def search(text):
            version = ws.storage.data_version()
            found = cache.get(text, version=version)
            if found is None:
                found = [match.pattern.id for match in ws.patterns.search(text, k=1)]
                cache.put(text, found, n_bytes=100, version=version)
            return found

        ws.patterns.add(["login rejects a wrong password"])
        assert search("retry login") == search("retry login") == ["login rejects a wrong password"]
        assert cache.stats().hits == 1
        other.patterns.add(["retry login"])
        assert search("retry login") == ["retry login"]
        other.patterns.remove("retry login")
        assert search("retry login") == ["login rejects a wrong password"]
        assert cache.stats().stale == 2
