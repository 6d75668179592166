"""The examinations, healthy and ill."""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path

import pytest
from aqe_storage_sqlite.storage import SqliteStorage

import aqe_core
from aqe_core import binding
from aqe_core.cli.examine import programs_on_path
from aqe_core.cli.examine_search import recall_on_own
from aqe_core.contracts import Pattern


def checks(document):
    return {each["name"]: each for each in document["checks"]}


@pytest.fixture(autouse=True)
def path(monkeypatch, tmp_path):
    """A PATH on which only our own program is."""
    scripts = tmp_path / "scripts"
    program(scripts, "import aqe_core.cli")
    monkeypatch.setenv("PATH", str(scripts))
    real = sysconfig.get_path
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(scripts) if name == "scripts" else real(name))
    return scripts


def program(folder, text):
    folder.mkdir()
    file = folder / "aqe"
    file.write_text(text)
    file.chmod(0o755)
    return file


def test_all_is_well(aqe, aqe_json):
    document = aqe_json("doctor")
    assert document["ok"] is True
    assert {each["status"] for each in document["checks"]} == {"ok"}
    assert set(checks(document)) == {
        "python", "aqe", "PATH", "config", "plugins", "storage sqlite", "pattern store numpy", "learner numpy",
        "ranker numpy",
        "analyzer numpy", "embedder lexical", "text index numpy", "workspace",
    }  # fmt: skip
    assert "written and read again, sqlite 3." in checks(document)["storage sqlite"]["message"]
    text = aqe("doctor").stdout
    assert text.splitlines()[-1] == "13 ok"
    assert "ok    pattern store numpy: 100 vectors added, each found as its own nearest (aqe-core " in text


def test_the_workspace_is_opened(aqe_json, ingested, monkeypatch):
    monkeypatch.chdir(ingested)
    assert "patterns 3" in checks(aqe_json("doctor"))["workspace"]["message"]


LITTLE = """
import numpy as np
from aqe_core.testing.backends import REFERENCE_STORE, BruteForceStore


class Little(BruteForceStore):
    capabilities = REFERENCE_STORE
    optimized = False

    def stats(self):
        return {"simd": "abacus"}

    def optimize(self):
        self.optimized = True

    def search(self, queries, k=10, *, among=None):
        hits = super().search(queries, k, among=among)
        if len(self) == 40:
            assert self.optimized
            hits.keys[KEPT:] = 2**64 - 1
        return hits
"""


@pytest.mark.parametrize(("kept", "recall"), [(11, "1.000"), (10, "0.900"), (5, "0.400")])
def test_recall_on_the_users_own_patterns(aqe, aqe_json, tmp_path, kept, recall):
    (tmp_path / "mine.py").write_text(LITTLE.replace("KEPT", str(kept)), encoding="utf-8")
    (tmp_path / "aqe.toml").write_text('[pattern_store]\nbackend = "file:./mine.py:Little"\n', encoding="utf-8")
    with aqe_core.open(tmp_path) as ws:
        ws.patterns.add([f"word{i} and word{i % 7} of {i * i}" for i in range(40)])
    document = aqe_json("doctor", code=0 if kept > 5 else 1)
    found = checks(document)["search"]
    assert f"recall@10 {recall} on 40 of 40 own vectors" in found["message"]
    assert found["status"] == ("ok" if kept > 5 else "fail")
    if kept > 5:
        assert found["message"].endswith("abacus instructions")
    else:
        assert found["fix"]


def test_vectors_that_are_missing_are_no_bad_recall(aqe, aqe_json, tmp_path):
    with aqe_core.open(tmp_path) as ws:
        ws.patterns.add([f"word{i} and word{i % 7} of {i * i}" for i in range(40)])
        more = [Pattern(id=str(i), name=str(i), text=f"word{i} of word{i % 7}") for i in range(40)]
        ws.storage.put_patterns(ws.namespace, more)  # as a process does that is killed before it embeds them
    found = checks(aqe_json("doctor"))["search"]
    assert found["status"] == "ok"
    assert "not compared: 40 of 80 patterns" in found["message"]
    aqe("search", "word3")
    assert "on 80 of 80 own vectors" in checks(aqe_json("doctor"))["search"]["message"]


def test_what_others_write_meanwhile_is_no_bad_recall(tmp_path, monkeypatch):
    with aqe_core.open(tmp_path) as ws, aqe_core.open(tmp_path) as other:
        ws.patterns.add([{"id": str(i), "text": f"word{i} and word{i % 7} of {i * i}"} for i in range(40)])
        assert "recall@10 1.000" in recall_on_own(ws)

        def load(*arguments):
            other.patterns.add([{"id": str(i), "text": f"now {i % 5} and {i % 11}"} for i in range(40)])
            return SqliteStorage.load_vectors(ws.storage, *arguments)

        monkeypatch.setattr(ws.storage, "load_vectors", load, raising=False)
        assert "not compared: 40 of 40" in recall_on_own(ws)


def test_with_few_patterns_recall_says_nothing(aqe_json, ingested, monkeypatch):
    monkeypatch.chdir(ingested)
    assert "search" not in checks(aqe_json("doctor"))


def test_a_damaged_workspace_fails(aqe, aqe_json, tmp_path):
    (tmp_path / ".aqe").mkdir()
    (tmp_path / ".aqe" / "aqe.db").write_bytes(b"this is no database at all. " * 400)
    found = checks(aqe_json("doctor", code=1))["workspace"]
    assert found["status"] == "fail"
    assert found["fix"]
    text = aqe("doctor", code=1).stdout
    assert "fail  workspace: " in text
    assert text.splitlines()[-1] == "12 ok, 1 fail"


@pytest.mark.parametrize(
    ("text", "whose"),
    [
        ("#!/usr/bin/env node\n", "of Node.js, perhaps agentic-qe"),
        ("#!/bin/python\nfrom aqe_core.cli import main\n", "another installation of aqe-core"),
        ("#!/bin/sh\n", "not of aqe-core"),
    ],
)
def test_another_program_before_ours(aqe_json, tmp_path, path, monkeypatch, text, whose):
    other = program(tmp_path / "other", text)
    monkeypatch.setenv("PATH", f"{other.parent}{os.pathsep}{path}")
    found = checks(aqe_json("doctor"))["PATH"]
    assert (found["status"], found["fix"]) == ("warn", "python -m aqe_core always is this program.")
    assert found["message"] == f"`aqe` runs another program: {other} ({whose})."


def test_no_program_on_path(aqe_json, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert checks(aqe_json("doctor"))["PATH"]["message"] == "no program aqe is on PATH."


def test_programs_on_path_are_executable_files_in_order(tmp_path):
    first, second = program(tmp_path / "b", ""), program(tmp_path / "a", "")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "aqe").write_text("not executable")
    (tmp_path / "d" / "aqe").mkdir(parents=True)
    folders = [tmp_path / "c", first.parent, Path(), tmp_path / "d", second.parent, first.parent]
    if os.access(tmp_path / "c" / "aqe", os.X_OK):
        pytest.skip("every file is executable here")
    assert programs_on_path("aqe", os.pathsep.join(map(str, folders))) == [first, second]


def test_a_broken_config_fails_and_the_rest_is_still_examined(aqe_json, tmp_path):
    (tmp_path / "aqe.toml").write_text("[pattern_store]\nbackand = 1\n")
    found = checks(aqe_json("doctor", code=1))
    assert found["config"]["status"] == "fail"
    assert "did you mean" in found["config"]["fix"]
    assert found["pattern store numpy"]["status"] == "ok"
    assert "workspace" not in found


def test_config_files_are_named(aqe_json, tmp_path):
    (tmp_path / "aqe.toml").write_text('[learner]\nbackend = "numpy"\n')
    assert checks(aqe_json("doctor"))["config"]["message"] == "aqe.toml (1 keys)"


def test_a_misspelt_variable_is_a_warning(aqe_json, monkeypatch):
    monkeypatch.setenv("AQE_LERNER", "native")
    found = checks(aqe_json("doctor"))["environment"]
    assert found["status"] == "warn"
    assert "did you mean AQE_LEARNER?" in found["message"]


def test_a_broken_plugin_fails(aqe_json, plugin):
    plugin("raises", "1 / 0")
    found = checks(aqe_json("doctor", code=1))
    assert found["plugin raises"]["status"] == "fail"
    assert "raises" not in found["plugins"]["message"]


def test_a_selected_backend_that_is_missing_fails(aqe_json, tmp_path):
    (tmp_path / "aqe.toml").write_text('[pattern_store]\nnamespaces.tenant = "gpu"\n')
    found = checks(aqe_json("doctor", code=1))
    assert found["pattern store gpu"]["fix"] == 'pip install "aqe-core[gpu]"'
    assert found["pattern store numpy"]["status"] == "ok"


def test_a_fallback_is_told(aqe, tmp_path, monkeypatch, caplog):
    (tmp_path / "aqe.toml").write_text('[learner]\nbackend = "gpu"\nfallback = true\n')
    assert "; numpy stood in: gpu could not be bound" in aqe("doctor").stdout


@pytest.mark.parametrize(
    ("name", "method", "answer"),
    [
        ("pattern store numpy", "search", "a stored vector is not its own nearest"),
        ("learner numpy", "act", "100 rewards taught it nothing"),
        ("analyzer numpy", "describe", "of 1, 2 and 6"),
        ("embedder lexical", "embed_queries", "the nearer of two texts is not the nearer vector"),
        ("storage sqlite", "find_patterns", "what was written is not there"),
    ],
)
def test_an_engine_that_answers_wrongly_fails(aqe_json, monkeypatch, name, method, answer):
    make = binding._make

    def lying(found, *arguments):
        engine = make(found, *arguments)
        kind = found.kind.replace("_", " ")
        return Liar(engine, method) if name.startswith(kind) else engine

    monkeypatch.setattr(binding, "_make", lying)
    found = checks(aqe_json("doctor", code=1))[name]
    assert found["status"] == "fail"
    assert found["message"].startswith(f"wrong answer: {answer}")


class Liar:
    """An engine of which one method turns its answers round."""

    def __init__(self, engine, method):
        self._engine = engine
        self._method = method

    def __getattr__(self, name):
        real = getattr(self._engine, name)
        if name != self._method:
            return real

        def lie(*args, **kwargs):
            if name == "act":
                return args[1][0]
            if name == "find_patterns":
                return [None]
            if name == "describe":
                return real([1.0])
            if name == "search":
                hits = real(*args, **kwargs)
                return type(hits)(hits.keys[::-1], hits.scores)
            return -real(*args, **kwargs)

        return lie


def test_an_engine_that_raises_anything_fails(aqe_json, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError("by design")

    monkeypatch.setattr(binding, "_make", fail)
    found = checks(aqe_json("doctor", code=1))["learner numpy"]
    assert (found["status"], found["message"]) == ("fail", "ZeroDivisionError: by design")
