"""What outside evaluators call: the only place that knows their interfaces. Everything is imported when it is used."""

from __future__ import annotations

from typing import Any

# -- test ranking: an evaluator with CycleView (tests, duration, features) and Feedback (verdict, duration)

BUDGET = 0.5
"""Share of a cycle's time that the evaluator's official protocol allows."""


class _EvaluatedRanker:
    """The built-in ranker behind ``rank(view)`` and ``observe(view, feedback)``."""

    def __init__(self, seed: int) -> None:
        import aqe_core

        self._ranker = aqe_core.open_ranker("numpy", seed=seed)

    @staticmethod
    def _candidates(view: Any) -> Any:
        from aqe_core.contracts import Candidates

        budget_s = BUDGET * float(view.duration.sum())
        return Candidates(
            view.tests, duration_s=view.duration, context=view.features, budget_s=budget_s if budget_s > 0.0 else None
        )

    def rank(self, view: Any) -> Any:
        """Return item indices, first to run first."""
        return self._ranker.rank(self._candidates(view)).order

    def observe(self, view: Any, feedback: Any) -> None:
        """Learn from verdicts: 1 failed, 0 passed, -1 not executed."""
        from aqe_core.contracts import Outcomes

        outcomes = Outcomes(feedback.verdict == 1, ran=feedback.verdict >= 0, duration_s=feedback.duration)
        self._ranker.observe(self._candidates(view), outcomes)


def make_ranker(seed: int) -> _EvaluatedRanker:
    """Return a fresh ranker for a prequential evaluator of test prioritization."""
    return _EvaluatedRanker(seed)
