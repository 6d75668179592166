"""What a ranker looks at: features of candidates as rows of a float64 array, from columns of memory.

Every function is elementwise but for sums over the candidates of a cycle, which run in the canonical order.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from aqe_backend_numpy import _rank_table as at

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["FEATURES", "START", "Shares", "features", "persistence", "standardized"]

FEATURES = ("record", "recency", "duration", "new", "never_failed", "last_cycle", "unwatched")
START = np.array([1.0, 0.3, 0.0, 0.0, 0.0, 0.0, 1.0])
"""Weights before anything is learned. Those of the context are 0."""
CORE = len(FEATURES)

_PRIOR_RANGE = (0.02, 0.5)
_SHARE_RANGE = (0.01, 0.99)
_PRIOR_RUNS = 2.0
_QUIET_RUNS = 5.0
_MAX_PERSISTENCE = 0.99
_SMALLEST = 1e-9
_LOG_KEEP = math.log(1.0 - at.RATES[2])


class Shares(NamedTuple):
    """Running shares over all cycles.

    Attributes
    ----------
    failed : float
        Of all runs those that failed.
    new_failed : float
        Of the first runs of tests those that failed.
    persistence : float
        See `persistence`.
    """

    failed: float
    new_failed: float
    persistence: float


def persistence(after_failure: tuple[float, float], after_pass: tuple[float, float]) -> float:
    """Return how much longer than by chance a test stays broken or sound: P(fail | failed) - P(fail | passed).

    The second eigenvalue of the two-state Markov chain of a test's outcomes, from (failures, runs) after each.
    """
    stays = (after_failure[0] + 1.0) / (after_failure[1] + 2.0)
    breaks = (after_pass[0] + 0.1) / (after_pass[1] + 1.0)
    return min(max(stays - breaks, 0.0), _MAX_PERSISTENCE)


def features(table: NDArray[np.float64], duration_s: NDArray[np.float64], shares: Shares) -> NDArray[np.float64]:
    """Return the features, shape (len(FEATURES), n), of candidates with these columns of memory.

    ``record``
        Log-odds of the mean of the exponentially weighted failure shares and the overall one, where what is not yet
        known counts as the share of failures among first runs.
    ``recency``
        Logarithm of the failure share of rate 0.4, over 100: the order of what is long ago.
    ``duration``
        Standardized logarithm of the duration, of tests that have run and not failed in the last 5 runs.
    ``new``, ``never_failed``
        1 for tests that never ran, and for those that ran and never failed.
    ``last_cycle``
        Log-odds of the share of tests that failed in the cycle in which this one last ran, above the usual.
    ``unwatched``
        How much likelier a test that passed has broken in the u cycles since which left it out than in a single one:
        log((1 - r^(u + 1)) / (1 - r)) with the persistence r, of the same Markov chain.
    """
    prior = min(max(shares.new_failed, _PRIOR_RANGE[0]), _PRIOR_RANGE[1])
    usual = min(max(shares.failed, _SHARE_RANGE[0]), _SHARE_RANGE[1])
    runs, failures, since = table[at.RUNS], table[at.FAILURES], table[at.SINCE]
    ran = runs > 0.0
    out = np.empty((CORE, table.shape[1]))

    mean = (failures + _PRIOR_RUNS * prior) / (runs + _PRIOR_RUNS)
    for i in range(at.N_RATES):
        mean += table[i] + table[at.UNTOUCHED + i] * prior
    mean /= at.N_RATES + 1
    mean = np.minimum(np.maximum(mean, _SMALLEST), 1.0 - _SMALLEST)
    np.log(mean / (1.0 - mean), out=out[0])
    np.logaddexp(table[at.LOG_RECENT], runs * _LOG_KEEP + math.log(prior), out=out[1])
    out[1] /= 100.0

    quiet = ran & (since >= np.minimum(_QUIET_RUNS, runs))
    np.multiply(standardized(np.log(np.maximum(duration_s, 1e-6))), quiet, out=out[2])
    np.logical_not(ran, out=out[3], casting="unsafe")
    np.logical_and(ran, failures == 0.0, out=out[4], casting="unsafe")

    share = np.where(ran, np.minimum(np.maximum(table[at.SHARE], _SHARE_RANGE[0]), _SHARE_RANGE[1]), usual)
    np.log(share / (1.0 - share), out=out[5])
    out[5] -= np.log(usual / (1.0 - usual))
    out[6] = 0.0
    left_out = (ran & (since > 0.0) & (table[at.UNSEEN] > 0.0)).nonzero()[0]
    if left_out.size:  # of the others it is log(1)
        stay = shares.persistence
        unseen = table[at.UNSEEN, left_out]
        out[6, left_out] = np.log((1.0 - stay ** (unseen + 1.0)) / (1.0 - stay))
    return out


def standardized(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values less their mean, over their standard deviation; zeros where they are all but equal."""
    n = len(values)
    if not n:
        return values
    centred = values - float(values.sum()) / n
    spread = math.sqrt(float((centred * centred).sum()) / n)
    return centred / spread if spread > _SMALLEST else np.zeros_like(values)
