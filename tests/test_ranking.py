"""Ranking as users meet it: learned from stored runs, cut to a budget, moved by changes, judged on their history."""

from __future__ import annotations

import itertools

import attrs
import numpy as np
import pytest

import aqe_core
from aqe_core import errors
from aqe_core.contracts import Run, TestResult
from aqe_core.events import capture
from aqe_core.ranking import _STATE_NAME, cycles
from aqe_core.ranking_evaluation import score


def store(ws, *runs, start=0):
    """Store runs of (name, outcome, seconds); the n-th starts at second n."""
    for number, results in enumerate(runs, start):
        listed = [TestResult(test=name, outcome=outcome, duration_s=seconds) for name, outcome, seconds in results]
        assert ws.storage.put_run(Run(id=f"run {number}", source="x", started_s=float(number)), listed)


def run(failing, n=10, seconds=1.0):
    return [(f"m::t{i}", "failed" if i in failing else "passed", seconds) for i in range(n)]


@pytest.fixture
def ws(tmp_path):
    with aqe_core.open(tmp_path) as workspace:
        yield workspace


def ranks(ws, **options):
    return [(each.test, each.score) for each in ws.rank(**options)]


class TestLearning:
    def test_steps_equal_a_replay_from_nothing(self, ws, tmp_path):
        rng = np.random.default_rng(0)
        runs = [run(set(np.flatnonzero(rng.random(10) < 0.2).tolist())) for _ in range(40)]
        for i in range(0, 40, 4):
            store(ws, *runs[i : i + 4], start=i)
            stepwise = ranks(ws)
        with aqe_core.open(tmp_path) as again:
            assert ranks(again) == stepwise  # reopened
        other = tmp_path / "other"
        other.mkdir()
        with aqe_core.open(other) as fresh:
            store(fresh, *runs)
            assert ranks(fresh) == stepwise

    def test_a_state_kept_before_a_crash_catches_up(self, ws, tmp_path):
        store(ws, *[run({i % 3}) for i in range(12)])
        ranks(ws)
        kept = ws.storage.load_state("ranker")
        store(ws, *[run({5}) for _ in range(4)], start=12)
        latest = ranks(ws)
        ws.storage.save_state("ranker", kept[0], seq=kept[1])  # as if the process had died before it saved
        assert ranks(ws) == latest

    def test_a_state_that_does_not_fit_is_dropped_with_an_event(self, ws):
        store(ws, *[run({1}) for _ in range(5)])
        before = ranks(ws)
        state, seq = ws.storage.load_state("ranker")
        ws.storage.save_state("ranker", attrs.evolve(state, kind="ranker/of/another"), seq=seq)
        with capture() as events:
            assert ranks(ws) == before
        assert "state-dropped" in [event.name for event in events]

    def test_other_parameters_learn_anew(self, tmp_path):
        rng = np.random.default_rng(4)
        with aqe_core.open(tmp_path) as ws:
            store(ws, *[run(set(np.flatnonzero(rng.random(10) < 0.3).tolist())) for _ in range(30)])
            default = ranks(ws)
        (tmp_path / "aqe.toml").write_text("[ranker.options]\nstrength = 0.5\n")
        with aqe_core.open(tmp_path) as ws:
            assert ranks(ws) != default

    def test_a_reader_learns_without_writing(self, ws, tmp_path):
        store(ws, *[run({1}) for _ in range(5)])
        with aqe_core.open(tmp_path, read_only=True) as reader:
            assert ranks(reader)[0][0] == "m::t1"
        assert ws.storage.load_state("ranker") is None

    def test_one_run_is_one_cycle_and_each_test_once(self, ws):
        store(
            ws,
            [("a", "failed", 1.0), ("b", "skipped", 0.0), ("a", "passed", 9.0), ("c", "error", 2.0)],
            [("b", "skipped", 0.0), ("b", "passed", 3.0)],
        )
        first, second = cycles(ws.storage.results())
        assert first.tests == ("a", "b", "c")
        assert first.outcomes.failed.tolist() == [True, False, True]
        assert first.outcomes.ran.tolist() == [True, False, True]
        assert first.outcomes.duration_s[[0, 2]].tolist() == [1.0, 2.0]
        assert (second.tests, second.outcomes.duration_s.tolist()) == (("b",), [3.0])
        assert [cycle.tests for cycle in cycles(ws.storage.results(), after_run=1)] == [("b",)]

    def test_the_kept_state_is_compared_with_the_results(self, ws):
        store(ws, *[run({2}) for _ in range(6)])
        ranks(ws)
        assert ws.storage.load_state(_STATE_NAME)[0].manifest["truth"] == {"results": {"runs": 6, "results": 60}}
        store(ws, run({3}), start=6)
        maintenance = ws.storage.maintenance(ws.storage.path)
        assert maintenance.verify().findings == ()
        with ws.storage._database.alone() as connection:
            connection.execute("DELETE FROM runs WHERE number = 2").fetchall()
        messages = [found.message for found in maintenance.verify().findings if found.check == "states"]
        assert messages == ["it has learned from 60 results of 6 runs, where there are 50 of 5"]


class TestOptions:
    def test_a_budget_keeps_what_fits(self, ws):
        store(ws, *[[("m::slow", "failed", 60.0), *run({2, 3}, 6, 2.0)] for _ in range(5)])
        assert ranks(ws)[0][0] in {"m::slow", "m::t2", "m::t3"}
        cheap = ws.rank(budget_s=7.0)
        assert [each.test for each in cheap[:2]] == ["m::t2", "m::t3"]
        assert len(cheap) == 3
        assert sum(each.mean_duration_s for each in cheap) <= 7.0
        assert [each.test for each in ws.rank(k=1, budget_s=1e6)] == [ws.rank()[0].test]
        assert ws.rank(budget_s=0.5) == []
        with pytest.raises(errors.InputError, match="budget_s"):
            ws.rank(budget_s=0.0)

    def test_changed_files_move_tests_up_and_say_so(self, ws):
        names = ["tests.test_lexer::test_a", "tests.test_parser::test_b", "tests.test_cli::test_parser_option"]
        store(ws, *[[(name, "passed", 1.0) for name in names] for _ in range(3)])
        ranked = ws.rank(changed=["src/parser.py"])
        assert [each.test for each in ranked] == [names[1], names[2], names[0]]
        assert ranked[0].reason == "passed all 3 runs; it is about parser.py, which changed"
        assert ranked[0].explanation == "changed files +1.0"
        assert ranked[2].reason == "passed all 3 runs"

    def test_parts_tell_what_speaks_for_a_test(self, ws):
        store(ws, *[run({4}) for _ in range(6)])
        top = ws.rank()[0]
        assert (top.test, top.runs, top.failures) == ("m::t4", 6, 6)
        assert top.explanation.startswith("failures so far +")
        assert top.to_dict()["parts"] == top.parts
        assert 0.0 < top.score <= 1.0

    def test_skipped_tests_are_offered(self, ws):
        store(ws, *[[("a", "skipped", 0.0), ("b", "passed", 1.0), ("c", "failed", 1.0)] for _ in range(4)])
        ranked = {each.test: each for each in ws.rank()}
        assert ranked["a"].reason == "always skipped"
        assert ranked["b"].score < ranked["a"].score < ranked["c"].score


class TestEvaluation:
    def test_scores_by_hand(self):
        # Five tests of 1, 2, 3, 4 and 10 s; the second and the last fail; half of 20 s may be spent.
        failed, cost = np.array([False, True, False, False, True]), np.array([1.0, 2.0, 3.0, 4.0, 10.0])
        napfd, apfd, first_s, share = score(np.arange(5), failed, cost, 0.5)
        assert napfd == pytest.approx(0.5 - 2 / 10 + 0.5 / 10)
        assert apfd == pytest.approx(1 - (2 + 5) / 10 + 1 / 10)
        assert (first_s, share) == (3.0, pytest.approx(3 / 20))
        assert score(np.array([4, 1, 0, 2, 3]), failed, cost, 0.5)[0] == pytest.approx(0.5 - 1 / 10 + 0.5 / 10)
        assert score(np.arange(5), failed, cost, 1.0)[0] == pytest.approx(apfd)

    def test_napfd_over_all_orders_averages_to_chance(self):
        failed, cost = np.array([True, False, False, True]), np.ones(4)
        scores = [score(np.array(each), failed, cost, 1.0)[1] for each in itertools.permutations(range(4))]
        assert np.mean(scores) == pytest.approx(0.5)

    def test_history_is_judged_before_it_is_learned(self, ws):
        store(ws, *[run({8} if i >= 5 else {0}, 10, 2.0) for i in range(10)], run({1}, 3))
        found = ws.evaluate_ranking()
        assert (found.runs, found.failing, found.scored, found.budget) == (11, 11, 10, 0.5)
        by_name = {each.order: each for each in found.orders}
        assert list(by_name) == ["ranking", "random", "as reported", "last failed"]
        # As reported: test 0 is first five times, test 8 is ninth five times.
        assert by_name["as reported"].apfd == pytest.approx((0.95 + 0.15) / 2)
        assert by_name["as reported"].first_failure_s == pytest.approx((2.0 + 18.0) / 2)
        assert by_name["random"].apfd == pytest.approx(0.5, abs=0.08)
        # Test 8 was a surprise once, test 0 never was (it comes first by the order of equal tests).
        assert by_name["last failed"].first_failure_s == pytest.approx((9 * 2.0 + 18.0) / 10)
        assert by_name["ranking"].saved_s == 0.0
        assert by_name["random"].saved_s > 3.0
        assert found.to_dict()["orders"][0]["order"] == "ranking"
        assert ws.storage.load_state("ranker") is None

    def test_nothing_to_judge(self, ws):
        assert ws.evaluate_ranking().orders == ()
        store(ws, run(set()))
        found = ws.evaluate_ranking(budget=1.0)
        assert (found.runs, found.failing, found.scored, found.orders) == (1, 0, 0, ())

    def test_reports_without_times(self, ws):
        store(ws, *[run({3}, 10, 0.0) for _ in range(3)])
        assert ws.evaluate_ranking(budget=1.0).orders[0].first_failure_s <= 4.0

    @pytest.mark.parametrize("budget", [0.0, 1.5, -1.0, True, "half", float("nan")])
    def test_a_wrong_budget(self, ws, budget):
        with pytest.raises(errors.InputError, match="budget is"):
            ws.evaluate_ranking(budget=budget)
