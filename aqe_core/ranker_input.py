"""What a ranker is given, checked once and for every backend: the values behind `Candidates` and `Outcomes`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_core.contracts.ranker import Candidates, Outcomes
from aqe_core.errors import DimensionError, InputError, NonFiniteError
from aqe_core.validate import as_outcomes, as_values

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = ["as_candidates", "as_cycle", "as_tests", "candidates", "outcomes"]


def as_tests(tests: Any) -> tuple[str, ...]:
    """Return names of tests as a tuple of texts."""
    if isinstance(tests, (str, bytes)) or not hasattr(tests, "__iter__"):
        raise InputError(f"tests are {tests!r:.60}, but must be a list of names.", fix="pass e.g. ['test_a'].")
    names = tuple(tests)
    if set(map(type, names)) <= {str}:
        return names  # the usual case
    for where, name in enumerate(names):
        if not isinstance(name, str):
            raise InputError(f"tests[{where}] is {name!r:.60}, but must be a str.", fix="pass names of tests.")
    return names


def candidates(
    tests: Sequence[str],
    duration_s: ArrayLike | None,
    context: Mapping[str, ArrayLike] | None,
    offset: ArrayLike | None,
    budget_s: float | None,
) -> dict[str, Any]:
    """Return the fields of `aqe_core.contracts.Candidates`."""
    names = as_tests(tests)
    n = len(names)
    if len(set(names)) != n:
        seen: set[str] = set()
        twice = next(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]  # None is false
        raise InputError(f"the test {twice!r:.80} is given twice.", fix="give each test once.")
    return {
        "tests": names,
        "duration_s": _as_durations(duration_s, n),
        "context": {
            _as_name(name): _aligned(column, f"context {name!r}", n) for name, column in (context or {}).items()
        },
        "offset": _kept(np.zeros(n)) if offset is None else _aligned(offset, "offset", n),
        "budget_s": _as_budget(budget_s),
    }


def outcomes(failed: ArrayLike, ran: ArrayLike | None, duration_s: ArrayLike | None) -> dict[str, Any]:
    """Return the fields of `aqe_core.contracts.Outcomes`."""
    verdict = as_outcomes(failed)
    n = len(verdict)
    return {
        "failed": verdict,
        "ran": np.ones(n, np.bool_) if ran is None else as_outcomes(ran, "ran", n),
        "duration_s": _as_durations(duration_s, n),
    }


def as_candidates(given: Any) -> Candidates:
    """Return what was given if it is a `Candidates`."""
    if not isinstance(given, Candidates):
        raise InputError(f"candidates are {given!r:.60}.", fix="pass aqe_core.contracts.Candidates(tests).")
    return given


def as_cycle(given: Any, results: Any) -> tuple[Candidates, Outcomes]:
    """Return candidates and their outcomes if they belong together."""
    checked = as_candidates(given)
    if not isinstance(results, Outcomes):
        raise InputError(f"outcomes are {results!r:.60}.", fix="pass aqe_core.contracts.Outcomes(failed).")
    if len(checked) != len(results):
        raise DimensionError(
            f"there are {len(checked)} candidates, but {len(results)} outcomes.", fix="pass one outcome each."
        )
    return checked, results


def _as_name(name: Any) -> str:
    if not isinstance(name, str) or not name:
        raise InputError(f"the context {name!r:.60} must be named by a text.", fix="name the column.")
    return name


def _aligned(column: ArrayLike, what: str, n: int) -> NDArray[np.float64]:
    values = as_values(column, what)
    if len(values) != n:
        raise DimensionError(f"{what} has {len(values)} items, but there are {n} tests.", fix="pass one per test.")
    return _kept(values.copy())


def _kept(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values that stay as they were checked, so that what was computed from them stays right."""
    values.flags.writeable = False
    return values


def _as_durations(duration_s: ArrayLike | None, n: int) -> NDArray[np.float64]:
    if duration_s is None:
        return _kept(np.full(n, np.nan))
    try:
        values = np.array(duration_s, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"duration_s cannot be read as float64 ({error}).", fix="pass seconds.") from None
    if values.shape != (n,):
        raise DimensionError(
            f"duration_s has shape {values.shape}, but there are {n} tests.", fix="pass one duration per test."
        )
    wrong = np.flatnonzero((values < 0.0) | np.isinf(values))
    if wrong.size:
        raise InputError(
            f"duration_s[{wrong[0]}] is {values[wrong[0]]}, but must be finite and at least 0.",
            fix="pass seconds, or NaN where they are not known.",
        )
    return _kept(values)


def _as_budget(budget_s: Any) -> float:
    if budget_s is None:
        return float("inf")
    if isinstance(budget_s, (bool, np.bool_)) or not isinstance(budget_s, (int, float, np.integer, np.floating)):
        raise InputError(f"budget_s is {budget_s!r:.40}, but must be a number.", fix="pass seconds, or None.")
    value = float(budget_s)
    if np.isnan(value):
        raise NonFiniteError("budget_s is nan.", fix="pass seconds, or None for no limit.")
    if value <= 0.0:
        raise InputError(f"budget_s is {value}, but must be above 0.", fix="pass seconds, or None for no limit.")
    return value
