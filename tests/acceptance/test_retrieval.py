"""The default embedder, judged from outside on tests of projects that its table was not made from."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SHARED = HERE.parents[2] / "shared"
JUDGE = SHARED / "bench" / "retrieval.py"


@pytest.mark.skipif(not JUDGE.exists(), reason="the judge and its data do not lie beside the repository")
def test_the_default_embedder_finds_what_is_asked_for():
    done = subprocess.run(
        [sys.executable, JUDGE, "--embedder", "adapters:DefaultEmbedder", "--json"],
        cwd=HERE,
        env={**os.environ, "PYTHONPATH": str(HERE)},
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)["adapters:DefaultEmbedder"]
    assert found["dim"] == 384
    assert found["A"]["mrr10"] > 49
    assert found["A"]["recall10"] > 67
    assert found["B"]["mrr10"] > 67.5
    assert found["B"]["ndcg10"] > 47.5


@pytest.mark.skipif(not JUDGE.exists(), reason="the judge and its data do not lie beside the repository")
def test_a_workspace_finds_what_is_asked_for(tmp_path):
    rankings = tmp_path / "rankings.jsonl"
    data = SHARED / "data" / "test-patterns"
    code = f"import adapters; adapters.write_rankings({str(data)!r}, {str(rankings)!r})"
    environment = {**os.environ, "PYTHONPATH": str(HERE)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    done = subprocess.run(
        [sys.executable, JUDGE, "--ranking", rankings, "--json"], capture_output=True, text=True, check=True
    )
    (found,) = json.loads(done.stdout).values()
    assert found["A"]["mrr10"] > 60
    assert found["A"]["recall10"] > 74
    assert found["B"]["mrr10"] > 71
    assert found["B"]["ndcg10"] > 51.5


@pytest.mark.skipif(not JUDGE.exists(), reason="the judge and its data do not lie beside the repository")
def test_the_table_is_not_made_from_what_it_is_judged_on():
    sources = json.loads((SHARED / "data" / "test-patterns" / "sources.json").read_text("utf-8"))
    judged = {each["project"].lower().replace("_", "-") for each in sources}
    package = Path(importlib.util.find_spec("aqe_backend_numpy").submodule_search_locations[0])
    rows = (package / "data" / "PROVENANCE.md").read_text("utf-8").splitlines()
    used = {row.split("|")[1].strip().lower().replace("_", "-") for row in rows if row.startswith("| ")} - {
        "project",
        "---",
    }
    assert len(used) > 100
    assert not used & judged
