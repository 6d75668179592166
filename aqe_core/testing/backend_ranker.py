"""The reference ranker, as short as the contract allows: the smoothed share of failed runs over the expected time."""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_core.contracts.capabilities import RankerCapabilities
from aqe_core.contracts.ranker import Explanation, Ranking, TestHistory
from aqe_core.errors import InputError
from aqe_core.ranker_input import as_candidates, as_cycle, as_tests
from aqe_core.state import EngineState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aqe_core.contracts.ranker import Candidates, Outcomes

__all__ = ["REFERENCE_RANKER", "ShareRanker"]

REFERENCE_RANKER = RankerCapabilities(budgeted=True)

_FRESH = (0, 0, -1, 0.0, 0)  # runs, failures, runs since the last failure, seconds, runs of known duration


class ShareRanker:
    """Ranks by (failures + 1/2) / (runs + 1), and under a budget by that share per second where not all fit."""

    def __init__(self, *, seed: int = 0) -> None:
        self._seed = _as_seed(seed)
        self._rows: dict[str, tuple[int, int, int, float, int]] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def get_params(self) -> dict[str, Any]:
        """Return the parameters it was made with."""
        return {"seed": self._seed}

    def tests(self) -> list[str]:
        """Return the names of all tests ever observed."""
        return list(self._rows)

    def history(self, tests: Sequence[str]) -> TestHistory:
        """Return what is remembered of tests."""
        rows = [self._rows.get(name, _FRESH) for name in as_tests(tests)]
        counts = np.array([row[:3] for row in rows], np.int64).reshape(-1, 3)
        mean = np.array([row[3] / row[4] if row[4] else np.nan for row in rows], np.float64)
        return TestHistory(counts[:, 0].copy(), counts[:, 1].copy(), counts[:, 2].copy(), mean)

    def _log_odds(self, candidates: Candidates) -> list[float]:
        rows = [self._rows.get(name, _FRESH) for name in candidates.tests]
        return [math.log((row[1] + 0.5) / (row[0] - row[1] + 0.5)) for row in rows]

    def rank(self, candidates: Candidates) -> Ranking:
        """Order candidates."""
        log_odds = np.array(self._log_odds(as_candidates(candidates)), np.float64) + candidates.offset
        chance = 1.0 / (1.0 + np.exp(-log_odds))
        value = chance
        known = self.history(candidates.tests).duration_s
        cost = np.where(np.isnan(candidates.duration_s), known, candidates.duration_s)
        if not np.isnan(cost).any() and math.fsum(cost.tolist()) > candidates.budget_s:
            value = chance / np.maximum(cost, 1e-9)
        return Ranking(np.argsort(-value, kind="stable"), chance)

    def explain(self, candidates: Candidates) -> Explanation:
        """Return what each feature adds."""
        log_odds = self._log_odds(as_candidates(candidates))
        parts = np.array([log_odds, candidates.offset], np.float64).T.reshape(-1, 2)
        # fsum: the mean must not depend on the order of the candidates
        mean = [math.fsum(column) / max(1, len(parts)) for column in parts.T.tolist()]
        return Explanation(("share", "given"), parts - np.array(mean))

    def observe(self, candidates: Candidates, outcomes: Outcomes) -> None:
        """Learn from a cycle."""
        as_cycle(candidates, outcomes)
        rows = zip(
            outcomes.failed.tolist(), outcomes.ran.tolist(), outcomes.duration_s.tolist(), candidates.tests, strict=True
        )
        for failed, ran, seconds, name in rows:
            self._enter(name, failed, ran, seconds)

    def _enter(self, name: str, failed: bool, ran: bool, seconds: float) -> None:
        runs, failures, since, total, timed = self._rows.setdefault(name, _FRESH)
        if ran:
            timed_now = not math.isnan(seconds)
            self._rows[name] = (
                runs + 1,
                failures + failed,
                0 if failed else (since + 1 if failures else -1),
                total + (seconds if timed_now else 0.0),
                timed + timed_now,
            )

    def export_state(self) -> EngineState:
        """Return everything learned."""
        rows = np.array(list(self._rows.values()), np.float64).reshape(-1, 5)
        return EngineState(
            kind="ranker/share/test-1",
            manifest={"params": self.get_params(), "tests": self.tests()},
            arrays={"rows": rows},
        )

    def import_state(self, state: EngineState) -> None:
        """Replace everything learned."""
        try:
            if state.kind != "ranker/share/test-1":
                raise InputError(f"it is of kind {state.kind!r}")
            rows = [(int(a), int(b), int(c), d, int(e)) for a, b, c, d, e in state.arrays["rows"].tolist()]
            learned = dict(zip(as_tests(state.manifest["tests"]), rows, strict=True))
            seed = _as_seed(state.manifest["params"]["seed"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"this is not a state of the ranker by shares ({error}).", fix="import a state that it exported."
            ) from None
        self._rows, self._seed = learned, seed


def _as_seed(seed: Any) -> int:
    try:
        value = operator.index(seed)
    except TypeError:
        value = -1
    if not 0 <= value < 2**64:
        raise InputError(f"seed is {seed!r}, but must be in 0 .. 2**64 - 1.", fix="pass e.g. seed=0.")
    return value
