"""The facade: what is put in is found, ranked and analyzed, now and after reopening."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

import aqe_core
from aqe_core import errors
from aqe_core.contracts import Pattern, TestResult
from aqe_core.events import capture
from aqe_core.memory import as_pattern

TEXTS = [
    "retry is capped after a timeout",
    "login rejects a wrong password",
    "upload resumes after the connection drops",
    "the cache evicts the oldest entry",
    "parser reports the line of a syntax error",
]


def names(matches):
    return [match.pattern.name for match in matches]


def write_tests(folder: Path, name: str, *functions: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text("\n\n".join(f"def {each}():\n    assert {each!r}\n" for each in functions), encoding="utf-8")
    return path


def junit(path: Path, *runs: tuple[str, str, float], stamp: str = "2026-01-01T00:00:00") -> Path:
    bodies = {
        "passed": "",
        "failed": '<failure message="no"/>',
        "error": '<error message="no"/>',
        "skipped": "<skipped/>",
    }
    cases = "".join(
        f'<testcase classname="tests.test_a" name="{name}" time="{time}">{bodies[outcome]}</testcase>'
        for name, outcome, time in runs
    )
    path.write_text(f'<testsuites><testsuite name="pytest" timestamp="{stamp}">{cases}</testsuite></testsuites>')
    return path


class TestPatterns:
    def test_what_is_added_is_found_at_once_and_after_reopening(self, tmp_path):
        with aqe_core.open(tmp_path) as ws:
            keys = ws.patterns.add(TEXTS)
            assert keys.dtype == np.uint64
            assert len(ws.patterns) == len(TEXTS)
            before = [(m.pattern.key, m.score) for m in ws.patterns.search("timeout retry", k=5)]
            assert before[0][0] == keys[0]
        with aqe_core.open(tmp_path) as ws:
            assert [(m.pattern.key, m.score) for m in ws.patterns.search("timeout retry", k=5)] == before

    def test_incremental_equals_rebuilt(self, tmp_path):
        """However the collection grew, search answers as if it had been embedded and indexed in one go."""
        with aqe_core.open(tmp_path) as ws:
            for text in TEXTS:
                ws.patterns.add(text)
            ws.patterns.remove(TEXTS[3])
            grown = [(m.pattern.key, m.score) for m in ws.patterns.search("connection drops", k=4)]
        with aqe_core.open(tmp_path) as ws:
            assert [(m.pattern.key, m.score) for m in ws.patterns.search("connection drops", k=4)] == grown

    def test_get_by_key_and_id(self, tmp_path):
        with aqe_core.open(tmp_path) as ws:
            (key,) = ws.patterns.add({"name": "test_x", "text": "assert x", "path": "tests/test_x.py", "team": "core"})
            pattern = ws.patterns.get(int(key))
            assert pattern.id == "tests/test_x.py::test_x"
            assert pattern.metadata == {"team": "core"}
            assert ws.patterns.get("tests/test_x.py::test_x") == pattern
            with pytest.raises(errors.NotFoundError, match="no pattern"):
                ws.patterns.get("nope")

    def test_a_known_id_is_replaced(self, tmp_path):
        with aqe_core.open(tmp_path) as ws:
            first = ws.patterns.add(
                [{"id": "a", "name": "a", "text": "alpha beta"}, {"id": "b", "name": "b", "text": "gamma"}]
            )
            again = ws.patterns.add({"id": "a", "name": "a", "text": "delta epsilon"})
            assert again[0] == first[0]
            assert len(ws.patterns) == 2
            assert names(ws.patterns.search("epsilon", k=1)) == ["a"]

    def test_removed_is_gone(self, tmp_path):
        with aqe_core.open(tmp_path) as ws:
            keys = ws.patterns.add(TEXTS)
            assert ws.patterns.remove([int(keys[0]), TEXTS[1], "unknown", 10**9]) == 2
            assert ws.patterns.remove(int(keys[0])) == 0
            found = names(ws.patterns.search(TEXTS[0], k=10))
            assert sorted(found) == sorted(TEXTS[2:])

    def test_search_by_vector_and_its_errors(self, tmp_path):
        with aqe_core.open(tmp_path) as ws:
            ws.patterns.add(TEXTS)
            vector = ws.patterns.embedder.embed_queries(["cache evicts"])[0]
            assert names(ws.patterns.search(vector, k=1)) == [TEXTS[3]]
            with pytest.raises(errors.DimensionError, match="3 dimensions"):
                ws.patterns.search(np.ones(3, np.float32))
            with pytest.raises(errors.NonFiniteError):
                ws.patterns.search(np.full(ws.patterns.embedder.dim, np.nan, np.float32))
            with pytest.raises(errors.InputError, match="k is 0"):
                ws.patterns.search("x", k=0)

    def test_empty_workspace(self, tmp_path):
        with aqe_core.open(tmp_path) as ws:
            assert len(ws.patterns) == 0
            assert ws.patterns.search("anything") == []
            assert ws.rank() == []
            analysis = ws.analyze()
            assert (analysis.runs, analysis.results, analysis.slowest, analysis.flakiest) == (0, 0, [], [])
            assert analysis.to_dict()["duration"]["mean_s"] is None

    @pytest.mark.parametrize("backend", ["numpy", "unfiltered"])
    def test_where_returns_k_whenever_k_exist(self, tmp_path, backend):
        """Also from a store that cannot filter."""
        if backend == "unfiltered":
            backend = f"file:{write_unfiltered_store(tmp_path)}:Store"
        with aqe_core.open(tmp_path, pattern_store=backend) as ws:
            ws.patterns.add(
                [
                    {"id": str(i), "name": f"test_{i}", "text": f"word{i} common", "team": "a" if i % 97 == 0 else "b"}
                    for i in range(400)
                ]
            )
            found = ws.patterns.search("common", k=4, where={"team": "a"})
            assert len(found) == 4
            assert {match.pattern.metadata["team"] for match in found} == {"a"}
            assert len(ws.patterns.search("common", k=10, where={"team": ["a", "nobody"]})) == 5
            assert ws.patterns.search("common", where={"team": "nobody"}) == []

    def test_namespaces_do_not_see_each_other(self, tmp_path):
        with aqe_core.open(tmp_path, namespace="one") as one, aqe_core.open(tmp_path, namespace="two") as two:
            one.patterns.add(TEXTS[0])
            two.patterns.add(TEXTS[1])
            assert names(one.patterns.search("login password", k=5)) == [TEXTS[0]]
            assert names(two.patterns.search("login password", k=5)) == [TEXTS[1]]

    @pytest.mark.parametrize("item", [3, None, {}, {"path": "x"}, "", "  ", {"name": None}])
    def test_bad_items_store_nothing(self, tmp_path, item):
        with aqe_core.open(tmp_path) as ws:
            with pytest.raises(errors.InputError):
                ws.patterns.add([TEXTS[0], item])
            assert len(ws.patterns) == 0

    def test_a_pattern_keeps_every_field(self, tmp_path):
        pattern = Pattern(
            id="i", name="n", text="t\nü\U0001f600", path="p.py", class_name="C.D", docstring="d",
            markers=("slow", "db"), line=7, metadata={"deep": {"a": [1, 2.5, None, True]}}, origin="o",
        )  # fmt: skip
        with aqe_core.open(tmp_path) as ws:
            ws.patterns.add(pattern)
            assert ws.patterns.get("i") == pattern
            assert ws.patterns.search("t", where={"marker": "db"})[0].pattern == pattern

    def test_as_pattern_defaults(self):
        assert as_pattern({"text": "first line\nsecond"}).name == "first line"
        assert as_pattern({"name": "only"}).text == "only"
        assert as_pattern({"name": " ", "id": "", "text": " x\n", "path": "p"}).id == "p::x"

    @pytest.mark.parametrize(
        ("items", "message"),
        [
            (None, "NoneType"),
            (3, "int"),
            ([None], "NoneType"),
            ([{"name": "", "text": " \n"}], "neither name nor text"),
            ([{"name": 3, "text": None}], "neither name nor text"),
            ([{"name": "a", "markers": "slow"}], "markers of a pattern is 'slow'"),
            ([{"name": "a", "markers": 3}], "markers"),
            ([{"name": "a", "metadata": [1]}], "metadata"),
            ([{"name": "a", "path": Path("p")}], "path of a pattern"),
            ([{"name": "a", "class_name": None}], "class_name"),
            ([{"name": "a", "id": 5}], "id of a pattern is 5"),
            ([{"name": "a", "docstring": 5}], "docstring"),
        ],
    )
    def test_what_is_no_pattern_is_refused(self, tmp_path, items, message):
        with aqe_core.open(tmp_path) as ws:
            with pytest.raises(errors.InputError, match=message):
                ws.patterns.add(items)
            assert len(ws.patterns) == 0


def write_unfiltered_store(folder: Path) -> Path:
    path = folder / "plain_store.py"
    path.write_text(
        textwrap.dedent(
            """
            import numpy as np
            from aqe_core.contracts import Hits, StoreCapabilities

            class Store:
                capabilities = StoreCapabilities(exact=True)

                def __init__(self, *, dim, metric):
                    self.dim, self.metric, self.rows = dim, metric, {}

                def __len__(self):
                    return len(self.rows)

                def keys(self):
                    return np.array(sorted(self.rows), np.uint64)

                def add(self, keys, vectors):
                    self.rows.update(zip(keys.tolist(), vectors.copy()))

                def remove(self, keys):
                    return sum(self.rows.pop(key, None) is not None for key in keys.tolist())

                def search(self, queries, k):
                    keys = self.keys()
                    matrix = np.array([self.rows[key] for key in keys.tolist()], np.float32)
                    matrix = matrix.reshape(len(keys), self.dim)
                    scores = queries @ matrix.T
                    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
                    return Hits(keys[order], np.take_along_axis(scores, order, 1))
            """
        )
    )
    return path


class TestTruth:
    """An engine may be lost at any time; the truth and what others did to it may not."""

    def test_another_process_writes_and_this_one_sees_it(self, tmp_path):
        code = "import aqe_core, sys; ws = aqe_core.open(sys.argv[1]); ws.patterns.add(sys.argv[2]); ws.close()"
        with aqe_core.open(tmp_path) as ws:
            ws.patterns.add(TEXTS[:2])
            assert len(ws.patterns.search("upload connection", k=5)) == 2
            for text in TEXTS[2:]:
                subprocess.run([sys.executable, "-c", code, str(tmp_path), text], check=True)
            assert names(ws.patterns.search("upload connection", k=1)) == [TEXTS[2]]
            assert len(ws.patterns.search("x", k=10)) == len(TEXTS)

    def test_two_workspaces_in_one_process(self, tmp_path):
        with aqe_core.open(tmp_path) as a, aqe_core.open(tmp_path) as b:
            a.patterns.add(TEXTS)
            assert names(b.patterns.search(TEXTS[4], k=1)) == [TEXTS[4]]
            b.patterns.remove(TEXTS[4])
            assert TEXTS[4] not in names(a.patterns.search(TEXTS[4], k=10))

    def test_patterns_without_a_vector_are_embedded_when_opened(self, tmp_path):
        """As after a crash between storing patterns and storing their vectors."""
        with aqe_core.open(tmp_path) as ws:
            ws.patterns.add(TEXTS)
            ws.storage.put_patterns("default", [Pattern(id="late", name="late", text="quorum election")])
        with aqe_core.open(tmp_path) as ws:
            assert names(ws.patterns.search("quorum election", k=1)) == ["late"]

    def test_an_unusable_fit_is_dropped_and_told(self, tmp_path):
        from aqe_core.state import EngineState

        with aqe_core.open(tmp_path) as ws:
            ws.patterns.add(TEXTS)
            ws.storage.save_state("embedder/default", EngineState(kind="nonsense/1", manifest={}))
        with capture() as events, aqe_core.open(tmp_path) as ws:
            assert len(ws.patterns.search("timeout", k=3)) == 3
        assert "state-dropped" in [event.name for event in events]

    def test_read_only_reads_and_refuses_to_write(self, tmp_path):
        with aqe_core.open(tmp_path) as ws:
            ws.patterns.add(TEXTS)
        with aqe_core.open(tmp_path, read_only=True) as ws:
            assert names(ws.patterns.search("cache evicts", k=1)) == [TEXTS[3]]
            with pytest.raises(errors.ReadOnlyError):
                ws.patterns.add("more")
            assert len(ws.patterns) == len(TEXTS)

    def test_nothing_is_created_when_not_asked(self, tmp_path):
        with pytest.raises(errors.NoWorkspaceError, match="aqe init"):
            aqe_core.open(tmp_path, create=False)
        with pytest.raises(errors.NoWorkspaceError, match="not a folder"):
            aqe_core.open(tmp_path / "missing")
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_that_cannot_be_written(self, tmp_path):
        (tmp_path / ".aqe").write_text("a file is in the way")
        with pytest.raises(errors.ReadOnlyError, match="cannot be written"):
            aqe_core.open(tmp_path)

    def test_closing_twice_and_using_after(self, tmp_path):
        ws = aqe_core.open(tmp_path)
        ws.patterns.add(TEXTS)
        ws.close()
        ws.close()
        with pytest.raises(errors.StorageError, match="closed"):
            ws.patterns.search("x")


class TestIngest:
    def test_a_second_run_adds_only_what_changed(self, tmp_path):
        path = write_tests(tmp_path / "tests", "test_a.py", "test_one", "test_two", "test_three")
        write_tests(tmp_path / "tests", "test_b.py", "test_four")
        with aqe_core.open(tmp_path) as ws:
            first = ws.ingest()
            assert (first.files, first.added, first.changed, first.unchanged, first.removed) == (2, 4, 0, 0, 0)
            second = ws.ingest()
            assert (second.added, second.changed, second.unchanged, second.removed) == (0, 0, 4, 0)
            path.write_text(
                path.read_text()
                .replace("assert 'test_two'", "assert 'changed'")
                .replace("def test_three", "def test_3")
            )
            third = ws.ingest()
            assert (third.added, third.changed, third.unchanged, third.removed) == (1, 1, 2, 1)
            assert names(ws.patterns.search("changed", k=1)) == ["test_two"]
            (tmp_path / "tests" / "test_b.py").unlink()
            fourth = ws.ingest(tmp_path / "tests")
            assert (fourth.removed, len(ws.patterns)) == (1, 3)

    def test_a_folder_nobody_may_read_is_listed_and_loses_nothing(self, tmp_path, monkeypatch):
        write_tests(tmp_path / "closed", "test_kept.py", "test_kept")
        write_tests(tmp_path / "open", "test_gone.py", "test_gone")
        with aqe_core.open(path=tmp_path) as ws:
            assert ws.ingest().added == 2
            (tmp_path / "open" / "test_gone.py").unlink()
            write_tests(tmp_path / "open", "test_more.py", "test_more")
            # As the system answers who may not read a folder; the superuser, who may run this test, is let in.
            closed = os.fspath(tmp_path / "closed")

            def denying(call):
                def deny(path=".", *args, **options):
                    inside = os.fspath(path).startswith(closed + os.sep) if isinstance(path, str | Path) else False
                    if inside or (call is scandir and os.fspath(path) == closed):
                        raise PermissionError(13, "Permission denied", os.fspath(path))
                    return call(path, *args, **options)

                return deny

            scandir, stat = os.scandir, os.stat
            with monkeypatch.context() as patch:
                patch.setattr(os, "scandir", denying(scandir))
                patch.setattr(os, "stat", denying(stat))
                report = ws.ingest()
            assert (report.added, report.removed) == (1, 1)
            assert [(each.where, each.reason) for each in report.skipped] == [
                ("closed", "the folder cannot be read: Permission denied")
            ]
            assert sorted(names(ws.patterns.search("test", k=5))) == ["test_kept", "test_more"]

    def test_only_the_ingested_folder_loses_vanished_tests(self, tmp_path):
        write_tests(tmp_path / "a", "test_a.py", "test_one")
        b = write_tests(tmp_path / "b", "test_b.py", "test_two")
        with aqe_core.open(tmp_path) as ws:
            ws.ingest()
            b.unlink()
            assert ws.ingest(tmp_path / "a").removed == 0
            assert ws.ingest(tmp_path / "b").removed == 1

    def test_hidden_excluded_and_environment_folders_are_left_out(self, tmp_path):
        for folder in (".git", "node_modules", "venv", "vendored", "kept"):
            write_tests(tmp_path / folder, "test_x.py", f"test_{folder.strip('.')}")
        (tmp_path / "venv" / "pyvenv.cfg").touch()
        (tmp_path / "aqe.toml").write_text('[ingest]\nexclude = ["vendored"]\n')
        with aqe_core.open(tmp_path) as ws:
            assert ws.ingest().added == 1
            assert ws.patterns.search("kept", k=5)[0].pattern.name == "test_kept"

    def test_a_broken_file_is_skipped_in_a_folder_and_an_error_when_named(self, tmp_path):
        write_tests(tmp_path, "test_good.py", "test_good")
        bad = tmp_path / "test_bad.py"
        bad.write_text("def test_bad(:\n")
        with aqe_core.open(tmp_path) as ws:
            report = ws.ingest()
            assert report.added == 1
            assert [each.where for each in report.skipped] == ["test_bad.py"]
            with pytest.raises(errors.MalformedFileError):
                ws.ingest(bad)
            with pytest.raises(errors.UnknownFormatError, match="no file"):
                ws.ingest(tmp_path / "missing.xml")
            (tmp_path / "notes.txt").write_text("hello")
            with pytest.raises(errors.UnknownFormatError, match="no known format"):
                ws.ingest(tmp_path / "notes.txt")

    def test_a_named_file_of_another_content_is_told_what_it_holds(self, tmp_path):
        (tmp_path / "page.xml").write_text("<html></html>")
        (tmp_path / "text.xml").write_text("hello")
        with aqe_core.open(tmp_path) as ws:
            with pytest.raises(errors.MalformedFileError, match="html"):
                ws.ingest(tmp_path / "page.xml")
            with pytest.raises(errors.MalformedFileError, match="XML"):
                ws.ingest(tmp_path / "text.xml")
            assert ws.ingest().files == 0

    def test_a_file_that_breaks_keeps_its_patterns(self, tmp_path):
        path = write_tests(tmp_path, "test_a.py", "test_one")
        with aqe_core.open(tmp_path) as ws:
            ws.ingest()
            path.write_text("def (")
            assert ws.ingest().removed == 0
            assert len(ws.patterns) == 1

    def test_results_are_taken_once(self, tmp_path):
        report = junit(tmp_path / "report.xml", ("test_a", "passed", 0.5), ("test_b", "failed", 0.1))
        with aqe_core.open(tmp_path) as ws:
            assert ws.results.ingest(report).results_added == 2
            again = ws.results.ingest([report])
            assert (again.runs_added, again.runs_known, len(ws.results)) == (0, 1, 2)

    def test_progress_is_told(self, tmp_path):
        write_tests(tmp_path, "test_a.py", "test_one", "test_two")
        told = []
        with aqe_core.open(tmp_path) as ws:
            ws.ingest(progress=lambda *step: told.append(step))
        assert ("reading", 0, 1) in told
        assert any(stage == "embedding" for stage, _, _ in told)


class TestRankAndAnalyze:
    @pytest.fixture
    def history(self, tmp_path):
        outcomes = {"broken": "ppppff", "flaky": "pfpfpf", "solid": "pppppp", "skipped": "ssssss"}
        full = {"p": "passed", "f": "failed", "s": "skipped"}
        for run in range(6):
            cases = [(name, full[each[run]], 2.0 if name == "solid" else 0.25) for name, each in outcomes.items()]
            junit(tmp_path / f"run{run}.xml", *cases, stamp=f"2026-01-0{run + 1}T00:00:00")
        return tmp_path

    def test_failing_tests_come_first_with_a_reason(self, history):
        with aqe_core.open(history) as ws:
            ws.ingest()
            ranked = ws.rank()
            assert {each.test.split("::")[1] for each in ranked[:2]} == {"broken", "flaky"}
            reasons = {each.test: each.reason for each in ranked}
            assert reasons["tests.test_a::broken"] == "failed 2 of 6 runs, last in the last run"
            assert reasons["tests.test_a::skipped"] == "always skipped"
            assert ranked[0].score > 0.2 > ranked[-1].score
            assert ws.rank(k=1) == ranked[:1]
            assert [each.test for each in ws.rank(tests=["tests.test_a::solid"])] == ["tests.test_a::solid"]

    def test_learning_in_steps_equals_learning_at_once(self, history):
        files = sorted(history.glob("run*.xml"))
        with aqe_core.open(history, namespace="x") as ws:
            for file in files[:5]:
                ws.ingest(file)
                ws.rank()
        with aqe_core.open(history) as ws:
            ws.ingest(files[5])
            stepwise = ws.rank()
        other = history / "other"
        other.mkdir()
        with aqe_core.open(other) as ws:
            ws.ingest(*files)
            assert [(each.test, each.score) for each in ws.rank()] == [(each.test, each.score) for each in stepwise]

    def test_a_run_that_arrives_late_is_learned_in_its_place(self, history):
        files = sorted(history.glob("run*.xml"))
        with aqe_core.open(history) as ws:
            ws.ingest(*files[:2], *files[3:])
            ws.rank()
            ws.ingest(files[2])
            late = ws.rank()
        other = history / "other"
        other.mkdir()
        with aqe_core.open(other) as ws:
            ws.ingest(*files)
            assert [(each.test, each.score) for each in ws.rank()] == [(each.test, each.score) for each in late]

    def test_tests_that_never_ran_are_ranked_between(self, history):
        write_tests(history / "tests", "test_a.py", "solid_is_not_collected", "test_new")
        with aqe_core.open(history) as ws:
            ws.ingest()
            ranked = ws.rank()
            new = next(each for each in ranked if each.reason == "never run")
            assert new.test == "tests/test_a.py::test_new"
            assert new.to_dict()["mean_duration_s"] is None
            scores = {each.test: each.score for each in ranked}
            assert scores["tests.test_a::solid"] < new.score < scores["tests.test_a::broken"]

    def test_a_known_source_gives_what_to_hand_to_the_runner(self, history):
        write_tests(history / "tests", "test_a.py", "test_p")
        junit(history / "more.xml", ("test_p[1-x]", "failed", 0.1), ("test_p[2-y]", "passed", 0.1))
        with aqe_core.open(history) as ws:
            ws.ingest()
            nodes = {each.test: each.node for each in ws.rank()}
            assert nodes["tests.test_a::test_p[1-x]"] == "tests/test_a.py::test_p[1-x]"
            assert nodes["tests.test_a::solid"] == "tests.test_a::solid"
            both = ws.rank(tests=["tests/test_a.py::test_p"])
            assert [each.node for each in both] == ["tests/test_a.py::test_p[1-x]", "tests/test_a.py::test_p[2-y]"]

    def test_slowest_and_flakiest(self, history):
        with aqe_core.open(history) as ws:
            ws.ingest()
            analysis = ws.analyze()
        assert analysis.runs == 6
        assert analysis.outcomes == {"passed": 13, "failed": 5, "error": 0, "skipped": 6}
        assert analysis.slowest[0].test == "tests.test_a::solid"
        assert analysis.slowest[0].share == pytest.approx(12 / 15)
        assert [(each.test, each.flips) for each in analysis.flakiest] == [("tests.test_a::flaky", 5)]
        assert analysis.to_dict()["duration"]["n"] == 18

    def test_results_made_by_a_program(self, tmp_path):
        with aqe_core.open(tmp_path) as ws:
            report = ws.results.ingest([TestResult(test="a::b", outcome="failed", duration_s=1.0)])
            assert (report.runs_added, report.results_added) == (1, 1)
            assert ws.rank()[0].reason == "failed its only run"
            with pytest.raises(errors.InputError, match="mixed"):
                ws.results.ingest([TestResult(test="a", outcome="passed"), "report.xml"])


class TestChoice:
    def test_a_local_file_can_be_the_embedder(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        Path("mine.py").write_text(
            textwrap.dedent(
                """
                import numpy as np
                from aqe_core.state import EngineState

                class Vowels:
                    dim = 5
                    fingerprint = "vowels/1"

                    def fit(self, documents):
                        pass

                    def embed(self, documents):
                        return self.embed_queries([name + text for name, text in documents])

                    def embed_queries(self, texts):
                        counts = np.array([[t.count(v) + 0.01 for v in "aeiou"] for t in texts], np.float32)
                        return counts / np.linalg.norm(counts, axis=1, keepdims=True)

                    def export_state(self):
                        return EngineState(kind="vowels/1", manifest={})

                    def import_state(self, state):
                        pass
                """
            )
        )
        Path("aqe.toml").write_text('[embedder]\nbackend = "file:./mine.py:Vowels"\n')
        with aqe_core.open(".") as ws:
            ws.patterns.add(["aaa", "ooo", "uuu"])
            assert names(ws.patterns.search("o", k=1)) == ["ooo"]
            assert ws.selections["embedder"].source == "aqe.toml:2"
            assert aqe_core.explain(ws.patterns.store).backend == "numpy"

    def test_a_wrong_config_is_told_at_once(self, tmp_path):
        (tmp_path / "aqe.toml").write_text('[pattern_store]\nbackand = "numpy"\n')
        with pytest.raises(errors.UnknownKeyError, match=r"aqe.toml:2: unknown key 'pattern_store.backand'.*backend"):
            aqe_core.open(tmp_path)

    def test_a_missing_extra_names_the_command(self, tmp_path):
        with (
            aqe_core.open(tmp_path, pattern_store="gpu") as ws,
            pytest.raises(errors.MissingExtraError, match=r'pip install "aqe-core\[gpu\]"'),
        ):
            ws.patterns.add("x")


def test_threads_that_ask_together_are_given_the_same_parts(tmp_path, monkeypatch):
    from concurrent.futures import ThreadPoolExecutor
    from functools import cached_property
    from threading import Barrier

    from aqe_core import memory

    class Slow(memory.Patterns):
        def __init__(self, workspace):
            time.sleep(0.1)
            super().__init__(workspace)

    # Python 3.11's takes a lock of its own, later ones do not.
    monkeypatch.setattr(cached_property, "__get__", unlocked_get)
    monkeypatch.setattr(memory, "Patterns", Slow)
    barrier = Barrier(4)
    with aqe_core.open(tmp_path) as ws, ThreadPoolExecutor(4) as pool:

        def ask(_):
            barrier.wait()
            return ws.patterns

        assert len({id(each) for each in pool.map(ask, range(4))}) == 1


def unlocked_get(self, instance, owner=None):
    """`cached_property.__get__` as Python 3.12 has it."""
    if instance is None:
        return self
    if self.attrname not in vars(instance):
        vars(instance)[self.attrname] = self.func(instance)
    return vars(instance)[self.attrname]


def test_concurrent_writers_lose_nothing(tmp_path):
    """Two processes and two threads in this one write and search the same workspace."""
    from concurrent.futures import ThreadPoolExecutor

    code = textwrap.dedent(
        """
        import aqe_core, sys
        with aqe_core.open(sys.argv[1]) as ws:
            for i in range(20):
                ws.patterns.add(f"process {sys.argv[2]} item {i}")
                assert ws.patterns.search(f"process {sys.argv[2]} item {i}", k=1)
        """
    )
    with aqe_core.open(tmp_path) as ws:
        others = [
            subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(n)], env={**os.environ}) for n in range(2)
        ]
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda i: ws.patterns.add(f"thread item {i}"), range(20)))
        assert [other.wait() for other in others] == [0, 0]
        assert len(ws.patterns) == 60
        assert len(ws.patterns.search("item", k=100)) == 60
