"""aqe bench: what it measures, and that it leaves nothing behind."""

from __future__ import annotations

import pytest

QUICK = ["bench", "storage", "--rounds", "1", "--seconds", "0.01", "--rows", "20"]
MEASURES = {
    "durable_writes_1", "durable_writes_8", "durable_writes_32", "durable_writes_128", "put_patterns_with_vectors",
    "find_pattern_by_id", "load_vectors", "append_points", "read_points", "open_to_first_answer", "backup",
}  # fmt: skip


def test_it_measures_beside_sqlite(aqe_json, tmp_path):
    found = aqe_json(*QUICK, "--dir", str(tmp_path))
    assert {each["name"] for each in found["measures"]} == MEASURES
    for each in found["measures"]:
        assert 0 < each["lowest"] <= each["value"] <= each["highest"]
        assert all(peer["value"] > 0 and peer["ratio"] > 0 for peer in each["peers"])
        assert (each["p50_ms"] is None) != each["name"].startswith("durable")
    assert 1 <= found["syncs_per_write"] <= 1.05
    assert list(tmp_path.iterdir()) == []


def test_the_table(aqe, tmp_path):
    table = aqe(*QUICK, "--dir", str(tmp_path)).stdout
    assert "durable writes 128" in table
    assert "SQLite, rollback journal" in table


@pytest.mark.parametrize("arguments", [["bench", "nothing"], ["bench", "storage", "--rounds", "0"], ["bench"]])
def test_wrong_use(aqe, arguments):
    assert "fix:" in aqe(*arguments, code=2).stderr


def test_a_storage_without_a_benchmark(aqe, monkeypatch):
    from aqe_storage_sqlite.storage import SqliteStorage

    monkeypatch.delattr(SqliteStorage, "benchmark")
    assert "offers no benchmark" in aqe("bench", "storage", code=1).stderr
