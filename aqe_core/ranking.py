"""Which tests to run first, learned from their results by the workspace's learner.

Each result is one transition of a one-state task: state ``suite``, action the test, reward 1 for a failure and 0 for a
pass, terminal. Temporal-difference learning then keeps, for each test, an exponentially weighted failure rate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from aqe_core.contracts.records import OUTCOMES
from aqe_core.errors import AqeError
from aqe_core.events import Event

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from aqe_core.contracts.learner import Learner
    from aqe_core.contracts.records import Pattern, ResultTable
    from aqe_core.workspace import Workspace

__all__ = ["RankedTest", "rank", "result_name"]

_STATE = "suite"
_STATE_NAME = "learner/rank"
_PARAMETERS = {"learning_rate": 0.4, "discount": 0.0, "epsilon": 0.0}
"""A rate of 0.4 forgets a failure within a handful of runs; override it with ``learner.options``."""

_FAILED = (OUTCOMES.index("failed"), OUTCOMES.index("error"))
_SKIPPED = OUTCOMES.index("skipped")


@attrs.frozen(kw_only=True)
class RankedTest:
    """A test in the order of running.

    Attributes
    ----------
    test : str
        Name, as in its results; the pattern's id for one that has none.
    node : str
        What to hand to the test runner: the id of its pattern, with the test's parameters, where its source is known;
        else ``test``.
    score : float
        Expected value of running it: about the chance that it fails.
    reason : str
    runs, failures : int
        Over the whole history, without skipped ones.
    mean_duration_s : float
        NaN for a test that never ran.
    """

    test: str
    node: str
    score: float
    reason: str
    runs: int
    failures: int
    mean_duration_s: float

    def to_dict(self) -> dict[str, Any]:
        """Return the form that ``aqe rank --json`` prints; a duration that is not known is null."""
        known = self.runs > 0
        return {**attrs.asdict(self), "mean_duration_s": self.mean_duration_s if known else None}


def rank(workspace: Workspace, k: int | None, tests: Iterable[str] | None) -> list[RankedTest]:
    """Order tests; see `aqe_core.workspace.Workspace.rank`.

    Highest score first, then the shorter one, then by name. A test without results has the share of tests that failed
    when they were first seen.
    """
    table = workspace.storage.results()
    learner = _learner(workspace, table)
    ran = table.outcome != _SKIPPED
    test, failed = table.test[ran], np.isin(table.outcome[ran], _FAILED)
    n = len(table.tests)
    runs = np.bincount(test, minlength=n)
    failures = np.bincount(test, weights=failed, minlength=n).astype(np.int64)
    durations = np.bincount(test, weights=table.duration_s[ran], minlength=n) / np.maximum(runs, 1)
    since = _runs_since_failure(test, failed, n)
    prior = _first_failure_rate(test, failed)

    patterns = [each for batch in workspace.storage.iter_patterns(workspace.namespace) for each in batch if each.path]
    id_of = {result_name(pattern): pattern.id for pattern in patterns}
    ranked = [
        RankedTest(
            test=name,
            node=_node(name, id_of),
            score=learner.value(_STATE, name) if runs[i] else prior,
            reason=_reason(int(runs[i]), int(failures[i]), int(since[i])),
            runs=int(runs[i]),
            failures=int(failures[i]),
            mean_duration_s=float(durations[i]) if runs[i] else float("nan"),
        )
        for i, name in enumerate(table.tests)
    ]
    known = {base_name(name) for name in table.tests}
    never_run = (pattern.id for pattern in patterns if result_name(pattern) not in known)
    nan = float("nan")
    ranked += [
        RankedTest(test=each, node=each, score=prior, reason="never run", runs=0, failures=0, mean_duration_s=nan)
        for each in never_run
    ]
    if tests is not None:
        wanted = set(tests)
        ranked = [each for each in ranked if not wanted.isdisjoint(_names(each))]
    ranked.sort(key=lambda each: (-each.score, each.mean_duration_s if each.runs else 0.0, each.test))
    return ranked if k is None else ranked[:k]


def _learner(workspace: Workspace, table: ResultTable) -> Learner:
    """Return the ranking's learner after all results: the kept state plus the runs that came since."""
    learner = workspace.make_learner(**_PARAMETERS)
    kept = workspace.storage.load_state(_STATE_NAME)
    newest = int(table.run.max()) if len(table.run) else 0
    applied = 0
    if kept is not None:
        state, applied = kept
        try:
            if state.manifest.get("params") != learner.export_state().manifest.get("params") or not _in_order(
                table, applied
            ):
                applied = 0  # other parameters, or an older run came late: learned anew from all results
            else:
                learner.import_state(state)
        except AqeError as error:
            workspace.plugins.tell(Event(name="state-dropped", data={"state": _STATE_NAME, "error": str(error)}))
            applied = 0
    new = (table.run > applied) & (table.outcome != _SKIPPED)
    if new.any():
        tests = [table.tests[i] for i in table.test[new]]
        states = [_STATE] * len(tests)
        rewards = np.isin(table.outcome[new], _FAILED).astype(np.float64)
        learner.update_batch(states, tests, rewards, states, np.ones(len(tests), np.bool_))
    if applied < newest and not workspace.storage.read_only:
        workspace.storage.save_state(_STATE_NAME, learner.export_state(), seq=newest)
    return learner


def _in_order(table: ResultTable, applied: int) -> bool:
    """Whether every run stored after ``applied`` also started after all runs before it."""
    new = table.run > applied
    return bool(new.all()) or not bool(new[: int(np.flatnonzero(~new)[-1])].any())


def _runs_since_failure(test: NDArray[np.int64], failed: NDArray[np.bool_], n: int) -> NDArray[np.int64]:
    """Return for each test how many of its runs came after its last failure; -1 if it never failed."""
    order = np.argsort(test, kind="stable")
    position = np.arange(len(test)) - np.searchsorted(test[order], test[order])
    last = np.full(n, -1)
    np.maximum.at(last, test[order][failed[order]], position[failed[order]])
    return np.where(last < 0, -1, np.bincount(test, minlength=n) - 1 - last)


def _first_failure_rate(test: NDArray[np.int64], failed: NDArray[np.bool_]) -> float:
    """Return how often a test failed when first seen, with half a failure in one test added (Laplace)."""
    _, first = np.unique(test, return_index=True)
    return (float(failed[first].sum()) + 0.5) / (len(first) + 1.0)


def _reason(runs: int, failures: int, since: int) -> str:
    if runs == 0:
        return "always skipped"
    if failures == 0:
        return f"passed all {runs} runs" if runs > 1 else "passed its only run"
    last = "the last run" if since == 0 else f"{since} run{'s' if since > 1 else ''} before the last"
    return f"failed {failures} of {runs} runs, last in {last}" if runs > 1 else "failed its only run"


def _node(test: str, id_of: Mapping[str, str]) -> str:
    name, bracket, parameters = test.partition("[")
    return f"{id_of[name]}{bracket}{parameters}" if name in id_of else test


def _names(ranked: RankedTest) -> set[str]:
    """Return the names by which a caller may mean a test: with and without its parameters."""
    return {ranked.test, ranked.node, base_name(ranked.test), base_name(ranked.node)}


def base_name(test: str) -> str:
    """Return a test's name without its parameters: ``a::b[1-x]`` is ``a::b``."""
    return test.partition("[")[0]


def result_name(pattern: Pattern) -> str:
    """Return the name under which a pytest JUnit file reports a pattern: ``tests.test_a.TestB::test_c``."""
    module = pattern.path.removesuffix(".py").replace("/", ".")
    owner = f"{module}.{pattern.class_name}" if pattern.class_name else module
    return f"{owner}::{pattern.name}"
