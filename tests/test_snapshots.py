"""The workspace keeps a store that can be kept, and never answers from a file that does not fit the truth."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

import aqe_core
from aqe_core import snapshots
from aqe_core.events import capture
from aqe_core.state import EngineState

FILE = """
from aqe_core.testing.backends import REFERENCE_STORE, BruteForceStore


class Kept(BruteForceStore):
    capabilities = REFERENCE_STORE
    loaded = added = 0

    def add(self, keys, vectors):
        super().add(keys, vectors)
        self.added += len(keys)

    def load(self, path):
        name = super().load(path)
        self.loaded = len(self)
        return name
"""

PATTERNS = [{"name": f"test_{word}_{i}", "text": f"{word} {i}"} for i, word in enumerate(["retry", "login"] * 30)]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project whose store can be kept, where 50 patterns are enough."""
    (tmp_path / "mine.py").write_text(FILE, encoding="utf-8")
    (tmp_path / "aqe.toml").write_text('[pattern_store]\nbackend = "file:./mine.py:Kept"\n', encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(snapshots, "_FROM", 50)
    monkeypatch.setattr(snapshots, "_FEW", 5)
    return tmp_path


@pytest.fixture
def kept(project):
    """The same with 60 patterns, and their store in its file."""
    with aqe_core.open(project) as ws:
        ws.patterns.add(PATTERNS)
    return project


def file_of(project):
    (found,) = (project / ".aqe").glob("*-snapshots/*.snapshot")
    return found


def was_loaded(ws):
    """How many rows came from the file, and how many were added."""
    return ws.patterns.store.loaded, ws.patterns.store.added


def truth(ws, text):
    """The best three as an exact scan of the stored vectors says."""
    embedder = ws.patterns.embedder
    keys, vectors = ws.storage.load_vectors("default", embedder.fingerprint)
    scores = vectors @ embedder.embed_queries([text])[0]
    return keys[np.lexsort((keys, -scores))[:3]].tolist()


def found(ws, text):
    return [match.pattern.key for match in ws.patterns.search(text, k=3, mode="vector")]


def test_a_kept_store_is_loaded_and_follows_what_was_written_since(kept):
    with aqe_core.open(kept) as ws:
        assert was_loaded(ws) == (60, 0)
        assert found(ws, "retry 4") == truth(ws, "retry 4")
        before = file_of(kept).read_bytes()
        ws.patterns.add({"name": "test_zebra", "text": "zebra"})
        ws.patterns.remove("test_retry_4")
        ws.patterns.add({"id": "test_login_5", "name": "test_login_5", "text": "zebra crossing"})
    assert file_of(kept).read_bytes() == before  # three of sixty are soon done again
    with aqe_core.open(kept) as ws:
        assert was_loaded(ws) == (60, 2)
        assert found(ws, "zebra crossing") == truth(ws, "zebra crossing")
        assert set(ws.patterns.store.keys().tolist()) == set(ws.storage.pattern_keys("default").tolist())


def test_a_store_that_changed_much_is_kept_anew(kept):
    before = file_of(kept).read_bytes()
    with aqe_core.open(kept) as ws:
        ws.patterns.add([{"name": f"test_more_{i}", "text": f"more {i}"} for i in range(8)])
    assert file_of(kept).read_bytes() != before
    assert (file_of(kept).parent / ".gitignore").read_text(encoding="utf-8") == "*\n"
    with aqe_core.open(kept) as ws:
        assert was_loaded(ws) == (68, 0)
        assert found(ws, "more 3") == truth(ws, "more 3")


def refused(project):
    """Open; the store was built from the vectors, and somebody was told why."""
    with capture() as events, aqe_core.open(project) as ws:
        loaded, added = was_loaded(ws)
        assert added == len(ws.patterns)
        assert found(ws, "retry 4") == truth(ws, "retry 4")
    return loaded, [event.data["error"] for event in events if event.name == "state-dropped"]


def test_a_damaged_file_is_not_used(kept):
    whole = file_of(kept).read_bytes()
    changed = bytearray(whole)
    changed[-200] ^= 1
    for damaged in (b"", whole[:-1], bytes(changed)):
        file_of(kept).write_bytes(damaged)
        loaded, errors = refused(kept)
        assert loaded == 0
        assert len(errors) == 1
        file_of(kept).write_bytes(whole)
    file_of(kept).unlink()
    assert refused(kept)[0] == 0


def test_a_file_of_other_content_is_not_used(kept, tmp_path):
    earlier = file_of(kept).read_bytes()
    with aqe_core.open(kept) as ws:
        ws.patterns.add([{"name": f"test_more_{i}", "text": f"more {i}"} for i in range(20)])
    file_of(kept).write_bytes(earlier)
    _, errors = refused(kept)
    assert "is not the snapshot that was kept last" in errors[0]


def test_an_older_data_file_is_not_answered_from_a_newer_snapshot(kept):
    data = kept / ".aqe" / "aqe.db"
    shutil.copy(data, kept / "older.db")
    with aqe_core.open(kept) as ws:
        ws.patterns.add([{"name": f"test_more_{i}", "text": f"more {i}"} for i in range(20)])
    for path in data.parent.glob("aqe.db-[ws]?[lm]"):
        path.unlink()
    shutil.copy(kept / "older.db", data)
    assert len(refused(kept)[1]) == 1


def test_what_the_journal_does_not_tell_ends_a_snapshot(kept):
    with aqe_core.open(kept) as ws:
        fingerprint = ws.patterns.embedder.fingerprint
        key = ws.patterns.get("test_retry_4").key
        ws.patterns.put_vectors([key], ws.patterns.embedder.embed_queries(["zebra"]), fingerprint)
    with aqe_core.open(kept) as ws:
        assert was_loaded(ws)[0] == 0
        assert found(ws, "zebra")[0] == key


def test_a_journal_that_does_not_fit_ends_a_snapshot(kept, monkeypatch):
    with aqe_core.open(kept) as ws:
        state, _ = ws.storage.load_state("pattern_store/default")
        ws.patterns.add([{"name": f"test_more_{i}", "text": f"more {i}"} for i in range(2)])
        ws.storage.save_state("pattern_store/default", state, seq=ws.storage.last_seq())
    assert refused(kept)[0] == 0
    with aqe_core.open(kept) as ws:
        monkeypatch.setattr(ws.storage, "changes_since", lambda *_: None)
        assert was_loaded(ws) == (0, 62)


@pytest.mark.parametrize("manifest", [{}, {"backend": 3, "fingerprint": "x", "content": "y"}, {"content": "y"}])
def test_a_state_that_says_nothing_usable_is_passed_over(kept, manifest):
    with aqe_core.open(kept) as ws:
        ws.storage.save_state("pattern_store/default", EngineState(kind="workspace/pattern_store/1", manifest=manifest))
    assert refused(kept)[0] == 0


def test_vectors_of_another_embedder_are_not_loaded(kept):
    text = (kept / "aqe.toml").read_text(encoding="utf-8") + "[embedder.options]\ndim = 16\n"
    (kept / "aqe.toml").write_text(text, encoding="utf-8")
    assert refused(kept)[0] == 0


def test_a_workspace_that_may_not_write_loads_but_does_not_keep(project):
    with aqe_core.open(project) as ws:
        ws.patterns.add(PATTERNS[:20])
    assert not list((project / ".aqe").glob("*-snapshots"))  # too few
    with aqe_core.open(project) as ws:
        ws.patterns.add(PATTERNS)
    before = file_of(project).read_bytes()
    with aqe_core.open(project, read_only=True) as ws:
        assert was_loaded(ws) == (60, 0)
    file_of(project).unlink()
    with aqe_core.open(project, read_only=True) as ws:
        assert was_loaded(ws) == (0, 60)
        with pytest.raises(ValueError, match="not enough values"):
            file_of(project)
    assert before


def test_a_folder_that_cannot_be_written_is_no_trouble(project):
    with aqe_core.open(project) as ws:
        ws.patterns.add(PATTERNS)
        ws.storage.path.with_name("aqe.db-snapshots").write_text("in the way", encoding="utf-8")
    with aqe_core.open(project) as ws:
        assert was_loaded(ws) == (0, 60)


def test_namespaces_have_files_of_their_own(project):
    for namespace in ("one", "two/three"):
        with aqe_core.open(project, namespace=namespace) as ws:
            ws.patterns.add(PATTERNS)
    assert len(list((project / ".aqe" / "aqe.db-snapshots").glob("*.snapshot"))) == 2
    with aqe_core.open(project, namespace="two/three") as ws:
        assert was_loaded(ws) == (60, 0)


def test_the_built_in_store_needs_no_file(project):
    with aqe_core.open(project, pattern_store="numpy") as ws:
        ws.patterns.add(PATTERNS)
    assert not list((project / ".aqe").glob("*-snapshots"))


def test_new_vectors_made_in_the_background_are_kept(kept, monkeypatch):
    monkeypatch.setattr("aqe_core.embedding._BACKGROUND_FROM", {"lexical": 10, "semantic": 10})
    text = (kept / "aqe.toml").read_text(encoding="utf-8") + "[embedder.options]\ndim = 16\n"
    (kept / "aqe.toml").write_text(text, encoding="utf-8")
    with aqe_core.open(kept) as ws:
        assert was_loaded(ws)[0] == 60  # of the old embedder, which answers
        assert ws.patterns.wait(timeout_s=20)
        assert ws.patterns.store.dim == 16
    with aqe_core.open(kept) as ws:
        assert was_loaded(ws) == (60, 0)
        assert found(ws, "retry 4") == truth(ws, "retry 4")
