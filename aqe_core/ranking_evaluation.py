"""What the ranking would have saved on the user's own history, against orders that need no learning.

The stored runs are replayed in order. Before each one every order is made from what was known then; afterwards it is
scored on what happened. Only runs with a failure and at least 6 tests are scored. With n tests, m of them failing, the
k-th that runs having rank k, and p the share of failing ones that ran within the budget:

- NAPFD = p - (sum of ranks of the failing ones that ran) / (m n) + p / (2 n) (Qu, Cohen and Woolf 2007), a test that
  does not fit into what is left of the budget being skipped;
- APFD is the same without a budget (Rothermel et al. 1999);
- the time to the first failure is counted to the end of the first failing test, without a budget.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from aqe_core.contracts.ranker import Candidates
from aqe_core.errors import InputError
from aqe_core.ranking import cycles, filled, within

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aqe_core.contracts.ranker import Ranker
    from aqe_core.ranking import Cycle
    from aqe_core.workspace import Workspace

__all__ = ["OrderScore", "RankingEvaluation", "evaluate", "score"]

MIN_TESTS = 6
"""Runs of fewer tests are not scored: their order hardly matters."""

_RANDOM_ORDERS = 20


@attrs.frozen(kw_only=True)
class OrderScore:
    """How one way to order tests did, as means over the scored runs.

    Attributes
    ----------
    order : str
        ``ranking``, ``random``, ``as reported`` or ``last failed``.
    napfd, apfd : float
        In 0 .. 1; larger is better.
    first_failure_s : float
        Seconds until the first failing test has ended.
    first_failure_share : float
        The same as a share of the run's whole duration.
    saved_s : float
        Seconds that the ranking is earlier; 0 for the ranking itself.
    """

    order: str
    napfd: float
    apfd: float
    first_failure_s: float
    first_failure_share: float
    saved_s: float


@attrs.frozen(kw_only=True)
class RankingEvaluation:
    """What the ranking would have saved.

    Attributes
    ----------
    runs, failing, scored : int
        Stored runs, those of them with a failure, and those that were scored.
    budget : float
        Share of each run's total duration that NAPFD allows.
    orders : tuple of OrderScore
        The ranking first; empty if no run was scored.
    """

    runs: int
    failing: int
    scored: int
    budget: float
    orders: tuple[OrderScore, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the form that ``aqe rank --evaluate --json`` prints."""
        return attrs.asdict(self)


def evaluate(workspace: Workspace, budget: float = 0.5) -> RankingEvaluation:
    """Replay the history; see `aqe_core.workspace.Workspace.evaluate_ranking`.

    The ranker starts anew and is not kept. O(results), at the cost of one ranking a run.
    """
    share: Any = budget
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0.0 < share <= 1.0:
        raise InputError(f"budget is {budget!r:.40}, but must be above 0, at most 1.", fix="pass e.g. budget=0.5.")
    ranker = workspace.make_ranker()
    random = np.random.default_rng(0)
    runs = failing = 0
    rows: dict[str, list[NDArray[np.float64]]] = {"ranking": [], "random": [], "as reported": [], "last failed": []}
    for cycle in cycles(workspace.storage.results()):
        runs += 1
        ran = np.flatnonzero(cycle.outcomes.ran)
        failed = cycle.outcomes.failed[ran]
        failing += bool(failed.any())
        if failed.any() and len(ran) >= MIN_TESTS:
            cost = filled(cycle.outcomes.duration_s[ran])
            cost = cost if cost.sum() > 0.0 else np.ones(len(cost))  # reports without times: each counts the same
            orders = _orders(ranker, [cycle.tests[i] for i in ran.tolist()], budget)
            shuffled = [score(random.permutation(len(ran)), failed, cost, budget) for _ in range(_RANDOM_ORDERS)]
            rows["random"].append(np.mean(shuffled, axis=0))
            for name, order in orders.items():
                rows[name].append(score(order, failed, cost, budget))
        _observe(ranker, cycle)
    means = {name: np.mean(each, axis=0) for name, each in rows.items() if each}
    scored = len(rows["ranking"])
    return RankingEvaluation(
        runs=runs,
        failing=failing,
        scored=scored,
        budget=float(budget),
        orders=tuple(
            OrderScore(
                order=name,
                napfd=float(mean[0]),
                apfd=float(mean[1]),
                first_failure_s=float(mean[2]),
                first_failure_share=float(mean[3]),
                saved_s=float(mean[2] - means["ranking"][2]),
            )
            for name, mean in means.items()
        ),
    )


def _observe(ranker: Ranker, cycle: Cycle) -> None:
    ranker.observe(Candidates(cycle.tests), cycle.outcomes)


def _orders(ranker: Ranker, tests: list[str], budget: float) -> dict[str, NDArray[np.int64]]:
    """Return the orders that were possible before the run."""
    history = ranker.history(tests)
    expected = filled(history.duration_s)
    budget_s = budget * float(expected.sum()) if budget < 1.0 else 0.0
    candidates = Candidates(tests, duration_s=expected, budget_s=budget_s or None)
    return {
        "ranking": ranker.rank(candidates).order,
        "as reported": np.arange(len(tests)),
        # what failed last time, then all others, both as reported
        "last failed": np.argsort(history.since_failure != 0, kind="stable"),
    }


def score(
    order: NDArray[np.int64], failed: NDArray[np.bool_], duration_s: NDArray[np.float64], budget: float
) -> NDArray[np.float64]:
    """Return NAPFD, APFD, and the time to the first failure in seconds and as a share, of one run with a failure."""
    n, m = len(order), int(failed.sum())
    hit, cost = failed[order], duration_s[order]
    ran = within(order, duration_s, budget * float(cost.sum()) if budget < 1.0 else None)
    ranks = np.cumsum(ran)[hit & ran]
    p = len(ranks) / m
    napfd = p - float(ranks.sum()) / (m * n) + p / (2 * n)
    places = np.flatnonzero(hit) + 1
    apfd = 1.0 - float(places.sum()) / (n * m) + 1.0 / (2 * n)
    first_s = float(cost[: places[0]].sum())
    return np.array([napfd, apfd, first_s, first_s / float(cost.sum())])
