"""Databases that the ancestor itself has written, against the manifests made with them."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import math
import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from aqe_storage_sqlite.storage import SqliteStorage

import aqe_core

FIXTURES = Path(__file__).parents[4] / "shared/fixtures/v2.8.0"


@pytest.fixture(scope="module", params=["small", "medium"])
def taken(request, tmp_path_factory):
    """Return a view of a set that was taken over, the report and the manifest."""
    if not FIXTURES.exists():
        pytest.skip("the ancestor's databases are not there")
    if request.param == "medium" and os.environ.get("AQE_TEST_MEDIUM", "1") == "0":
        pytest.skip("AQE_TEST_MEDIUM is 0")
    folder = tmp_path_factory.mktemp(request.param) / "old"
    for path in sorted((FIXTURES / request.param).rglob("*")):
        target = folder / path.relative_to(FIXTURES / request.param)
        if path.suffix == ".gz":
            target = target.with_suffix("")
            target.parent.mkdir(parents=True, exist_ok=True)
            with gzip.open(path) as packed, target.open("wb") as file:
                shutil.copyfileobj(packed, file)
        elif path.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    manifest = json.loads((FIXTURES / f"{request.param}.manifest.json").read_text())
    with SqliteStorage(folder.parent / "aqe.db", durability="normal") as storage:
        report = storage.take_over(folder)
        for file in folder.rglob("*"):
            assert file.suffix not in {".db-wal", ".db-shm", ".db-journal"}
        yield storage.legacy(), report, manifest, folder


def test_the_files_are_unchanged_and_every_row_is_accounted_for(taken):
    _, report, manifest, folder = taken
    for database in manifest["databases"]:
        assert hashlib.sha256((folder / database["path"]).read_bytes()).hexdigest() == database["sha256"]
        file = report["files"].pop(database["path"])
        if "not_sqlite" in database:
            assert file["kind"] == "redb"
            continue
        assert file["problems"] == []
        assert {name: table["rows"] for name, table in file["tables"].items()} == {
            name: table["rows"] for name, table in database["tables"].items()
        }
        for table in file["tables"].values():
            assert table["converted"] + table["archived"] == table["rows"]
            assert table["skipped"] == 0
    assert report["files"] == {}


def test_what_was_taken_over_fits_its_checksums(taken):
    *_, folder = taken
    report = SqliteStorage.maintenance(folder.parent / "aqe.db").verify()
    assert report.ok, report.findings
    assert report.rows["experiences"]


def test_rebuilt_values_have_no_difference_to_the_saved_ones(taken):
    view, report, manifest, folder = taken
    engines = [state for database in manifest["databases"] for state in database.get("engine_states", ())]
    rebuilt = {agent for agent, counts in report["q_values"].items() if counts["rebuilt"]}
    assert {state["agent"] for state in engines} <= rebuilt
    assert len(rebuilt) == 4
    for state in engines:
        assert report["q_values"][state["agent"]]["verified"] is True
    for agent in rebuilt:
        values = next(v for v in view.q_values(agent) if v["rebuilt"])
        assert report["q_values"][agent]["lost"] > 0
        learner = aqe_core.open_learner("numpy")
        learner.import_state(view.learner_state(agent, file=values["file"]))
        assert len(learner) == sum(map(len, values["rebuilt"].values()))
        saved = view.entry(f"phase2/learning/{agent}/state", "learning", now_s=0)
        if saved and len(saved["value"]["experiences"]) == len(list(view.experiences(agent, origin="engine"))):
            assert saved["value"]["qTable"] == values["rebuilt"]
    assert str(folder) in values["file"]


def test_stored_values_are_those_of_the_manifest(taken):
    view, report, manifest, folder = taken
    lost = Counter()
    for database in manifest["databases"]:
        for agent, wanted in database.get("q_values", {}).get("per_agent", {}).items():
            (values,) = [v for v in view.q_values(agent) if v["file"] == str(folder / database["path"])]
            pairs = [pair for row in values["stored"].values() for pair in row.values()]
            assert len(pairs) == wanted["rows"]
            assert math.fsum(pair["value"] for pair in pairs) == wanted["fsum"]
            assert sum(pair["value"] == 0 for pair in pairs) == wanted["zeros"]
            lost[agent] += sum(pair["lost"] for pair in pairs)
    assert lost == {agent: counts["lost"] for agent, counts in report["q_values"].items()}


def test_experiences_and_entries_are_those_of_the_manifest(taken):
    view, _, manifest, folder = taken
    rewards = {}
    for row in view.experiences():
        if row["table"] == "learning_experiences":
            rewards.setdefault((row["file"], row["agent"]), []).append(row["reward"])
            assert row["at_s"] > 1.7e9
    live = Counter()
    for database in manifest["databases"]:
        for agent, (count, total) in (
            database.get("learning_experiences", {}).get("per_agent_rows_and_reward_fsum", {}).items()
        ):
            got = rewards.pop((str(folder / database["path"]), agent))
            assert (len(got), math.fsum(got)) == (count, total)
        for partition, (_, count) in (
            database.get("memory_entries", {}).get("partition_total_live_at_as_of", {}).items()
        ):
            live[partition] += count
    assert rewards == {}
    got = Counter(
        entry["partition"]
        for entry in view.entries(now_s=manifest["as_of_ms"] / 1000)
        if entry["table"] == "memory_entries"
    )
    assert got == live


def test_the_nearest_are_those_of_the_manifest(taken):
    view, _, manifest, _ = taken
    searched = 0
    for database in manifest["databases"]:
        for kind, search in (("patterns", view.search_patterns), ("captured_experiences", view.search_experiences)):
            for query in database.get(f"{kind}_cosine", {}).get("queries", ()):
                vector = np.frombuffer(base64.b64decode(query["vector_float32le_base64"]), "<f4")
                found = search(vector, 10)
                assert [id_ for id_, _ in found] == [id_ for id_, _ in query["top10"]]
                assert [score for _, score in found] == pytest.approx([score for _, score in query["top10"]], abs=1e-12)
                searched += 1
    assert searched >= 10
