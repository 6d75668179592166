"""Vectors that follow their embedder: made anew in the background, never mixed, and not made twice."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

import aqe_core
from aqe_core import embedding
from aqe_core.contracts.embedder import Document
from aqe_core.embedding_cache import EmbeddingCache
from aqe_core.errors import DimensionError, FingerprintError
from aqe_core.events import capture
from aqe_core.state import EngineState

FILE = '''
import threading
import numpy as np
from aqe_core.state import EngineState

GATE = threading.Event()
EMBEDDED = []
FAILING = []

class Letters:
    """Counts letters. Waits at a gate before its second batch, and fails when told."""

    dim = 26
    fingerprint = "letters/1"

    def fit(self, documents):
        pass

    def embed(self, documents):
        EMBEDDED.extend(name for name, _ in documents)
        if FAILING:
            raise RuntimeError("out of letters")
        if len(EMBEDDED) > 64 and not GATE.wait(20):
            raise RuntimeError("nobody opened the gate")
        return self.embed_queries([name + " " + text for name, text in documents])

    def embed_queries(self, texts):
        rows = [[1e-3 + text.lower().count(chr(97 + i)) for i in range(26)] for text in texts]
        rows = np.array(rows, np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def export_state(self):
        return EngineState(kind="letters/1", manifest={})

    def import_state(self, state):
        if state.kind != "letters/1":
            from aqe_core.errors import InputError
            raise InputError("not letters")
'''

PATTERNS = [{"name": f"test_{word}_{i}", "text": word * 3} for i, word in enumerate(["retry", "login", "parse"] * 50)]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with an embedder in a file, where 100 patterns are many."""
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(FILE, encoding="utf-8")
    monkeypatch.setattr(embedding, "_BACKGROUND_FROM", {"lexical": 100, "semantic": 100})
    return tmp_path


def letters(ws):
    """The module of the embedder in the file, as the workspace made it."""
    import sys

    (found,) = {
        module for module in sys.modules.values() if getattr(module, "__file__", None) == str(Path("mine.py").resolve())
    }
    return found


def names(matches):
    return [match.pattern.name for match in matches]


def use_letters():
    Path("aqe.toml").write_text('[embedder]\nbackend = "file:./mine.py:Letters"\n', encoding="utf-8")


def one_fingerprint(ws):
    """All stored vectors are of the embedder that answers."""
    keys, vectors = ws.storage.load_vectors("default", ws.patterns.embedder.fingerprint)
    assert len(keys) == len(ws.patterns) == len(ws.patterns.store)
    assert vectors.shape[1] == ws.patterns.embedder.dim


def test_another_embedder_takes_over_when_all_is_embedded(project):
    with aqe_core.open(project) as ws:
        ws.patterns.add(PATTERNS)
        lexical = ws.patterns.embedder.fingerprint
        one_fingerprint(ws)
    use_letters()
    with aqe_core.open(project) as ws, capture() as events:
        assert len(names(ws.patterns.search("login", k=5))) == 5
        assert ws.patterns.embedder.fingerprint == lexical  # the old vectors answer
        state = ws.patterns.reembedding
        assert (state.old, state.total) == (lexical, 150)
        assert not ws.patterns.wait(timeout_s=0.2)
        # What is written meanwhile is found at once, and is there after the change.
        ws.patterns.add({"name": "test_zebra", "text": "zebra zoo zigzag"})
        ws.patterns.remove("test_retry_0")
        assert names(ws.patterns.search("zebra zigzag", k=1)) == ["test_zebra"]
        assert ws.patterns.embedder.fingerprint == lexical
        assert ws.patterns.reembedding.done == 64
        letters(ws).GATE.set()
        assert ws.patterns.wait(timeout_s=20)
        assert ws.patterns.reembedding is None
        assert ws.patterns.embedder.fingerprint == "letters/1"
        assert names(ws.patterns.search("zzzz", k=1)) == ["test_zebra"]
        assert "test_retry_0" not in names(ws.patterns.search("retry", k=200))
        one_fingerprint(ws)
        assert ws.selections["embedder"].backend.startswith("file:")
    assert [event.data["patterns"] for event in events if event.name == "refitted"] == [150]
    with aqe_core.open(project) as ws:  # and stays
        assert ws.patterns.embedder.fingerprint == "letters/1"
        assert ws.patterns.reembedding is None


def test_closing_in_between_keeps_the_old_vectors_and_what_was_made(project):
    with aqe_core.open(project) as ws:
        ws.patterns.add(PATTERNS)
        lexical = ws.patterns.embedder.fingerprint
    use_letters()
    with aqe_core.open(project) as ws:
        ws.patterns.search("login")
        module = letters(ws)
        while ws.patterns.reembedding.done < 64:
            ws.patterns.wait(timeout_s=0.05)
        opener = threading.Timer(0.3, module.GATE.set)
        opener.start()
    opener.join()
    with aqe_core.open(project) as ws:
        before = ws.storage.load_vectors("default", lexical)
        assert len(before[0]) == 150
        ws.patterns.search("login")
        again = letters(ws)
        again.GATE.set()
        assert ws.patterns.wait(timeout_s=20)
        assert ws.patterns.embedder.fingerprint == "letters/1"
        assert not {f"test_{word}_{i}" for i, word in enumerate(["retry", "login", "parse"] * 10)} & set(
            again.EMBEDDED[len(module.EMBEDDED) if again is module else 0 :]
        )
        one_fingerprint(ws)


def test_a_failure_is_told_and_the_old_vectors_stay(project):
    with aqe_core.open(project) as ws:
        ws.patterns.add(PATTERNS)
        lexical = ws.patterns.embedder.fingerprint
    Path("mine.py").write_text(FILE.replace("FAILING = []", "FAILING = [1]"), encoding="utf-8")
    use_letters()
    with aqe_core.open(project) as ws, capture() as events:
        ws.patterns.search("login")
        assert ws.patterns.wait(timeout_s=20)
        assert "out of letters" in ws.patterns.reembedding.error
        assert names(ws.patterns.search("login", k=1))[0].startswith("test_login")
        assert ws.patterns.embedder.fingerprint == lexical
        one_fingerprint(ws)
    assert any("out of letters" in str(event.data.get("error")) for event in events)


def test_few_patterns_change_over_at_once(project):
    with aqe_core.open(project) as ws:
        ws.patterns.add(PATTERNS[:20])
    use_letters()
    with aqe_core.open(project) as ws:
        ws.patterns.search("login")
        assert ws.patterns.reembedding is None
        assert ws.patterns.embedder.fingerprint == "letters/1"
        one_fingerprint(ws)


def test_an_outgrown_fit_is_replaced_in_the_background(project):
    with aqe_core.open(project) as ws:
        ws.patterns.add(PATTERNS)
        first = ws.patterns.embedder.fingerprint
        more = [{"name": f"test_more_{i}", "text": f"other words {i}"} for i in range(150)]
        ws.patterns.add(more)
        assert names(ws.patterns.search("other words", k=1))[0].startswith("test_more")
        assert ws.patterns.wait(timeout_s=20)
        assert ws.patterns.embedder.fingerprint != first
        one_fingerprint(ws)
        found = names(ws.patterns.search("test_more_7 other words", k=20))
    with aqe_core.open(project, namespace="fresh") as ws:
        ws.patterns.add(PATTERNS + more)
        assert names(ws.patterns.search("test_more_7 other words", k=20)) == found


def test_with_progress_it_is_done_when_the_call_returns(project):
    told = []
    with aqe_core.open(project) as ws:
        ws.patterns.put([aqe_core.memory.as_pattern(each) for each in PATTERNS])
        before = ws.patterns.embedder.fingerprint
        more = [aqe_core.memory.as_pattern({"name": f"test_more_{i}", "text": f"words {i}"}) for i in range(150)]
        ws.patterns.put(more, progress=lambda *what: told.append(what))
        assert ws.patterns.reembedding is None
        assert ws.patterns.embedder.fingerprint != before
        one_fingerprint(ws)
    assert {stage for stage, _, _ in told} >= {"fitting the embedder", "embedding"}


def test_what_was_embedded_before_an_interruption_is_kept(project):
    use_letters()

    def interrupt(stage, done, total):
        if (stage, total) == ("embedding", 150) and done:
            raise KeyboardInterrupt

    with aqe_core.open(project) as ws:
        with pytest.raises(KeyboardInterrupt):
            ws.patterns.put([aqe_core.memory.as_pattern(each) for each in PATTERNS], progress=interrupt)
        kept, _ = ws.storage.load_vectors("default", "letters/1")
        assert len(kept) == len(letters(ws).EMBEDDED) == 64
        letters(ws).GATE.set()
        assert len(ws.patterns.store) == 150
        assert sorted(letters(ws).EMBEDDED) == sorted(each["name"] for each in PATTERNS)  # none twice


def test_another_process_follows(project):
    with aqe_core.open(project) as ws:
        ws.patterns.add(PATTERNS)
        with aqe_core.open(project) as other:
            other.patterns.search("login")
            ws.patterns.add([{"name": f"test_more_{i}", "text": f"other words {i}"} for i in range(150)])
            assert ws.patterns.wait(timeout_s=20)
            assert names(other.patterns.search("other words", k=3)) == names(ws.patterns.search("other words", k=3))
            assert other.patterns.embedder.fingerprint == ws.patterns.embedder.fingerprint


class TestForcing:
    def test_vectors_of_another_fingerprint_are_refused_with_the_numbers(self, tmp_path):
        with aqe_core.open(tmp_path) as ws:
            keys = ws.patterns.add(PATTERNS[:5])
            mine = ws.patterns.embedder.fingerprint
            before = ws.storage.load_vectors("default", mine)
            with pytest.raises(FingerprintError, match=r"2 vectors .*'other/1'.* 5 of the 5 patterns .*'lexical/2/384"):
                ws.patterns.put_vectors(keys[:2], np.ones((2, 384), np.float32), "other/1")
            np.testing.assert_array_equal(ws.storage.load_vectors("default", mine)[1], before[1])

    def test_vectors_of_the_same_fingerprint_are_taken(self, tmp_path):
        with aqe_core.open(tmp_path) as ws:
            keys = ws.patterns.add(["alpha", "beta"])
            embedder = ws.patterns.embedder
            ws.patterns.put_vectors(keys[:1], embedder.embed_queries(["gamma"]), embedder.fingerprint)
            assert names(ws.patterns.search("gamma", k=1)) == ["alpha"]


class Counting:
    dim = 4

    def __init__(self, fingerprint="counting/1"):
        self.fingerprint = fingerprint
        self.asked = []

    def embed(self, documents):
        self.asked += documents
        return np.array([[len(name), len(text), len(self.fingerprint), 1] for name, text in documents], np.float32)


class TestCache:
    documents = tuple(Document(f"n{i}", "t" * i) for i in range(10))

    def test_asks_once(self):
        cache, embedder = EmbeddingCache(), Counting()
        first = cache.embed(embedder, self.documents)
        np.testing.assert_array_equal(first, Counting().embed(self.documents))
        np.testing.assert_array_equal(cache.embed(embedder, self.documents[::-1]), first[::-1])
        assert embedder.asked == list(self.documents)
        assert (cache.hits, cache.misses, len(cache)) == (10, 10, 10)

    def test_equal_documents_are_embedded_once_and_empty_batches_not_at_all(self):
        cache, embedder = EmbeddingCache(), Counting()
        rows = cache.embed(embedder, [self.documents[3]] * 4)
        assert len(embedder.asked) == 1
        assert (rows == rows[0]).all()
        assert cache.embed(embedder, []).shape == (0, 4)

    def test_fields_and_fingerprints_are_not_confused(self):
        cache = EmbeddingCache()
        rows = cache.embed(Counting(), [Document("ab", "c"), Document("a", "bc")])
        other = cache.embed(Counting("counting/22"), [Document("ab", "c")])
        assert not np.array_equal(rows[0], rows[1])
        assert not np.array_equal(rows[0], other[0])

    def test_what_it_returns_is_the_callers(self):
        cache, embedder = EmbeddingCache(), Counting()
        cache.embed(embedder, self.documents)[:] = 0
        np.testing.assert_array_equal(cache.embed(embedder, self.documents), Counting().embed(self.documents))

    def test_the_budget_is_kept_and_the_least_recent_go(self):
        cache, embedder = EmbeddingCache(max_bytes=3 * (16 + 160)), Counting()
        cache.embed(embedder, self.documents[:3])
        cache.embed(embedder, self.documents[:1])
        cache.embed(embedder, self.documents[3:4])
        assert (len(cache), cache.n_bytes) == (3, cache.max_bytes)
        embedder.asked.clear()
        cache.embed(embedder, self.documents[:1])
        assert embedder.asked == []
        cache.embed(embedder, self.documents[1:2])
        assert embedder.asked == [self.documents[1]]

    def test_a_budget_of_nothing(self):
        cache = EmbeddingCache(max_bytes=0)
        np.testing.assert_array_equal(cache.embed(Counting(), self.documents), Counting().embed(self.documents))
        assert len(cache) == cache.n_bytes == 0

    def test_kept_in_storage(self, tmp_path):
        with aqe_core.open(tmp_path) as ws:
            cache = EmbeddingCache()
            cache.embed(Counting(), self.documents)
            cache.save(ws.storage, "cache")
            other, embedder = EmbeddingCache(), Counting()
            other.load(ws.storage, "cache")
            np.testing.assert_array_equal(other.embed(embedder, self.documents), Counting().embed(self.documents))
            assert embedder.asked == []
            smaller = EmbeddingCache(max_bytes=400)
            smaller.load(ws.storage, "cache")
            assert len(smaller) == 2

    @pytest.mark.parametrize(
        "state",
        [
            EngineState(kind="another/1", manifest={}),
            EngineState(kind="embedding-cache/1", manifest={"dims": [4]}),
            EngineState(
                kind="embedding-cache/1",
                manifest={"dims": [4]},
                arrays={"digests-4": np.zeros((2, 16), np.uint8), "vectors-4": np.zeros((3, 4), np.float32)},
            ),
        ],
    )
    def test_what_cannot_be_used_is_passed_over(self, tmp_path, state):
        with aqe_core.open(tmp_path) as ws:
            cache = EmbeddingCache()
            cache.load(ws.storage, "cache")
            ws.storage.save_state("cache", state)
            cache.load(ws.storage, "cache")
            assert len(cache) == 0

    def test_rows_of_a_wrong_length(self):
        embedder = Counting()
        embedder.dim = 5
        with pytest.raises(DimensionError, match=r"shape \(10, 4\) for 10 documents"):
            EmbeddingCache().embed(embedder, self.documents)
