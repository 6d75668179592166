"""The pairwise ranker in Rust: the rules of the NumPy backend's, and its states."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from aqe_backend_numpy._rank_features import FEATURES
from aqe_backend_numpy._rank_state import Learned, export, restored
from aqe_backend_numpy._rank_table import TestNames, TestTable
from aqe_backend_numpy._rank_weights import Memory
from aqe_backend_numpy.ranker import as_seed, as_strength

from aqe_backend_native._native import RankerCore
from aqe_core.contracts.ranker import Explanation, Ranking, TestHistory
from aqe_core.ranker_input import as_candidates, as_cycle, as_tests

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from aqe_core.contracts.ranker import Candidates, Outcomes
    from aqe_core.state import EngineState

__all__ = ["NativeRanker"]


class NativeRanker:
    """What `aqe_backend_numpy.ranker.NumpyRanker` learns, in Rust: names are kept here, numbers there.

    The pairs that are compared, and the order of every sum that decides between orders, are the same. Logarithms and
    sums are rounded differently: probabilities and parts of explanations agree within 1e-8, and orders are equal
    unless two candidates or two orders are that close. Each reads the states that the other wrote.

    Parameters
    ----------
    seed : int, default 0
        Chooses the pairs that are compared where a cycle has more than 120, in 0 .. 2**64 - 1.
    strength : float, default 5.0
        How many failing cycles' worth of evidence the start weights count, above 0, at most 1e6.

    Notes
    -----
    ``rank`` is O(n) but for two sorts, ``observe`` O(n) plus, in a failing cycle, two Newton steps over at most 2,400
    pairs. Memory: 15 numbers a test. Not safe for use from several threads.
    """

    def __init__(self, *, seed: int = 0, strength: float = 5.0) -> None:
        self._seed, self._strength = as_seed(seed), as_strength(strength)
        self._names, self._context = TestNames(), dict[str, int]()
        self._core = RankerCore()
        self._looked: tuple[Candidates, NDArray[np.int64], NDArray[np.int64]] | None = None

    def __len__(self) -> int:
        return len(self._names.slots)

    def get_params(self) -> dict[str, Any]:
        """Return the parameters it was made with."""
        return {"seed": self._seed, "strength": self._strength}

    def tests(self) -> list[str]:
        """Return the names of all tests ever observed, in the order of their first observation."""
        return list(self._names.slots)

    def history(self, tests: Sequence[str]) -> TestHistory:
        """Return what is remembered of tests; see `aqe_core.contracts.Ranker.history`."""
        slots, _ = self._names.find(as_tests(tests))
        (runs, failures, since), seconds = self._core.history(slots)
        return TestHistory(runs, failures, since, seconds)

    def rank(self, candidates: Candidates) -> Ranking:
        """Order candidates; see `aqe_core.contracts.Ranker.rank`.

        Equal scores keep the order given. Durations that nobody knows count as the median of the known ones.
        """
        self._look(as_candidates(candidates))
        return Ranking(*self._core.rank(candidates.offset, candidates.budget_s))

    def explain(self, candidates: Candidates) -> Explanation:
        """Return what each feature adds; see `aqe_core.contracts.Ranker.explain`."""
        self._look(as_candidates(candidates))
        parts = np.concatenate([self._core.shares(), candidates.offset[:, None]], axis=1)
        if len(parts):
            parts -= parts.mean(axis=0)
        return Explanation((*FEATURES, *self._context, "given"), parts)

    def observe(self, candidates: Candidates, outcomes: Outcomes) -> None:
        """Learn from a cycle; see `aqe_core.contracts.Ranker.observe`."""
        as_cycle(candidates, outcomes)
        if candidates.context.keys() - self._context.keys():
            self._meet(candidates, outcomes)
        slots, canon = self._look(candidates)
        slots = self._names.enter(candidates.tests, slots, canon)
        self._looked = None
        self._core.observe(slots, outcomes.failed, outcomes.ran, outcomes.duration_s, (self._strength, self._seed))

    def export_state(self) -> EngineState:
        """Return everything learned, as ``ranker/pairwise/1``."""
        (rows, tallies, weights), (window, counts), older, (cycles, failing) = self._core.learned()
        table = TestTable()
        table.slots, table.columns = self._names.slots, rows.T
        memory = Memory(window, tuple(counts.tolist()), *older, failing)
        return export(Learned(table, tallies, self._context, weights, memory, cycles), self.get_params())

    def import_state(self, state: EngineState) -> None:
        """Replace everything learned, and the parameters.

        Raises
        ------
        InputError
            It is not a state of this kind; nothing was changed.
        """
        learned, params = restored(state)
        seed, strength = as_seed(params["seed"]), as_strength(params["strength"])
        memory, names = learned.memory, TestNames()
        names.slots = learned.table.slots
        rows = np.ascontiguousarray(learned.table.columns[:, : len(names.slots)].T)
        self._core.resume(
            (rows, learned.tallies, learned.weights),
            (memory.window, list(memory.counts)),
            (memory.curvature, memory.pull, memory.squares),
            (learned.cycles, memory.cycles),
        )
        self._seed, self._strength = seed, strength
        self._names, self._context, self._looked = names, learned.context, None

    def _look(self, candidates: Candidates) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Let the core look at candidates, unless it did last; return their slots and canonical order."""
        if self._looked is not None and self._looked[0] is candidates:
            return self._looked[1:]
        slots, canon = self._names.find(candidates.tests)
        given = candidates.context
        context = [(row, given[name]) for name, row in self._context.items() if name in given]
        self._looked = None
        self._core.look(slots, canon, candidates.duration_s, context)
        self._looked = candidates, slots, canon
        return slots, canon

    def _meet(self, candidates: Candidates, outcomes: Outcomes) -> None:
        """Make room for context that was not seen before, if this cycle teaches anything."""
        failed = outcomes.failed & outcomes.ran
        if failed.any() and not failed.all():
            new = sorted(candidates.context.keys() - self._context.keys())
            self._core.meet(len(new))
            self._context.update({name: len(FEATURES) + len(self._context) + i for i, name in enumerate(new)})
            self._looked = None
