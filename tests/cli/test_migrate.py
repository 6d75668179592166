"""``aqe migrate`` on a small old project."""

from __future__ import annotations

import re
from contextlib import closing

import apsw
import pytest
from click import Context

import aqe_core
from aqe_core.cli.app import program
from aqe_core.errors import CapabilityError, NotFoundError
from aqe_core.legacy import legacy_of, take_over


@pytest.fixture
def old(tmp_path):
    folder = tmp_path / "old"
    (folder / ".agentic-qe").mkdir(parents=True)
    with closing(apsw.Connection(str(folder / ".agentic-qe" / "memory.db"))) as database:
        database.execute(
            "CREATE TABLE patterns (id TEXT PRIMARY KEY, pattern TEXT, confidence REAL, embedding BLOB);"
            "INSERT INTO patterns VALUES ('p', 'retry after a timeout', 0.5, x'0000803f');"
            "CREATE TABLE memory_entries (key TEXT, partition TEXT, value TEXT, created_at INT, expires_at INT);"
            "INSERT INTO memory_entries VALUES ('k', 'default', '1', 1767692322000, 1767692323000),"
            "('l', 'default', '2', 1767692322000, NULL);"
            "CREATE TABLE q_values (agent_id TEXT, state_key TEXT, action_key TEXT, q_value REAL, update_count INT);"
            "INSERT INTO q_values VALUES ('a', '1,0,0,0,0,0.5', 'x:0.1:none', 0.0, 1);"
        ).fetchall()
    (folder / "vectors.db").write_bytes(b"redb")
    return folder


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "new"
    folder.mkdir()
    return folder


def test_json_holds_what_the_help_promises(aqe_json, old, project):
    report = aqe_json("migrate", old, "--into", project, "--now", "1767692324000")
    text = program.get_command(Context(program), "migrate").help.partition("JSON keys:")[2].partition("\n\n")[0]
    for _ in range(3):
        text = re.sub(r"\([^()]*\)", "", text)
    assert set(report) == {key.strip(" .\n") for key in text.split(",")}
    assert set(report["files"]) == {".agentic-qe/memory.db", "vectors.db"}
    assert report["files"]["vectors.db"]["kind"] == "redb"
    assert report["files"][".agentic-qe/memory.db"]["tables"]["patterns"] == {
        "rows": 1, "converted": 1, "archived": 0, "skipped": 0, "reasons": {},
    }  # fmt: skip
    assert report["q_values"] == {"a": {"stored": 1, "lost": 1, "rebuilt": 0, "verified": None}}
    assert report["entries"] == {"default": {"rows": 2, "live": 1}}
    assert (report["dry_run"], report["project"]) == (False, str(project))
    assert aqe_json("migrate", old, "--into", project, "--now", "1767692324000") == report
    with aqe_core.open(project, namespace="agentic-qe") as ws:
        assert [match.pattern.id for match in ws.patterns.search("timeout", k=1)] == ["p"]
        assert legacy_of(ws.storage).search_patterns([2.0]) == [("p", 1.0)]  # not replaced by the search's vectors


def test_a_dry_run_keeps_nothing(aqe_json, old, project):
    dry = aqe_json("migrate", old, "--into", project, "--dry-run")
    assert list(project.iterdir()) == []
    assert dry == {**aqe_json("migrate", old, "--into", project), "dry_run": True}


def test_text(aqe, old, project):
    text = aqe("migrate", old, "--into", project, "--now", "1767692324000", "--dry-run").stdout
    assert re.search(r"\.agentic-qe/memory\.db +sqlite +4 +4 +0 +0", text)
    assert "vectors.db: a vector file" in text
    assert "1 stored, 1 of them lost" in text
    assert "entries: 2, 1 of them live" in text
    assert "dry run" in text


def test_damage_is_told_by_the_exit_code(aqe, old, project):
    path = old / ".agentic-qe" / "memory.db"
    data = path.read_bytes()
    path.write_bytes(data[:4096] + b"\x55" * 4096 + data[8192:])
    result = aqe("migrate", old, "--into", project, code=1)
    assert "damaged" in result.stdout
    assert "skipped" in result.stdout


@pytest.mark.parametrize("where", ["nowhere", "new"])
def test_what_holds_no_database_is_refused_and_nothing_made(aqe_json, tmp_path, project, where):
    error = aqe_json("migrate", tmp_path / where, "--into", project, code=1)
    assert error["error"]["code"] == "storage-not-found"
    assert list(project.iterdir()) == []


def test_open_legacy_looks_without_touching(old):
    before = {path: path.stat().st_mtime_ns for path in old.rglob("*")}
    with aqe_core.open_legacy(old) as view:
        assert view.count_patterns() == 1
        assert view.q_values("a")[0]["stored"]["1,0,0,0,0,0.5"]["x:0.1:none"]["lost"]
        assert view.entry("l")["value"] == 2
    assert {path: path.stat().st_mtime_ns for path in old.rglob("*")} == before
    with pytest.raises(NotFoundError), aqe_core.open_legacy(old / "none"):
        pass


def test_a_storage_that_cannot_says_so(old):
    with pytest.raises(CapabilityError):
        take_over(object(), old)
