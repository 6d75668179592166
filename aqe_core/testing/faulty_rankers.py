"""Rankers that are wrong in one known way each (see `aqe_core.testing.faulty`)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_core.contracts.ranker import Candidates, Explanation, Outcomes, Ranking
from aqe_core.state import EngineState
from aqe_core.testing.backend_ranker import ShareRanker
from aqe_core.testing.faulty import wrong

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aqe_core.contracts.ranker import TestHistory


@wrong("protocol")
class HandsOutParams(ShareRanker):
    """Returns its own dictionary of parameters."""

    def __init__(self, *, seed: int = 0) -> None:
        super().__init__(seed=seed)
        self._params = {"seed": seed}

    def get_params(self) -> dict[str, Any]:
        """Return the parameters."""
        return self._params


@wrong("form")
class NarrowOrder(ShareRanker):
    """Returns the order in int32."""

    def rank(self, candidates: Candidates) -> Ranking:
        """Order."""
        order, chance = super().rank(candidates)
        return Ranking(order.astype(np.int32), chance)


@wrong("remembers")
class CountsWhatDidNotRun(ShareRanker):
    """Takes a test that was not run for one that passed."""

    def observe(self, candidates: Candidates, outcomes: Outcomes) -> None:
        """Learn."""
        super().observe(candidates, Outcomes(outcomes.failed & outcomes.ran, duration_s=outcomes.duration_s))


@wrong("learns", "unseen")
class Upside(ShareRanker):
    """Sorts what is likeliest to fail last."""

    def rank(self, candidates: Candidates) -> Ranking:
        """Order."""
        order, chance = super().rank(candidates)
        return Ranking(order[::-1].copy(), chance)


@wrong("unseen")
class EntersStrangers(ShareRanker):
    """Remembers a test as soon as it is ranked."""

    def rank(self, candidates: Candidates) -> Ranking:
        """Order."""
        for name in getattr(candidates, "tests", ()):
            self._rows.setdefault(name, (0, 0, -1, 0.0, 0))
        return super().rank(candidates)


@wrong("offset")
class IgnoresOffset(ShareRanker):
    """Takes no notice of the caller's offset."""

    def rank(self, candidates: Candidates) -> Ranking:
        """Order."""
        return super().rank(
            Candidates(candidates.tests, duration_s=candidates.duration_s, budget_s=candidates.budget_s)
        )


@wrong("given_order")
class ByName(ShareRanker):
    """Orders equal tests by name."""

    def rank(self, candidates: Candidates) -> Ranking:
        """Order."""
        _, chance = super().rank(candidates)
        names = np.argsort(np.array(candidates.tests, np.str_), kind="stable")
        return Ranking(names[np.argsort(-chance[names], kind="stable")], chance)


@wrong("given_order")
class ByPosition(ShareRanker):
    """Thinks the likelier to fail the later it is named."""

    def rank(self, candidates: Candidates) -> Ranking:
        """Order."""
        order, chance = super().rank(candidates)
        return Ranking(order, chance * (1.0 + 1e-9 * np.arange(len(chance))) / 2.0)


@wrong("budget")
class Wasteful(ShareRanker):
    """Takes no notice of durations."""

    def rank(self, candidates: Candidates) -> Ranking:
        """Order."""
        return super().rank(Candidates(candidates.tests, offset=candidates.offset))


@wrong("context", context=True)
class SaysItUsesContext(ShareRanker):
    """Declares that it learns from the context, and does not."""


@wrong("explain")
class AbsoluteParts(ShareRanker):
    """Explains by parts that are relative to nothing."""

    def explain(self, candidates: Candidates) -> Explanation:
        """Return parts."""
        features, parts = super().explain(candidates)
        return Explanation(features, parts + 1.0)


@wrong("seed")
class Clockwork(ShareRanker):
    """Keeps the time of its making."""

    def export_state(self) -> EngineState:
        """Return everything learned."""
        state = super().export_state()
        return EngineState(
            kind=state.kind, manifest={**state.manifest, "at": time.perf_counter_ns()}, arrays=state.arrays
        )


@wrong("reading_changes_nothing")
class CountsRankings(ShareRanker):
    """Keeps how often it was asked."""

    _asked = 0

    def history(self, tests: Sequence[str]) -> TestHistory:
        """Return what is remembered."""
        self._asked += 1
        return super().history(tests)

    def export_state(self) -> EngineState:
        """Return everything learned."""
        state = super().export_state()
        return EngineState(kind=state.kind, manifest={**state.manifest, "asked": self._asked}, arrays=state.arrays)


@wrong("resume")
class ForgetsFailures(ShareRanker):
    """Leaves the runs since the last failure out of its state."""

    def export_state(self) -> EngineState:
        """Return everything learned."""
        state = super().export_state()
        rows = state.arrays["rows"].copy()
        rows[:, 2] = -1
        return EngineState(kind=state.kind, manifest=state.manifest, arrays={"rows": rows})

    def import_state(self, state: EngineState) -> None:
        """Replace everything learned, with one more run of each test."""
        super().import_state(state)
        self._rows = {name: (row[0] + 1, *row[1:]) for name, row in self._rows.items()}


@wrong("state_is_a_copy")
class HandsOutRows(ShareRanker):
    """Exports the array that it imported, and goes on writing to it."""

    _last: EngineState | None = None

    def export_state(self) -> EngineState:
        """Return everything learned."""
        state = super().export_state()
        if self._last is not None and self._last.arrays["rows"].shape == state.arrays["rows"].shape:
            return self._last
        return state

    def import_state(self, state: EngineState) -> None:
        """Replace everything learned."""
        super().import_state(state)
        self._last = state


@wrong("bad_input")
class TakesLists(ShareRanker):
    """Ranks a list of names."""

    def rank(self, candidates: Candidates) -> Ranking:
        """Order."""
        given: Any = candidates
        return super().rank(Candidates(given) if isinstance(given, list) else given)
