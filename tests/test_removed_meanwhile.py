"""Patterns that another process removes or changes while this one reads them."""

from __future__ import annotations

import pytest

import aqe_core
from aqe_core.contracts.records import Pattern


def items(n, word="alpha"):
    return [{"id": f"p{i}", "name": f"test_{word}_{i}", "text": f"{word} number {i}"} for i in range(n)]


@pytest.fixture
def two(tmp_path):
    with aqe_core.open(path=tmp_path) as one, aqe_core.open(path=tmp_path) as other:
        yield one, other


def interfere(monkeypatch, ws, once):
    """Let another process act between what tells of keys and what reads them, once."""
    real, done = ws.storage.get_patterns, []

    def get_patterns(namespace, keys):
        if not done:
            done.append(True)
            once()
        return real(namespace, keys)

    monkeypatch.setattr(ws.storage, "get_patterns", get_patterns)
    return done


def test_patterns_removed_while_they_are_embedded_and_indexed_are_passed_over(two, monkeypatch):
    one, other = two
    done = interfere(monkeypatch, one, lambda: other.patterns.remove(["p3", "p4"]))
    one.patterns.add(items(20))
    assert done
    assert len(one.patterns.store) == len(one.patterns) == 18
    found = {match.pattern.id for match in one.patterns.search("alpha number", k=20)}
    assert found == {f"p{i}" for i in range(20)} - {"p3", "p4"}


def test_a_search_whose_hit_is_removed_meanwhile_is_done_again(two, monkeypatch):
    one, other = two
    other.patterns.add(items(20))
    assert one.patterns.search("alpha", k=1)  # all is loaded
    one.patterns._cache = type(one.patterns._cache)(one.storage, "default")
    first = one.patterns.search("alpha number 7", k=1)[0].pattern.id
    one.patterns._cache = type(one.patterns._cache)(one.storage, "default")
    done = interfere(monkeypatch, one, lambda: other.patterns.remove(first))
    again = one.patterns.search("alpha number 7", k=5)
    assert done
    assert len(again) == 5
    assert first not in {match.pattern.id for match in again}


def test_patterns_removed_while_a_filter_reads_them_are_passed_over(two, monkeypatch):
    one, other = two
    other.patterns.add(items(10))
    assert len(one.patterns.search("alpha", k=20, where={"name": "test_alpha_1"})) == 1
    other.patterns.add(items(4, "beta"))
    done = interfere(monkeypatch, one, lambda: other.patterns.remove("p2"))
    assert not one.patterns.search("beta", k=20, where={"name": "test_beta_2"})
    assert done


def test_a_vector_of_what_a_pattern_was_is_not_kept(two, monkeypatch):
    one, other = two
    real = one.storage.put_vectors

    def put_vectors(*args, **options):
        monkeypatch.undo()
        other.storage.put_patterns("default", [Pattern(id="p0", name="zebra", text="zebra crossing")])
        real(*args, **options)

    monkeypatch.setattr(one.storage, "put_vectors", put_vectors)
    one.patterns.add(items(5))
    embedder = one.patterns.embedder
    keys = one.storage.load_vectors("default", embedder.fingerprint)[0]
    assert one.patterns.get("p0").key not in keys.tolist()
    store = one.patterns.store  # catches up
    pattern = one.patterns.get("p0")
    hit = store.search(embedder.embed_queries(["zebra crossing"])[0], k=1)
    assert hit.keys.tolist() == [pattern.key]
