"""The main job in one go."""

from __future__ import annotations

import pytest

from aqe_core.cli.quickstart import example_query
from aqe_core.contracts import Pattern


def test_everything_is_shown(aqe, project, results, monkeypatch):
    monkeypatch.chdir(project)
    text = aqe("quickstart").stdout
    headings = ["Search, e.g. for ", "Run first", "Results", "Slowest", "Flakiest", "Who answered", "Next"]
    places = [text.index(f"\n\n{heading}") for heading in headings]
    assert places == sorted(places)
    assert "patterns: 3 added; results: 6 in 3 runs added" in text
    assert "score: 0 .. 1, a weighted mean" in text
    assert "(lexical: near means shared words, not shared meaning)" in text
    assert "again: aqe search 'parser keeps the order keys'" in text
    assert "failed 2 of 3 runs, last in the last run" in text
    for kind in ("storage", "embedder", "text index", "pattern store", "ranker", "analyzer"):
        assert f"\n{kind} " in text
    assert "aqe rank -k 20 --names" in text


def test_a_second_run_says_that_nothing_changed(aqe, project, results):
    aqe("quickstart", project)
    assert "nothing changed; patterns: 3 unchanged" in aqe("quickstart", project).stdout


def test_commands_lead_back_to_the_project(aqe, project):
    text = aqe("quickstart", project, "--namespace", "unit").stdout
    assert f"again: aqe search -C {project} --namespace unit 'parser" in text
    assert f"aqe explain -C {project} pattern-store unit " in text
    aqe("explain", "-C", project, "pattern-store", "unit")


def test_without_results_it_says_how_to_make_some(aqe, aqe_json, project, monkeypatch):
    monkeypatch.chdir(project)
    text = aqe("quickstart").stdout
    assert "There are no test results yet." in text
    assert "\n  python -m pytest --junitxml=junit.xml\n  aqe ingest junit.xml\n" in text
    assert "never run" not in text
    document = aqe_json("quickstart")
    assert (document["rank"], document["analysis"]) == ([], None)
    assert document["next"][:2] == ["python -m pytest --junitxml=junit.xml", "aqe ingest junit.xml"]


def test_json_tells_it_all(aqe_json, project, results):
    document = aqe_json("quickstart", project)
    assert document["project"] == str(project)
    assert document["ingest"]["added"] == 3
    assert document["search"]["hits"][0]["name"] == "test_parser_keeps_the_order_of_keys"
    assert document["rank"][0]["failures"] == 2
    assert document["analysis"]["runs"] == 3
    assert {each["kind"] for each in document["backends"]} == {
        "storage", "embedder", "text_index", "pattern_store", "ranker", "analyzer",
    }  # fmt: skip
    assert set(document["backends"][0]) == {"kind", "backend", "distribution", "version", "reason", "source"}


def test_result_files_from_elsewhere(aqe, aqe_json, project, results, tmp_path):
    elsewhere = tmp_path / "ci.xml"
    results[0].rename(elsewhere)
    document = aqe_json("quickstart", project, "--results", elsewhere, "--results", results[1])
    assert document["ingest"]["runs_added"] == 3
    elsewhere.write_text("<testsuites>")
    assert str(elsewhere.name) in aqe("quickstart", project, "--results", elsewhere, code=1).stderr
    assert "does not exist" in aqe("quickstart", project, "--results", "absent.xml", code=2).stderr


def test_only_results(aqe, tmp_path, results, project):
    (project / "tests" / "test_a.py").unlink()
    text = aqe("quickstart", project).stdout
    assert "Search, e.g." not in text
    assert "Run first" in text


def test_an_empty_folder_is_a_problem(aqe, aqe_json, tmp_path):
    result = aqe("quickstart", code=1)
    assert "Found no test functions in test_*.py or *_test.py and no JUnit XML files." in result.stdout
    assert "aqe ingest PATH" in result.stdout
    document = aqe_json("quickstart", code=1)
    assert (document["search"], document["analysis"], document["rank"]) == (None, None, [])


def test_skipped_files_are_told_in_short(aqe, project):
    for i in range(9):
        (project / "tests" / f"test_broken{i}.py").write_text("\n" * i + "def test_x(:\n")
    text = aqe("quickstart", project).stdout
    assert text.count("  skipped ") == 5
    assert "... and 4 more" in text


def test_files_skipped_for_one_reason_are_told_once(aqe, project):
    for i in range(9):
        (project / "tests" / f"test_broken{i}.py").write_text("def test_x(:\n")
    text = aqe("quickstart", project).stdout
    assert text.count("  skipped ") == 1
    assert "  skipped 9 alike, e.g. tests/test_broken0.py:1: not Python" in text


def test_backends_by_option(aqe, aqe_json, project):
    chosen = aqe_json("quickstart", project, "--pattern-store", "numpy")["backends"]
    assert next(each for each in chosen if each["kind"] == "pattern_store")["source"] == "explicit argument"
    assert "pip install" in aqe("quickstart", project, "--embedder", "gpu", code=1).stderr


@pytest.mark.parametrize(
    ("names", "query"),
    [
        ([], ""),
        (["test_1", "test"], ""),
        (["test_login"], "login"),
        (["test_login", "test_a_b_parserError"], "parser error"),
        (["test_HTTPServer_restarts", "test_xy_login"], "http server restarts"),
        (["test_aaa_bbb", "test_aaa_bbb_ccc", "test_aaa_bbb_ccc_ddd"], "aaa bbb ccc"),
    ],
)
def test_the_example_is_made_of_the_words_of_a_typical_name(names, query):
    assert example_query(Pattern(id=name, name=name, text="") for name in names) == query
