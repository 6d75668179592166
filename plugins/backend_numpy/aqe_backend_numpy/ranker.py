"""Test ranking: a pairwise logistic regression over few features of each test's history, learned as cycles come."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, NamedTuple

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
        self._seed, self._strength = as_seed(seed), as_strength(strength)
        self._state = Learned.nothing()
        self._looked: _Look | None = None

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
        seen = self._look(as_candidates(candidates))
        score = candidates.offset[seen.canon]
        for weight, row in zip(self._state.weights.tolist(), seen.values, strict=True):
            score += weight * row
        n = len(score)
        scores, chance, cost = np.empty(n), np.empty(n), np.empty(n)
        scores[seen.canon], cost[seen.canon] = score, seen.duration
        chance[seen.canon] = probabilities(score, self._shares().failed)
        return Ranking(ordered(scores, chance, cost, candidates.budget_s), chance)

    def explain(self, candidates: Candidates) -> Explanation:
        """Return what each feature adds; see `aqe_core.contracts.Ranker.explain`."""
        seen = self._look(as_candidates(candidates))
        parts = np.empty((len(candidates), len(seen.values) + 1))
        parts[seen.canon, :-1] = (seen.values * self._state.weights[:, None]).T
        parts[:, -1] = candidates.offset
        if len(parts):
            parts -= parts.mean(axis=0)
        return Explanation((*FEATURES, *self._state.context, _OFFSET), parts)

    def observe(self, candidates: Candidates, outcomes: Outcomes) -> None:
        """Learn from a cycle; see `aqe_core.contracts.Ranker.observe`."""
        as_cycle(candidates, outcomes)
        seen = self._look(candidates)
        names, table, canon = self._state.table, seen.columns, seen.canon
        slots = names.enter(candidates.tests, seen.slots, canon)[canon]
        ran = outcomes.ran[canon]
        failed = outcomes.failed[canon] & ran
        if failed.any() and not failed.all():
            if self._meet(candidates):
                seen = self._look(candidates)
            self._learn(seen.values, slots, failed)
        every = bool(ran.all())
        if not every:
            idle = table[:, ~ran]
            idle[at.UNSEEN] += 1.0
            names.write(slots[~ran], idle)
            table, failed, slots = table[:, ran], failed[ran], slots[ran]
        self._count(table, failed)
        if len(failed):
            share = float(np.count_nonzero(failed)) / len(failed)
            duration_s = outcomes.duration_s[canon] if every else outcomes.duration_s[canon][ran]
            names.write(slots, after_run(table, failed, share, duration_s))
        self._state.cycles += 1
        self._looked = None

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
        seed, strength = as_seed(params["seed"]), as_strength(params["strength"])
        self._seed, self._strength, self._state = seed, strength, learned
        self._looked = None

    # -- the parts ----------------------------------------------------------------------------------------------------

    def _shares(self) -> Shares:
        every, new, after_failure, after_pass = self._state.tallies.tolist()
        return Shares(every[0] / every[1], new[0] / new[1], persistence(tuple(after_failure), tuple(after_pass)))

    def _look(self, candidates: Candidates) -> _Look:
        """Return what is known of candidates; at once for those that were looked at last, since nothing changed."""
        if self._looked is not None and self._looked.candidates is candidates:
            return self._looked
        slots, canon = self._state.table.find(candidates.tests)
        columns = self._state.table.read(slots[canon])
        duration = expected_duration(candidates.duration_s[canon], columns[at.DURATION])
        values = features(columns, duration, self._shares())
        if self._state.context:
            core = values
            values = np.zeros((len(self._state.weights), len(canon)))
            values[: len(core)] = core
            for name, row in self._state.context.items():
                if name in candidates.context:
                    column = candidates.context[name][canon]
                    values[row] = standardized(np.sign(column) * np.log1p(np.abs(column)))
        self._looked = _Look(candidates, slots, canon, columns, duration, values)
        return self._looked

    def _meet(self, candidates: Candidates) -> bool:
        """Make room for context that was not seen before; return whether there was any."""
        new = sorted(candidates.context.keys() - self._state.context.keys())
        for name in new:
            self._state.context[name] = len(self._state.weights)
            self._state.weights = np.append(self._state.weights, 0.0)
            self._state.memory = grown(self._state.memory, len(self._state.weights))
        if new:
            self._looked = None
        return bool(new)

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
        known = table[at.RUNS] > 0.0
        just_failed = known & (table[at.SINCE] == 0.0)
        groups = (np.ones_like(known), ~known, just_failed, known & ~just_failed)
        counts = [(np.count_nonzero(failed & group), np.count_nonzero(group)) for group in groups]
        self._state.tallies += np.array(counts, np.float64)


class _Look(NamedTuple):
    """What a ranker knows of candidates; columns and durations in canonical order, and so are the features."""

    candidates: Candidates
    slots: NDArray[np.int64]
    canon: NDArray[np.int64]
    columns: NDArray[np.float64]
    duration: NDArray[np.float64]
    values: NDArray[np.float64]


def expected_duration(given: NDArray[np.float64], remembered_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return durations: as given, else as remembered, else the median of those that are known, else 1 s."""
    unknown = np.isnan(given)
    if not unknown.any():
        return given
    duration = np.where(unknown, remembered_s, given)
    unknown = np.isnan(duration)
    known = duration[~unknown]
    duration[unknown] = float(np.median(known)) if known.size else 1.0
    return duration


def as_seed(seed: Any) -> int:
    """Return a ranker's seed, checked."""
    try:
        value = operator.index(seed)
    except TypeError:
        value = -1
    if isinstance(seed, (bool, np.bool_)) or not 0 <= value < 2**64:
        raise InputError(f"seed is {seed!r:.40}, but must be in 0 .. 2**64 - 1.", fix="pass e.g. seed=0.")
    return value


def as_strength(strength: Any) -> float:
    """Return the strength of the start weights, checked."""
    number = isinstance(strength, (int, float, np.integer, np.floating)) and not isinstance(strength, bool)
    if not number or not 0.0 < strength <= 1e6:
        raise InputError(f"strength is {strength!r:.40}, but must be above 0, at most 1e6.", fix="pass e.g. 5.0.")
    return float(strength)
