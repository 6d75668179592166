"""Test ranking: a pairwise logistic regression over few features of each test's history, learned as cycles come."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_backend_numpy import _rank_table as at
from aqe_backend_numpy._rank_features import FEATURES, START, Shares, features, persistence, standardized
from aqe_backend_numpy._rank_order import ordered, probabilities
from aqe_backend_numpy._rank_state import Learned, export, restored
from aqe_backend_numpy._rank_table import after_run
from aqe_backend_numpy._rank_weights import fit, grown, pairs, remembered
from aqe_core.contracts.ranker import Explanation, Ranking, TestHistory
from aqe_core.errors import InputError
from aqe_core.ranker_input import as_candidates, as_cycle, as_tests

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from aqe_core.contracts.ranker import Candidates, Outcomes
    from aqe_core.state import EngineState

__all__ = ["NumpyRanker"]

_OFFSET = "given"


class NumpyRanker:
    """A ranker that weighs features of each test's own history by what they were worth in earlier cycles.

    The log-odds of failing are a weighted sum of the features of `aqe_backend_numpy._rank_features`, of the context
    (standardized within the cycle, after ``sign(x) log(1 + |x|)``) and of the caller's offset. The weights start from
    values that rank sensibly at once, and move by `aqe_backend_numpy._rank_weights` after each cycle in which a test
    failed and another passed. The order under a budget is that of `aqe_backend_numpy._rank_order`.

    Parameters
    ----------
    seed : int, default 0
        Chooses the pairs that are compared where a cycle has more than 120, in 0 .. 2**64 - 1.
    strength : float, default 5.0
        How many failing cycles' worth of evidence the start weights count, above 0, at most 1e6.

    Notes
    -----
    ``rank`` is O(n) but for a sort, ``observe`` O(n) plus, in a failing cycle, two Newton steps over at most 2,400
    pairs; both independent of the number of cycles. Memory: 15 numbers a test. Not safe for use from several threads.
    """

    def __init__(self, *, seed: int = 0, strength: float = 5.0) -> None:
        self._seed, self._strength = _as_seed(seed), _as_strength(strength)
        self._state = Learned.nothing()

    def __len__(self) -> int:
        return len(self._state.table.slots)

    def get_params(self) -> dict[str, Any]:
        """Return the parameters it was made with."""
        return {"seed": self._seed, "strength": self._strength}

    def tests(self) -> list[str]:
        """Return the names of all tests ever observed, in the order of their first observation."""
        return list(self._state.table.slots)

    def history(self, tests: Sequence[str]) -> TestHistory:
        """Return what is remembered of tests; see `aqe_core.contracts.Ranker.history`."""
        slots, _ = self._state.table.find(as_tests(tests))
        rows = self._state.table.read(slots)
        failures = rows[at.FAILURES].astype(np.int64)
        since = np.where(failures > 0, rows[at.SINCE], -1.0).astype(np.int64)
        return TestHistory(rows[at.RUNS].astype(np.int64), failures, since, rows[at.DURATION].copy())

    def rank(self, candidates: Candidates) -> Ranking:
        """Order candidates; see `aqe_core.contracts.Ranker.rank`.

        Equal scores keep the order given. Durations that nobody knows count as the median of the known ones.
        """
        slots, canon = self._state.table.find(as_candidates(candidates).tests)
        table, duration = self._recall(candidates, slots[canon], canon)
        values = self._features(candidates, table, duration, canon)
        score = candidates.offset[canon]
        for weight, row in zip(self._state.weights.tolist(), values, strict=True):
            score = score + weight * row
        n = len(canon)
        scores, chance, cost = np.empty(n), np.empty(n), np.empty(n)
        scores[canon], cost[canon] = score, duration
        chance[canon] = probabilities(score, self._shares().failed)
        return Ranking(ordered(scores, chance, cost, candidates.budget_s), chance)

    def explain(self, candidates: Candidates) -> Explanation:
        """Return what each feature adds; see `aqe_core.contracts.Ranker.explain`."""
        slots, canon = self._state.table.find(as_candidates(candidates).tests)
        table, duration = self._recall(candidates, slots[canon], canon)
        values = self._features(candidates, table, duration, canon) * self._state.weights[:, None]
        parts = np.empty((len(canon), len(values) + 1))
        parts[canon, :-1] = values.T
        parts[:, -1] = candidates.offset
        if len(parts):
            parts -= parts.mean(axis=0)
        return Explanation((*FEATURES, *self._state.context, _OFFSET), parts)

    def observe(self, candidates: Candidates, outcomes: Outcomes) -> None:
        """Learn from a cycle; see `aqe_core.contracts.Ranker.observe`."""
        as_cycle(candidates, outcomes)
        slots, canon = self._state.table.find(candidates.tests)
        ran = outcomes.ran[canon]
        failed = outcomes.failed[canon] & ran
        table, duration = self._recall(candidates, slots[canon], canon)
        self._state.table.enter(candidates.tests, slots, canon)
        slots = slots[canon]
        if failed.any() and not failed.all():
            self._meet(candidates)
            self._learn(self._features(candidates, table, duration, canon), slots, failed)
        self._count(table[:, ran], failed[ran])
        table[at.UNSEEN] += 1.0
        if ran.any():
            share = float(failed[ran].mean())
            table[:, ran] = after_run(table[:, ran], failed[ran], share, outcomes.duration_s[canon][ran])
        self._state.table.rows[slots] = table.T
        self._state.cycles += 1

    def export_state(self) -> EngineState:
        """Return everything learned, as ``ranker/pairwise/1``."""
        return export(self._state, self.get_params())

    def import_state(self, state: EngineState) -> None:
        """Replace everything learned, and the parameters.

        Raises
        ------
        InputError
            It is not a state of this kind; nothing was changed.
        """
        learned, params = restored(state)
        seed, strength = _as_seed(params["seed"]), _as_strength(params["strength"])
        self._seed, self._strength, self._state = seed, strength, learned

    # -- the parts ----------------------------------------------------------------------------------------------------

    def _shares(self) -> Shares:
        every, new, after_failure, after_pass = self._state.tallies.tolist()
        return Shares(every[0] / every[1], new[0] / new[1], persistence(tuple(after_failure), tuple(after_pass)))

    def _recall(
        self, candidates: Candidates, slots: NDArray[np.int64], canon: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the columns of memory and the durations, both in canonical order."""
        table = self._state.table.read(slots)
        duration = candidates.duration_s[canon]
        unknown = np.isnan(duration)
        if unknown.any():
            duration = np.where(unknown, table[at.DURATION], duration)
            unknown = np.isnan(duration)
            known = duration[~unknown]
            duration[unknown] = float(np.median(known)) if known.size else 1.0
        return table, duration

    def _features(
        self,
        candidates: Candidates,
        table: NDArray[np.float64],
        duration: NDArray[np.float64],
        canon: NDArray[np.int64],
    ) -> NDArray[np.float64]:
        """Return the features with those of the context that is known, shape (f, n), in canonical order."""
        core = features(table, duration, self._shares())
        if not self._state.context:
            return core
        out = np.zeros((len(self._state.weights), core.shape[1]))
        out[: len(core)] = core
        for name, row in self._state.context.items():
            if name in candidates.context:
                column = candidates.context[name][canon]
                out[row] = standardized(np.sign(column) * np.log1p(np.abs(column)))
        return out

    def _meet(self, candidates: Candidates) -> None:
        """Make room for context that was not seen before."""
        for name in sorted(candidates.context.keys() - self._state.context.keys()):
            self._state.context[name] = len(self._state.weights)
            self._state.weights = np.append(self._state.weights, 0.0)
            self._state.memory = grown(self._state.memory, len(self._state.weights))

    def _learn(self, values: NDArray[np.float64], slots: NDArray[np.int64], failed: NDArray[np.bool_]) -> None:
        """Learn from a failing cycle.

        Failed tests are compared with all others, also those that were not run: what did run was chosen because it
        looked likely to fail, and weights learned from it alone would be those for telling apart the suspicious.
        """
        salt = self._seed * 0x9E3779B97F4A7C15 + self._state.cycles
        left, right = pairs(np.flatnonzero(failed), np.flatnonzero(~failed), slots, salt)
        self._state.memory = remembered(self._state.memory, values[:, left] - values[:, right], self._state.weights)
        start = np.zeros(len(self._state.weights))
        start[: len(START)] = START
        learned = fit(self._state.memory, self._state.weights, start, self._strength)
        learned[FEATURES.index("unwatched")] = START[-1]  # learning it from what it chose itself would bias it
        self._state.weights = learned

    def _count(self, table: NDArray[np.float64], failed: NDArray[np.bool_]) -> None:
        """Add the runs of a cycle to the tallies, each group by what was known before."""
        new = table[at.RUNS] == 0.0
        just_failed = ~new & (table[at.SINCE] == 0.0)
        groups = (np.ones(len(failed), np.bool_), new, just_failed, ~new & ~just_failed)
        self._state.tallies += [(float((failed & group).sum()), float(group.sum())) for group in groups]


def _as_seed(seed: Any) -> int:
    try:
        value = operator.index(seed)
    except TypeError:
        value = -1
    if isinstance(seed, (bool, np.bool_)) or not 0 <= value < 2**64:
        raise InputError(f"seed is {seed!r:.40}, but must be in 0 .. 2**64 - 1.", fix="pass e.g. seed=0.")
    return value


def _as_strength(strength: Any) -> float:
    number = isinstance(strength, (int, float, np.integer, np.floating)) and not isinstance(strength, bool)
    if not number or not 0.0 < strength <= 1e6:
        raise InputError(f"strength is {strength!r:.40}, but must be above 0, at most 1e6.", fix="pass e.g. 5.0.")
    return float(strength)
