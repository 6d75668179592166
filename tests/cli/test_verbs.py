"""init, ingest, search, rank, analyze, explain, each on a small project."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from pathlib import Path

import pytest
from click import Context

from aqe_core.cli.app import program
from aqe_core.cli.draw import seconds
from aqe_core.cli.init import commented_config
from aqe_core.cli.invocation import find_project
from aqe_core.config import KEYS, load
from aqe_core.errors import ReadOnlyError

PATTERN_KEYS = {
    "score", "id", "name", "text", "path", "class_name", "docstring", "markers", "line", "metadata", "origin", "key",
    "lexical", "vector", "copies", "snippet", "matches",
}  # fmt: skip


def documented_keys(verb):
    """Return the top-level keys that a verb's help promises."""
    text = program.get_command(Context(program), verb).help.partition("JSON keys:")[2].partition("\n\n")[0]
    for _ in range(3):  # parentheses inside parentheses
        text = re.sub(r"\([^()]*\)", "", text)
    return {key.strip(" .\n") for key in text.split(",")}


@pytest.mark.parametrize(
    ("verb", "args"),
    [
        ("quickstart", []),
        ("init", ["--config"]),
        ("ingest", []),
        ("search", ["retry", "--explain"]),
        ("rank", []),
        ("analyze", []),
        ("backends", []),
        ("explain", ["learner"]),
        ("doctor", []),
        ("verify", []),
        ("backup", []),
        ("compact", []),
        ("repair", []),
        ("export", ["everything"]),
        ("bench", ["storage", "--rounds", "1", "--seconds", "0.01", "--rows", "20"]),
        ("completion", ["bash"]),
        ("new-plugin", ["keyed"]),
    ],
)
def test_json_has_exactly_the_documented_keys(aqe_json, ingested, monkeypatch, verb, args):
    monkeypatch.chdir(ingested)
    assert set(aqe_json(verb, *args)) == documented_keys(verb)


# -- the project ----------------------------------------------------------------------------------------------------


def test_the_project_is_the_nearest_folder_with_a_workspace_or_config(tmp_path, monkeypatch):
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    assert find_project() == inner
    (tmp_path / "aqe.toml").touch()
    assert find_project() == tmp_path
    (tmp_path / "a" / ".aqe").mkdir()
    assert find_project() == tmp_path / "a"
    assert find_project(Path("..")) == tmp_path / "a"
    assert find_project(Path("../..")) == tmp_path


def test_the_search_for_the_project_ends_at_the_top_of_a_repository(tmp_path, monkeypatch):
    (tmp_path / ".aqe").mkdir()
    inner = tmp_path / "repository" / "package"
    inner.mkdir(parents=True)
    (tmp_path / "repository" / ".git").mkdir()
    monkeypatch.chdir(inner)
    assert find_project() == inner


# -- init -----------------------------------------------------------------------------------------------------------


def test_init_makes_a_workspace_once(aqe, aqe_json, tmp_path):
    assert aqe("init").stdout.startswith(f"made: {tmp_path / '.aqe' / 'aqe.db'}\n")
    assert (tmp_path / ".aqe" / "aqe.db").is_file()
    assert aqe("init").stdout.startswith("left as it is: ")
    assert aqe_json("init")["created"] is False
    assert not (tmp_path / "aqe.toml").exists()


def test_init_elsewhere_with_a_config(aqe, aqe_json, project):
    assert aqe_json("init", project, "--config") == {
        "project": str(project),
        "workspace": str(project / ".aqe" / "aqe.db"),
        "created": True,
        "config": str(project / "aqe.toml"),
        "config_created": True,
    }
    (project / "aqe.toml").write_text("# mine\n")
    result = aqe("init", project, "--config")
    assert f"left as it is: {project / 'aqe.toml'}" in result.stdout
    assert f"next: aqe ingest -C {project}" in result.stdout
    assert (project / "aqe.toml").read_text() == "# mine\n"


def test_the_commented_config_says_every_key_and_is_valid_when_uncommented(tmp_path):
    text = commented_config()
    (tmp_path / "aqe.toml").write_text(text)
    assert load(tmp_path, {}).layers[0].leaves == {}
    (tmp_path / "aqe.toml").write_text(re.sub("^# (?!#)", "", text.partition("\n")[2], flags=re.MULTILINE))
    assert set(load(tmp_path, {}).layers[0].leaves) == {key.replace("*", "NAME") for key in KEYS}


def test_init_where_nothing_can_be_written(aqe, project, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "write_text", refuse)
    result = aqe("init", project, "--config", code=1)
    assert result.stderr.startswith(f"aqe: error: {project / 'aqe.toml'} cannot be written: Permission denied.")


# -- ingest ---------------------------------------------------------------------------------------------------------


def test_ingest_says_what_it_did_and_that_nothing_changed(aqe, project, results):
    first = aqe("ingest", "-C", project).stdout
    assert first.startswith("patterns: 3 added; results: 6 in 3 runs added (4 files")
    second = aqe("ingest", "-C", project).stdout
    assert second.startswith("nothing changed; patterns: 3 unchanged; results: none added, 3 runs known already")


def test_ingest_of_named_files_relative_to_the_current_folder(aqe_json, project, results, monkeypatch):
    monkeypatch.chdir(project / "tests")
    report = aqe_json("ingest", "-C", "..", "test_a.py", "../run1.xml")
    assert (report["added"], report["runs_added"], report["results_added"], report["files"]) == (3, 1, 2, 2)
    assert report["project"] == str(project)


def test_ingest_removes_what_has_vanished(aqe_json, ingested):
    (ingested / "tests" / "test_a.py").write_text("def test_one():\n    pass\n")
    report = aqe_json("ingest", "-C", ingested)
    assert (report["added"], report["removed"]) == (1, 3)


def test_ingest_lists_what_it_skipped_in_a_folder(aqe, aqe_json, project):
    for i in range(25):
        (project / "tests" / f"test_broken{i:02}.py").write_text("\n" * i + "def test_x(:\n")
    result = aqe("ingest", "-C", project)
    lines = result.stdout.splitlines()
    assert "skipped: 25" in lines[0]
    assert lines[1].startswith("  skipped tests/test_broken00.py")
    assert lines[-1] == "  ... and 5 more (--json lists all)"
    assert len(lines) == 22
    assert len(aqe_json("ingest", "-C", project)["skipped"]) == 25


def test_ingest_refuses_a_named_file_that_is_not_what_it_should_be(aqe, aqe_json, project):
    file = project / "page.xml"
    file.write_text("<html/>")
    assert "root element is 'html'" in aqe("ingest", "-C", project, file, code=1).stderr
    assert aqe_json("ingest", "-C", project, "absent.xml", code=1)["error"]["code"] == "ingest-unknown-format"


# -- search ---------------------------------------------------------------------------------------------------------


def test_search_finds_the_nearest_first(aqe, aqe_json, ingested):
    lines = aqe("search", "retry timeout", "-C", ingested, "-k", "2").stdout.splitlines()
    assert re.fullmatch(r" 1\.000  tests/test_a\.py::test_retry_is_capped_after_a_timeout  line 4", lines[0])
    assert lines[1].strip() == "Retry is capped."
    found = aqe_json("search", "retry timeout", "-C", ingested, "-k", "2")
    assert [set(hit) for hit in found["hits"]] == [PATTERN_KEYS] * 2
    assert found["hits"][0]["name"] == "test_retry_is_capped_after_a_timeout"
    assert found["hits"][0]["score"] >= found["hits"][1]["score"]
    assert found["explain"] is None


def test_search_reads_standard_input(aqe_json, ingested):
    found = aqe_json("search", "-", "-C", ingested, stdin=b"order of keys \xff\n")
    assert found["hits"][0]["class_name"] == "TestParser"
    assert found["query"] == "order of keys \ufffd"


@pytest.mark.parametrize(
    ("conditions", "names"),
    [
        (["marker=slow"], {"test_login_rejects_a_wrong_password"}),
        (["class_name=TestParser,Nobody"], {"test_parser_keeps_the_order_of_keys"}),
        (["class_name=TestParser", "marker=slow"], set()),
    ],
)
def test_search_where(aqe, aqe_json, ingested, conditions, names):
    options = [part for condition in conditions for part in ("--where", condition)]
    found = aqe_json("search", "test", "-C", ingested, *options)
    assert {hit["name"] for hit in found["hits"]} == names
    if not names:
        result = aqe("search", "test", "-C", ingested, *options)
        assert result.stdout == ""
        assert result.stderr.startswith("nothing fits")


def test_search_where_a_number_fits_as_text_and_as_number(aqe, aqe_json, tmp_path):
    lines = [{"name": "a", "text": "retry", "level": 3}, {"name": "b", "text": "retry", "level": "3"}]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    aqe("ingest", "p.jsonl")
    assert {hit["name"] for hit in aqe_json("search", "retry", "--where", "level=3")["hits"]} == {"a", "b"}
    assert aqe_json("search", "retry", "--where", "level=4,true")["hits"] == []


@pytest.mark.parametrize("conditions", [["marker"], ["=slow"], ["{broken"]])
def test_search_refuses_an_unclear_where(aqe, ingested, conditions):
    options = [part for condition in conditions for part in ("--where", condition)]
    assert "--where" in aqe("search", "test", "-C", ingested, *options, code=2).stderr


def test_search_explains_itself(aqe, aqe_json, ingested):
    facts = aqe_json("search", "retry", "-C", ingested, "--explain")["explain"]
    assert set(facts) == {
        "mode", "weights", "text_index", "words", "embedder", "fingerprint", "pattern_store", "patterns", "score",
    }  # fmt: skip
    assert set(facts["embedder"]) == {"backend", "distribution", "version", "reason", "source"}
    assert facts["patterns"] == 3
    text = aqe("search", "retry", "-C", ingested, "--explain", "--pattern-store", "numpy").stdout
    assert "lexical: near means shared words, not shared meaning" in text
    assert "STATIC: explicit argument" in text
    assert re.search(r"^        lexical \d+\.\d{3}; vector -?\d\.\d{3}; name: retry", text, re.MULTILINE)
    assert "weights:        lexical 1, vector 0.5\n" in text


@pytest.mark.parametrize(
    ("mode", "absent"), [("lexical", {"embedder", "pattern_store", "weights"}), ("vector", {"weights"})]
)
def test_search_explains_each_mode(aqe_json, ingested, mode, absent):
    found = aqe_json("search", "retry cap", "-C", ingested, "--mode", mode, "--explain")
    assert found["explain"]["mode"] == found["mode"] == mode
    assert absent.isdisjoint(found["explain"])
    best = found["hits"][0]
    assert best["name"] == "test_retry_is_capped_after_a_timeout"
    assert best["score"] == best[mode]
    assert best[{"lexical": "vector", "vector": "lexical"}[mode]] is None
    assert best["matches"]["name"] == ["retry", "cap"]


def test_search_shows_the_line_that_tells_most(aqe, aqe_json, tmp_path):
    lines = [
        {
            "name": "test_a",
            "text": "def test_a():\n    x = 1\n    assert backoff(retries=3) == CAPPED_DELAY\n    retry()",
        },
        {"name": "test_b", "text": "nothing here", "docstring": "About retry.\nMore."},
    ]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    aqe("ingest", "p.jsonl")
    found = aqe_json("search", "is the retry capped")["hits"]
    snippet = found[0]["snippet"]
    assert snippet["text"] == "assert backoff(retries=3) == CAPPED_DELAY"
    assert [snippet["text"][start:end] for start, end in snippet["highlights"]] == ["retries", "CAPPED_DELAY"]
    assert found[0]["matches"] is None
    text = aqe("search", "is the retry capped").stdout
    assert "        assert backoff(retries=3) == CAPPED_DELAY\n" in text
    assert "        About retry.\n" in text


def test_search_leaves_out_near_copies(aqe, aqe_json, tmp_path):
    copied = {"name": "test_capped", "text": "assert retry(times=3) is capped after timeout"}
    lines = [{"id": f"{i}", **copied} for i in range(3)]
    lines.append({"id": "other", "name": "test_other", "text": "retry of something else altogether"})
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    aqe("ingest", "p.jsonl")
    found = aqe_json("search", "retry capped timeout", "--dedupe")["hits"]
    assert [(hit["name"], hit["copies"]) for hit in found] == [("test_capped", ["p:1", "p:2"]), ("test_other", [])]
    assert "        near copies: p:1, p:2\n" in aqe("search", "retry capped timeout", "--dedupe").stdout


def test_search_in_an_empty_workspace_says_what_to_do(aqe):
    aqe("init")
    assert aqe("search", "retry").stderr == "the workspace holds no patterns: run `aqe ingest`.\n"


def test_search_shows_name_and_place_where_the_id_does_not(aqe, tmp_path):
    pattern = {"id": "p1", "name": "test_retry", "text": "retry", "path": "a/test_b.py"}
    (tmp_path / "p.jsonl").write_text(json.dumps(pattern) + "\n")
    aqe("ingest", "p.jsonl")
    assert "a/test_b.py::test_retry" in aqe("search", "retry").stdout


def test_namespaces_do_not_see_each_other(aqe, aqe_json, ingested):
    assert aqe_json("search", "retry", "-C", ingested, "--namespace", "other")["hits"] == []


@pytest.mark.parametrize("args", [["search", "retry"], ["rank"], ["analyze"]])
def test_reading_where_nothing_may_be_written(aqe, ingested, monkeypatch, args):
    from aqe_core import workspace

    real = workspace.open

    def refuse(*paths, read_only=False, **options):
        if not read_only:
            raise ReadOnlyError("the folder cannot be written.")
        return real(*paths, read_only=True, **options)

    monkeypatch.setattr(workspace, "open", refuse)
    assert aqe(*args, "-C", ingested).stdout


# -- rank and analyze -----------------------------------------------------------------------------------------------

LOGIN = "tests.test_a::test_login_rejects_a_wrong_password"
PARSER = "tests.test_a.TestParser::test_parser_keeps_the_order_of_keys"
LOGIN_NODE = "tests/test_a.py::test_login_rejects_a_wrong_password"
PARSER_NODE = "tests/test_a.py::TestParser::test_parser_keeps_the_order_of_keys"
RETRY = "tests/test_a.py::test_retry_is_capped_after_a_timeout"


def test_rank(aqe, aqe_json, ingested):
    lines = aqe("rank", "-C", ingested).stdout.splitlines()
    assert lines[0].split() == ["#", "score", "test", "mean", "time", "why"]
    assert LOGIN in lines[1]
    assert "failed 2 of 3 runs, last in the last run" in lines[1]
    assert len(lines) == 4
    document = aqe_json("rank", "-C", ingested, "-k", "2")
    assert [each["test"] for each in document["tests"]] == [LOGIN, RETRY]
    keys = {"test", "node", "score", "reason", "runs", "failures", "mean_duration_s", "parts"}
    assert set(document["tests"][0]) == keys


def test_rank_within_a_budget(aqe, aqe_json, ingested):
    everything = aqe_json("rank", "-C", ingested)["tests"]
    known = [each for each in everything if each["mean_duration_s"]]
    budget_s = min(each["mean_duration_s"] for each in known)
    cut = aqe_json("rank", "-C", ingested, "--budget", f"{budget_s * 1000:.6f}ms")["tests"]
    assert 0 < len(cut) < len(everything)
    assert aqe_json("rank", "-C", ingested, "--budget", "1.5h")["tests"] == everything
    nothing = aqe("rank", "-C", ingested, "--budget", "0.001ms")
    assert (nothing.stdout, nothing.stderr) == ("", "no known test fits into the budget.\n")
    for wrong in ("0s", "soon", "-3", "5 days"):
        assert "is not a length of time above 0" in aqe("rank", "-C", ingested, f"--budget={wrong}", code=2).stderr


def test_rank_by_changed_files_and_say_why(aqe, ingested):
    first = aqe("rank", "-C", ingested, "--changed", "src/parser.py", "--explain").stdout.splitlines()
    row = next(line for line in first if PARSER in line)
    assert "it is about parser.py, which changed" in row or "its name is like parser.py, which changed" in row
    assert "changed files +" in row
    listed = aqe("rank", "-C", ingested, "--changed", "-", "--explain", stdin="\nsrc/parser.py\n").stdout
    assert listed.splitlines() == first
    assert "changed files" not in aqe("rank", "-C", ingested).stdout


def test_rank_evaluated_on_its_history(aqe, aqe_json, tmp_path):
    for i in range(8):
        cases = "".join(
            f'<testcase classname="m" name="t{n}" time="2">{"<failure/>" if n == 6 else ""}</testcase>'
            for n in range(7)
        )
        stamp = f'timestamp="2026-01-0{i + 1}T00:00:00"'
        (tmp_path / f"run{i}.xml").write_text(f'<testsuite name="s" tests="7" {stamp}>{cases}</testsuite>')
    aqe("init")
    assert aqe("rank", "--evaluate").stderr.endswith("none of them with 6 tests or more: nothing to evaluate.\n")
    aqe("ingest", *(str(path) for path in tmp_path.glob("run*.xml")))
    lines = aqe("rank", "--evaluate").stdout.splitlines()
    assert lines[0] == "8 runs, 8 with a failure, 8 of them scored; NAPFD with 50% of each run's time"
    assert [line.split("  ")[0] for line in lines[2:]] == ["ranking", "random", "as reported", "last failed"]
    document = aqe_json("rank", "--evaluate")
    assert set(document) == {"namespace", "ranker", "evaluation"}
    found = {each["order"]: each for each in document["evaluation"]["orders"]}
    assert found["as reported"]["first_failure_s"] == 14.0
    assert found["ranking"]["first_failure_s"] == pytest.approx((14.0 + 7 * 2.0) / 8)
    assert set(found["ranking"]) == {"order", "napfd", "apfd", "first_failure_s", "first_failure_share", "saved_s"}
    assert "--evaluate takes none" in aqe("rank", "--evaluate", "--names", code=2).stderr


def test_rank_prints_names_for_scripts(aqe, ingested):
    names = aqe("rank", "-C", ingested, "--names").stdout.splitlines()
    assert names[0] == LOGIN_NODE
    assert set(names) == {LOGIN_NODE, PARSER_NODE, RETRY}


def test_rank_among_given_tests(aqe, ingested, tmp_path):
    assert aqe("rank", "-C", ingested, "--names", "--tests", "-", stdin=f"\n{PARSER}\n").stdout == f"{PARSER_NODE}\n"
    (tmp_path / "list.txt").write_text(f"{RETRY}\n")
    assert aqe("rank", "-C", ingested, "--names", "--tests", "list.txt").stdout == f"{RETRY}\n"
    nothing = aqe("rank", "-C", ingested, "--tests", "-", stdin="nobody\n")
    assert (nothing.stdout, nothing.stderr) == ("", "no known test is among those given.\n")
    (tmp_path / "list.txt").write_bytes(b"\xff\x00\n" + PARSER.encode())
    assert aqe("rank", "-C", ingested, "--names", "--tests", "list.txt").stdout == f"{PARSER_NODE}\n"
    assert "No such file" in aqe("rank", "--tests", "absent.txt", code=2).stderr


def test_rank_names_as_json_is_wrong_use(aqe_json, ingested):
    assert aqe_json("rank", "-C", ingested, "--names", code=2)["error"]["code"] == "usage"


def test_rank_and_analyze_without_anything_say_what_to_do(aqe):
    aqe("init")
    assert aqe("rank").stderr == "no tests are known: run `aqe ingest`.\n"
    assert aqe("analyze").stderr == "no results are known: run `aqe ingest` on JUnit XML files.\n"


def test_analyze(aqe, aqe_json, ingested):
    text = aqe("analyze", "-C", ingested).stdout
    assert text.startswith("3 runs: 4 passed, 2 failed; mean 1.00 s")
    assert re.search(rf"1\.50 s +1\.50 s +75\.0% +3  {PARSER}", text)
    assert re.search(rf"2  100%  34% to 100% +2 +3  {LOGIN}", text)
    document = aqe_json("analyze", "-C", ingested, "-k", "1")
    assert [each["test"] for each in document["slowest"]] == [PARSER]
    assert document["duration"]["n"] == 6


def test_analyze_without_flaky_tests(aqe, project, results):
    aqe("ingest", "-C", project, results[0])
    assert "no test has changed its outcome twice." in aqe("analyze", "-C", project).stdout


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (float("nan"), "-"),
        (0.0, "0.00 ms"),
        (0.00094, "0.94 ms"),
        (0.099, "99 ms"),
        (0.0996, "0.10 s"),
        (99.4, "99.40 s"),
        (3661, "61 min 1 s"),
    ],
)
def test_durations(value, text):
    assert seconds(value) == text


# -- explain --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["pattern-store", "pattern_store"])
def test_explain_shows_the_ladder_and_what_decided(aqe, aqe_json, kind, tmp_path):
    (tmp_path / "aqe.toml").write_text('[pattern_store]\nbackend = "numpy"\noptions.block = 7\n')
    text = aqe("explain", kind).stdout
    assert text.startswith("The pattern store of namespace 'default' is numpy (aqe-core ")
    assert re.search(r"^>  aqe\.toml +numpy  STATIC +aqe\.toml:2$", text, re.MULTILINE)
    assert "options: block=7" in text
    document = aqe_json("explain", kind)
    decided = [rung["name"] for rung in document["rungs"] if rung["decided"]]
    assert (decided, document["status"], document["source"]) == (["aqe.toml"], "ready", "aqe.toml:2")


def test_explain_of_a_namespace_and_of_the_environment(aqe_json, tmp_path, monkeypatch):
    (tmp_path / "aqe.toml").write_text('[learner]\nnamespaces.tenant = "numpy"\n')
    assert aqe_json("explain", "learner", "tenant")["reason"] == "TARGETING_MATCH"
    assert aqe_json("explain", "learner")["reason"] == "DEFAULT"
    monkeypatch.setenv("AQE_LEARNER", "numpy")
    assert aqe_json("explain", "learner")["source"] == "AQE_LEARNER"


def test_explain_of_what_cannot_be_used_finds_a_problem(aqe, aqe_json, tmp_path):
    (tmp_path / "aqe.toml").write_text('[learner]\nbackend = "gpu"\nfallback = true\n')
    text = aqe("explain", "learner", code=1).stdout
    assert 'pip install "aqe-core[gpu]"' in text
    assert "learner.fallback is on: the default stands in." in text
    assert aqe_json("explain", "learner", code=1)["status"] == "plugin-missing-extra"


# -- interruption ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["reading", "fitting the embedder", "embedding"])
def test_an_ingest_interrupted_at_any_stage_can_be_repeated(aqe, aqe_json, project, results, monkeypatch, stage):
    @contextmanager
    def interrupting():
        def show(now, done, total):
            if now == stage:
                raise KeyboardInterrupt

        yield show

    with monkeypatch.context() as patch:
        patch.setattr("aqe_core.cli.ingest.progress", interrupting)
        aqe("ingest", "-C", project, code=130)
    report = aqe_json("ingest", "-C", project)
    assert report["added"] + report["unchanged"] == 3
    assert report["runs_added"] + report["runs_known"] == 3
    found = aqe_json("search", "order of keys", "-C", project)["hits"]
    assert (found[0]["class_name"], len(found)) == ("TestParser", 3)
