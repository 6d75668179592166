"""aqe bench: what it measures, and that it leaves nothing behind."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from aqe_core.bench.storage import made_tests, notes

QUICK = ["bench", "storage", "--rounds", "1", "--seconds", "0.01", "--rows", "20"]
MEASURES = {
    "durable_writes_1", "durable_writes_8", "durable_writes_32", "durable_writes_128",
    "durable_results_1", "durable_results_8", "durable_results_32", "durable_results_128", "put_patterns_with_vectors",
    "put_results", "save_q_values", "append_points", "find_pattern_by_id", "load_vectors", "read_points",
    "open_to_first_answer", "backup", "fairness_of_4_processes", "find_pattern_beside_writer", "backup_beside_writer",
    "recovery_of_log", "search_words",
}  # fmt: skip


def test_it_measures_beside_sqlite(aqe_json, tmp_path):
    found = aqe_json(*QUICK, "--dir", str(tmp_path))
    assert {each["name"] for each in found["measures"]} == MEASURES
    for each in found["measures"]:
        assert 0 < each["lowest"] <= each["value"] <= each["highest"]
        assert all(peer["value"] > 0 and peer["ratio"] > 0 for peer in each["peers"])
        assert (each["p50_ms"] is None) != each["name"].startswith(("durable", "search", "fairness"))
    assert 1 <= found["facts"]["syncs_per_write"] <= 1.05
    assert 0 < found["facts"]["longest_log_bytes"] < 80e6
    assert found["facts"]["longest_write_beside_backup_ms"] > 0
    assert list(tmp_path.iterdir()) == []


def test_words_are_searched_for_as_users_do_and_by_the_storage():
    patterns, queries = made_tests(300)
    assert (patterns, queries) == made_tests(300)
    counts = Counter(word for pattern in patterns for word in pattern.text.split())
    assert counts.most_common(1)[0][1] > 20 * counts.most_common()[len(counts) // 2][1]  # as words are
    assert all(len(query.split()) == 3 for query in queries)


def test_the_table(aqe, tmp_path):
    table = aqe(*QUICK, "--dir", str(tmp_path)).stdout
    assert "durable writes 128" in table
    assert "SQLite, rollback journal" in table


def test_notes_of_another_storage_have_what_it_measured():
    told = {"syncs_per_write": 1.0, "sqlite_version": "3.54.1", "node": "node was not found", "rounds": 1}
    own = {"longest_log_bytes": 5_000_000, "longest_write_beside_backup_ms": 12.3}
    assert len(notes(told)) == 2
    assert "longest log 5.0 MB" in notes({**told, **own})[1]


LEARNING = {
    "update_text_keys", "update_int_keys", "update_batch_int_keys", "update_dicts_durable",
    "replay_add", "replay_add_batch",
    "replay_sample_32", "replay_sample_256", "replay_prioritized_sample_32", "replay_prioritized_sample_256",
    "ppo_cartpole_steps", "ppo_cartpole_solved",
}  # fmt: skip


def test_learning_beside_plain_python(aqe_json, monkeypatch):
    from aqe_core.bench import learning

    monkeypatch.setattr(learning, "SOLVED", 15.0)  # at once: how long learning takes is no matter here
    found = aqe_json("bench", "learning", "--rounds", "1", "--seconds", "0.01", "--rows", "50")
    measures = {each["name"]: each for each in found["measures"]}
    assert set(measures) - {"linucb_steps"} == LEARNING
    assert all(0 < each["lowest"] <= each["value"] <= each["highest"] for each in measures.values())
    assert {peer["name"] for peer in measures["update_int_keys"]["peers"]} == {"dict of dicts", "NumPy, one at a time"}
    assert "deque" in {peer["name"] for peer in measures["replay_sample_32"]["peers"]}
    assert found["backend"] == "numpy"
    for name in found["facts"]["absent"]:
        assert all(peer["name"] != name for each in measures.values() for peer in each["peers"])


def test_quantization_says_recall_bytes_and_speed(aqe_json):
    found = aqe_json("bench", "quantization", "--rounds", "1", "--seconds", "0.01", "--rows", "600")
    measures = {each["name"]: each for each in found["measures"]}
    schemes = ("binary", "float16", "int8", "product")
    what = ("bytes", "recall", "candidates", "train", "encode", "score")
    assert set(measures) == {f"{scheme}_{name}" for scheme in schemes for name in what}
    assert [measures[f"{scheme}_bytes"]["value"] for scheme in schemes] == [56, 768, 388, 48]
    assert measures["float16_recall"]["value"] == 1.0
    assert measures["int8_recall"]["value"] > 0.97
    for scheme in schemes:
        assert measures[f"{scheme}_recall"]["value"] <= measures[f"{scheme}_candidates"]["value"] <= 1.0
        assert [peer["name"] for peer in measures[f"{scheme}_score"]["peers"]] == ["float32"]
    assert found["facts"] == {"rows": 600, "data": "made vectors in clusters", "dim": 384, "queries": 70}


def test_quantization_of_the_workspaces_own_vectors(aqe, aqe_json, tmp_path, monkeypatch):
    import aqe_core
    from aqe_core.bench import quantization

    monkeypatch.setattr(quantization, "ENOUGH", 30)
    with aqe_core.open(tmp_path) as ws:
        ws.patterns.add([f"words {i} of {i * i}" for i in range(20)])
    arguments = ("bench", "quantization", "--rounds", "1", "--seconds", "0.01")
    assert aqe_json(*arguments, "--rows", "50")["facts"]["data"] == "made vectors in clusters"
    with aqe_core.open(tmp_path) as ws:
        ws.patterns.add([f"more words {i} of {i * i}" for i in range(40)])
    assert aqe_json(*arguments)["facts"]["data"] == "vectors of this workspace"
    assert "vectors of this workspace; 6 queries, cosine" in aqe(*arguments).stdout


def test_a_backend_without_quantizers_is_refused(tmp_path):
    from aqe_core.bench import quantization
    from aqe_core.contracts import EngineSpec, StoreCapabilities
    from aqe_core.errors import CapabilityError
    from aqe_core.plugins import FoundEngine

    spec = EngineSpec(name="plain", factory="a:b", capabilities=StoreCapabilities())
    with pytest.raises(CapabilityError, match="the backend 'plain' has no quantizers"):
        quantization.measure(FoundEngine("pattern_store", spec, None), folder=tmp_path, rounds=1, seconds=0.01, rows=50)


def test_the_bandit_beside_learns_what_pays():
    from aqe_core.bench.learning_peers import LinUcb

    bandit = LinUcb(2, 3)
    for step in range(200):
        context = [[1.0, 0.0], [0.0, 1.0]][step % 2]
        action = bandit.act(context)
        bandit.update(np.array(context), action, float(action == (2 if step % 2 else 0)))
    assert [bandit.act([1.0, 0.0]), bandit.act([0.0, 1.0])] == [0, 2]


def test_the_table_of_learning(aqe, monkeypatch, tmp_path):
    from aqe_core.bench import learning

    monkeypatch.setattr(learning, "SOLVED", 15.0)
    (tmp_path / "tianshou").mkdir()  # a library of another version than the one that is known
    (tmp_path / "tianshou" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    table = aqe("bench", "learning", "--rounds", "1", "--seconds", "0.01", "--backend", "numpy").stdout
    assert "dict of dicts" in table
    assert "not installed: " in table
    assert "tianshou was left out: ModuleNotFoundError" in table
    assert "fix:" in aqe("bench", "learning", "--backend", "absent", code=1).stderr


@pytest.mark.parametrize("arguments", [["bench", "nothing"], ["bench", "storage", "--rounds", "0"], ["bench"]])
def test_wrong_use(aqe, arguments):
    assert "fix:" in aqe(*arguments, code=2).stderr


def test_a_storage_without_a_benchmark(aqe, monkeypatch):
    from aqe_storage_sqlite.storage import SqliteStorage

    monkeypatch.delattr(SqliteStorage, "benchmark")
    assert "offers no benchmark" in aqe("bench", "storage", code=1).stderr
