"""Which tests to run first, learned from their results by the workspace's ranker.

Each stored run is one cycle. The ranker's state is kept in storage with the number of the newest run that it learned
from; the next ranking learns only from the runs that came since, and a state that is lost or does not fit is learned
anew from all of them, with the same result.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs
import numpy as np

from aqe_core.changes import relation
from aqe_core.contracts.ranker import Candidates, Outcomes
from aqe_core.contracts.records import OUTCOMES
from aqe_core.errors import AqeError
from aqe_core.events import Event

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from aqe_core.contracts.ranker import Ranker
    from aqe_core.contracts.records import Pattern, ResultTable
    from aqe_core.workspace import Workspace

__all__ = ["Cycle", "RankedTest", "cycles", "rank", "result_name", "within"]

_STATE_NAME = "ranker"
_FAILED = (OUTCOMES.index("failed"), OUTCOMES.index("error"))
_SKIPPED = OUTCOMES.index("skipped")

WORDS = {
    "record": "failures so far",
    "recency": "how long ago it failed",
    "duration": "its duration",
    "new": "never run before",
    "never_failed": "never failed",
    "last_cycle": "failures beside it",
    "unwatched": "left out lately",
    "given": "changed files",
}
"""What the features of the built-in ranker are called; those of others go by their own names."""


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
        About the chance that it fails, in 0 .. 1. Under a budget the order weighs it against the duration.
    reason : str
        Its history in words, and how it relates to changed files.
    runs, failures : int
        Over the whole history, without skipped ones.
    mean_duration_s : float
        Recent mean; NaN for a test that never ran.
    parts : mapping of str to float
        What each feature adds to the log-odds of failing, relative to the mean of the ranked tests.
    """

    test: str
    node: str
    score: float
    reason: str
    runs: int
    failures: int
    mean_duration_s: float
    parts: Mapping[str, float] = attrs.field(factory=dict)

    @property
    def explanation(self) -> str:
        """The largest three parts in words: ``failures so far +2.1, its duration -0.4``."""
        largest = sorted(self.parts.items(), key=lambda item: -abs(item[1]))[:3]
        return ", ".join(f"{WORDS.get(name, name)} {part:+.1f}" for name, part in largest if abs(part) >= 0.05)

    def to_dict(self) -> dict[str, Any]:
        """Return the form that ``aqe rank --json`` prints; a duration that is not known is null."""
        known = self.mean_duration_s == self.mean_duration_s  # false for NaN
        return {
            **attrs.asdict(self, recurse=False),
            "mean_duration_s": self.mean_duration_s if known else None,
            "parts": dict(self.parts),
        }


class Cycle(NamedTuple):
    """One stored run, each test once: failed if any of its results is, with the duration of the first that ran."""

    tests: tuple[str, ...]
    outcomes: Outcomes


class _Known(NamedTuple):
    """A test that can be ranked."""

    test: str
    node: str
    path: str


def rank(
    workspace: Workspace,
    k: int | None = None,
    tests: Iterable[str] | None = None,
    *,
    budget_s: float | None = None,
    changed: Iterable[str] = (),
) -> list[RankedTest]:
    """Order tests; see `aqe_core.workspace.Workspace.rank`.

    Tests that are equal to the ranker stay in the order of their first results, then of their place in the sources.
    """
    table = workspace.storage.results()
    ranker = learned(workspace, table)
    known = _known(workspace, table)
    if tests is not None:
        wanted = set(tests)
        known = [each for each in known if not wanted.isdisjoint(_names(each))]
    names = [each.test for each in known]
    changes = list(changed)
    related = [relation(each.test, each.path, changes) for each in known]
    offset = np.array([each.log_odds for each in related], np.float64)
    candidates = Candidates(names, offset=offset, budget_s=budget_s)
    ranking, explanation, history = ranker.rank(candidates), ranker.explain(candidates), ranker.history(names)
    order = ranking.order[within(ranking.order, history.duration_s, budget_s)].tolist()
    seen = set(table.tests)
    ranked = []
    for i in order if k is None else order[:k]:
        runs, failures, since = (int(column[i]) for column in history[:3])
        reasons = [_reason(runs, failures, since, never=known[i].test not in seen), related[i].reason]
        ranked.append(
            RankedTest(
                test=known[i].test,
                node=known[i].node,
                score=float(ranking.probability[i]),
                reason="; ".join(filter(None, reasons)),
                runs=runs,
                failures=failures,
                mean_duration_s=float(history.duration_s[i]),
                parts=dict(zip(explanation.features, explanation.parts[i].tolist(), strict=True)),
            )
        )
    return ranked


def within(order: NDArray[np.int64], duration_s: NDArray[np.float64], budget_s: float | None) -> NDArray[np.bool_]:
    """Return which places of an order run, each test that still fits; unknown durations count as the median."""
    fits = np.ones(len(order), np.bool_)
    if budget_s is None:
        return fits
    left = budget_s * (1.0 + 1e-12)
    for place, cost in enumerate(filled(duration_s)[order].tolist()):
        fits[place] = cost <= left
        left -= cost if fits[place] else 0.0
    return fits


def filled(duration_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return durations with the median of the known ones in place of NaN; 1 where none is known."""
    unknown = np.isnan(duration_s)
    usual = 1.0 if unknown.all() else float(np.median(duration_s[~unknown]))
    return np.where(unknown, usual, duration_s)


def cycles(table: ResultTable, after_run: int = 0) -> Iterator[Cycle]:
    """Yield the runs numbered above ``after_run`` as cycles, in order of their start."""
    bounds = [*np.flatnonzero(np.diff(table.run, prepend=-1)).tolist(), len(table.run)]
    for start, end in pairwise(bounds):
        if table.run[start] <= after_run:
            continue
        outcome, duration = table.outcome[start:end], table.duration_s[start:end]
        tests, where = np.unique(table.test[start:end], return_inverse=True)
        first = np.full(len(tests), end - start)
        np.minimum.at(first, where, np.arange(end - start))
        ran_first = np.full(len(tests), end - start)
        did = np.flatnonzero(outcome != _SKIPPED)
        np.minimum.at(ran_first, where[did], did)
        ran = ran_first < end - start
        failed = np.zeros(len(tests), np.bool_)
        failed[where[np.isin(outcome, _FAILED)]] = True
        spent = np.where(ran, duration[np.minimum(ran_first, end - start - 1)], np.nan)
        order = np.argsort(first, kind="stable")
        names = tuple(table.tests[i] for i in tests[order].tolist())
        yield Cycle(names, Outcomes(failed[order], ran=ran[order], duration_s=spent[order]))


def learned(workspace: Workspace, table: ResultTable) -> Ranker:
    """Return the ranker after all results: the kept state plus the runs that came since."""
    ranker = workspace.make_ranker()
    newest = int(table.run.max()) if len(table.run) else 0
    applied = 0
    kept = workspace.storage.load_state(_STATE_NAME)
    if kept is not None and _in_order(table, kept[1]):  # else an older run came late: learned anew, in its place
        asked = ranker.get_params()
        try:
            own = {name: value for name, value in kept[0].manifest.items() if name != "truth"}
            ranker.import_state(attrs.evolve(kept[0], manifest=own))
            if ranker.get_params() == asked:
                applied = kept[1]
            else:
                ranker = workspace.make_ranker()  # other parameters learn anew
        except AqeError as error:
            workspace.plugins.tell(Event(name="state-dropped", data={"state": _STATE_NAME, "error": str(error)}))
    for cycle in cycles(table, applied):
        ranker.observe(Candidates(cycle.tests), cycle.outcomes)
    if applied < newest and not workspace.storage.read_only:
        state = ranker.export_state()
        claim = {"results": {"runs": len(np.unique(table.run)), "results": len(table.run)}}
        manifest = {**state.manifest, "truth": claim}
        workspace.storage.save_state(_STATE_NAME, attrs.evolve(state, manifest=manifest), seq=newest)
    return ranker


def _in_order(table: ResultTable, applied: int) -> bool:
    """Whether every run stored after ``applied`` also started after all runs before it."""
    new = table.run > applied
    return bool(new.all()) or not bool(new[: int(np.flatnonzero(~new)[-1])].any())


def _known(workspace: Workspace, table: ResultTable) -> list[_Known]:
    """Return the tests with results, then those that are only known from their source."""
    batches = workspace.storage.iter_patterns(workspace.namespace)
    patterns = [each for batch in batches for each in batch if each.path]
    by_name = {result_name(pattern): pattern for pattern in patterns}
    found = []
    for name in table.tests:
        pattern = by_name.get(base_name(name))
        parameters = name.removeprefix(base_name(name))
        found.append(_Known(name, f"{pattern.id}{parameters}", pattern.path) if pattern else _Known(name, name, ""))
    ran = {base_name(name) for name in table.tests} | set(table.tests)
    never_run = [each for each in patterns if result_name(each) not in ran and each.id not in ran]
    never_run.sort(key=lambda each: (each.path, each.line, each.id))
    return found + [_Known(each.id, each.id, each.path) for each in never_run]


def _reason(runs: int, failures: int, since: int, *, never: bool) -> str:
    if runs == 0:
        return "never run" if never else "always skipped"
    if failures == 0:
        return f"passed all {runs} runs" if runs > 1 else "passed its only run"
    last = "the last run" if since == 0 else f"{since} run{'s' if since > 1 else ''} before the last"
    return f"failed {failures} of {runs} runs, last in {last}" if runs > 1 else "failed its only run"


def _names(known: _Known) -> set[str]:
    """Return the names by which a caller may mean a test: with and without its parameters."""
    return {known.test, known.node, base_name(known.test), base_name(known.node)}


def base_name(test: str) -> str:
    """Return a test's name without its parameters: ``a::b[1-x]`` is ``a::b``."""
    return test.partition("[")[0]


def result_name(pattern: Pattern) -> str:
    """Return the name under which a pytest JUnit file reports a pattern: ``tests.test_a.TestB::test_c``."""
    module = pattern.path.removesuffix(".py").replace("/", ".")
    owner = f"{module}.{pattern.class_name}" if pattern.class_name else module
    return f"{owner}::{pattern.name}"
