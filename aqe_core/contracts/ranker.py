"""The Ranker contract: which of these tests to run first, learned from the runs before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from aqe_core.state import EngineState

__all__ = ["Candidates", "Explanation", "Outcomes", "Ranker", "Ranking", "TestHistory"]


@attrs.frozen(kw_only=True, eq=False, init=False)
class Candidates:
    """The tests of one cycle, with what is known before it runs. Checked when it is made, so that no engine need.

    Arrays are copied and read-only: ranking and then observing the same object spares an engine half of the work.

    Parameters
    ----------
    tests : sequence of str
        Names, each once.
    duration_s : array of float64, shape (n,), optional
        How long each is expected to run; NaN where the ranker's own memory is to be taken. At least 0.
    context : mapping of str to array of float64, shape (n,), optional
        Anything else that is known of each test, by name; finite.
    offset : array of float64, shape (n,), optional
        What the caller knows already, as log-odds that are added to what was learned; finite.
    budget_s : float, optional
        How long the cycle may take; tests that do not fit are skipped. Above 0; no limit when absent.

    Raises
    ------
    InputError
        A name is no text or comes twice, or a number is out of range.
    DimensionError
        The lengths differ.
    NonFiniteError
        A number is NaN or infinite where it may not be.

    Attributes
    ----------
    tests : tuple of str
    duration_s : ndarray of float64, shape (n,)
    context : dict of str to ndarray of float64, shape (n,)
    offset : ndarray of float64, shape (n,)
    budget_s : float
        Infinity for no limit.
    """

    tests: tuple[str, ...]
    duration_s: NDArray[np.float64]
    context: dict[str, NDArray[np.float64]]
    offset: NDArray[np.float64]
    budget_s: float

    def __init__(
        self,
        tests: Sequence[str],
        *,
        duration_s: ArrayLike | None = None,
        context: Mapping[str, ArrayLike] | None = None,
        offset: ArrayLike | None = None,
        budget_s: float | None = None,
    ) -> None:
        from aqe_core import ranker_input  # brings numpy, which reading the contracts does not need

        self.__attrs_init__(**ranker_input.candidates(tests, duration_s, context, offset, budget_s))

    def __len__(self) -> int:
        return len(self.tests)


@attrs.frozen(kw_only=True, eq=False, init=False)
class Outcomes:
    """What came of the candidates of one cycle. Checked when it is made.

    Parameters
    ----------
    failed : array of bool, shape (n,)
        Aligned with `Candidates.tests`.
    ran : array of bool, shape (n,), optional
        Which were run; all when absent. Nothing is learned about the others but that they were not looked at.
    duration_s : array of float64, shape (n,), optional
        How long each ran; NaN where unknown. At least 0.

    Raises
    ------
    InputError, DimensionError, NonFiniteError
        As for `Candidates`.
    """

    failed: NDArray[np.bool_]
    ran: NDArray[np.bool_]
    duration_s: NDArray[np.float64]

    def __init__(self, failed: ArrayLike, *, ran: ArrayLike | None = None, duration_s: ArrayLike | None = None) -> None:
        from aqe_core import ranker_input  # as above

        self.__attrs_init__(**ranker_input.outcomes(failed, ran, duration_s))

    def __len__(self) -> int:
        return len(self.failed)


class Ranking(NamedTuple):
    """An order of candidates.

    Attributes
    ----------
    order : ndarray of int64, shape (n,)
        Indexes into the candidates, first to run first.
    probability : ndarray of float64, shape (n,)
        Of each candidate (not in the order of running): about the chance that it fails, in 0 .. 1.
    """

    order: NDArray[np.int64]
    probability: NDArray[np.float64]


class Explanation(NamedTuple):
    """Why candidates have their places.

    Attributes
    ----------
    features : tuple of str
        Names of what was looked at.
    parts : ndarray of float64, shape (n, len(features))
        What each feature adds to the log-odds of failing, relative to the mean of these candidates.
    """

    features: tuple[str, ...]
    parts: NDArray[np.float64]


class TestHistory(NamedTuple):
    """What a ranker remembers of tests, one row each; zeros for a test that it never saw run.

    Attributes
    ----------
    runs, failures : ndarray of int64, shape (n,)
    since_failure : ndarray of int64, shape (n,)
        Runs after the last failure; -1 if it never failed.
    duration_s : ndarray of float64, shape (n,)
        Recent mean; NaN if it never ran with a known duration.
    """

    runs: NDArray[np.int64]
    failures: NDArray[np.int64]
    since_failure: NDArray[np.int64]
    duration_s: NDArray[np.float64]


@runtime_checkable
class Ranker(Protocol):
    """An order of tests by what running them first is expected to find, learned cycle by cycle.

    Made by a factory ``factory(*, seed: int = 0, **options)``. Rules that every ranker keeps:

    - ``rank``, ``explain`` and ``history`` change nothing.
    - The same seed and the same calls give the same ranker, bit for bit.
    - The order in which candidates are given decides only between candidates that are equal otherwise.
    - A test never seen is ranked like any other.
    - A call that raises has changed nothing.

    Methods need not be safe for use from several threads at once.
    """

    def __len__(self) -> int:
        """Return the number of tests ever observed, run or not. O(1)."""
        ...

    def get_params(self) -> dict[str, Any]:
        """Return the parameters it was made with, defaults included."""
        ...

    def tests(self) -> list[str]:
        """Return the names of all tests ever observed, in the order of their first observation."""
        ...

    def history(self, tests: Sequence[str]) -> TestHistory:
        """Return what is remembered of tests.

        Raises
        ------
        InputError
            A name is no text.
        """
        ...

    def rank(self, candidates: Candidates) -> Ranking:
        """Order candidates.

        With a budget the order is meant for running each test that still fits, and it makes what the budget finds
        large; a test that is likely to fail may then come after cheaper ones.

        Raises
        ------
        InputError
            It is no `Candidates`.
        """
        ...

    def explain(self, candidates: Candidates) -> Explanation:
        """Return what each feature adds to the log-odds of each candidate.

        Raises
        ------
        InputError
            It is no `Candidates`.
        """
        ...

    def observe(self, candidates: Candidates, outcomes: Outcomes) -> None:
        """Learn from a cycle.

        Raises
        ------
        InputError
            It is no `Candidates` or no `Outcomes`.
        DimensionError
            The lengths differ.
        """
        ...

    def export_state(self) -> EngineState:
        """Return everything learned, so that ``import_state`` continues bit for bit."""
        ...

    def import_state(self, state: EngineState) -> None:
        """Replace everything learned, and the parameters, by those of an exported state.

        Raises
        ------
        InputError
            It is not a state of this kind of ranker; nothing was changed.
        """
        ...
