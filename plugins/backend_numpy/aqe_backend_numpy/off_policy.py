"""What another policy would have earned, estimated from a log of what one policy did.

A log has, per decision, the context, the action taken, its reward, and its *propensity*: the probability with which the
logging policy took that action there. Without honest propensities no estimate here is right; so log what
``probabilities`` of a learner or bandit says before it acts.

The estimators, with ``w = target / propensity`` per decision (Horvitz and Thompson 1952; Swaminathan and Joachims 2015;
Dudik, Langford and Li 2011), all O(n):

- `ips`: mean of ``w r``. Unbiased; its variance grows with the weights.
- `snips`: sum of ``w r`` over sum of ``w``. A small bias for less variance; stays within the range of the rewards.
- `dr`: mean of ``q(x, pi) + w (r - q(x, a))`` for a model ``q`` of rewards. Unbiased if the propensities *or* the model
  are right, and of less variance than `ips` where the model is any good.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from aqe_core.errors import DimensionError, InputError
from aqe_core.validate import as_contexts, as_groups, as_values

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Estimate", "dr", "ips", "reward_model", "snips"]

_Z95 = 1.959963984540054


@attrs.frozen(kw_only=True)
class Estimate:
    """An estimated mean reward per decision.

    Attributes
    ----------
    value : float
    standard_error : float
        Of the mean, from the sample (for `snips` by the delta method); NaN for a single decision.
    low, high : float
        Ends of the normal 95 % interval.
    n : int
        Number of decisions.
    effective_n : float
        ``(sum of w)**2 / sum of w**2``: as many decisions of the target policy itself would tell about as much; 0 if
        it would have taken none of the logged actions.
    mean_weight : float
        Near 1 where the propensities are right: far from 1 (by several ``mean_weight_error``) they are wrong.
    mean_weight_error : float
        Standard error of that mean.
    max_weight : float
    """

    value: float
    standard_error: float
    low: float
    high: float
    n: int
    effective_n: float
    mean_weight: float
    mean_weight_error: float
    max_weight: float


def ips(rewards: ArrayLike, propensities: ArrayLike, target: ArrayLike, *, max_weight: float = math.inf) -> Estimate:
    """Estimate by inverse propensity scores.

    Parameters
    ----------
    rewards : array of float64, shape (n,)
        What the logged actions earned.
    propensities : array of float64, shape (n,)
        With what probability they were taken, above 0, at most 1.
    target : array of float64, shape (n,)
        With what probability the policy in question would have taken them, 0 .. 1.
    max_weight : float
        Larger weights are cut down to it: less variance, and a bias towards 0.

    Raises
    ------
    DimensionError, NonFiniteError, InputError
        Nothing was logged, the lengths differ, or a probability is out of range.

    Examples
    --------
    >>> ips([1.0, 0.0], [0.5, 0.5], [1.0, 0.0]).value
    1.0
    """
    gains, weights = _weighted(rewards, propensities, target, max_weight)
    return _estimate(weights * gains, weights)


def snips(rewards: ArrayLike, propensities: ArrayLike, target: ArrayLike, *, max_weight: float = math.inf) -> Estimate:
    """Estimate by self-normalized inverse propensity scores; parameters and errors as `ips`.

    Raises
    ------
    InputError
        Also where the policy in question would have taken none of the logged actions.
    """
    gains, weights = _weighted(rewards, propensities, target, max_weight)
    shares = _scaled(weights)
    total = float(shares.sum())
    if total == 0.0:
        raise InputError(
            "the policy would have taken none of the logged actions.", fix="log more, or a policy that explores more."
        )
    value = float(shares @ gains) / total
    # The delta method: the ratio of two means, to first order.
    residuals = shares * (gains - value) * (len(gains) / total)
    found = _estimate(residuals, weights)
    error = found.standard_error
    return attrs.evolve(found, value=value, low=value - _Z95 * error, high=value + _Z95 * error)


def dr(
    rewards: ArrayLike,
    propensities: ArrayLike,
    target: ArrayLike,
    predicted: ArrayLike,
    predicted_target: ArrayLike,
    *,
    max_weight: float = math.inf,
) -> Estimate:
    """Estimate doubly robustly.

    Parameters
    ----------
    rewards, propensities, target, max_weight
        As `ips`.
    predicted : array of float64, shape (n,)
        The model's reward of the logged action. The model must not have learned from the same decision
        (`reward_model` sees to that).
    predicted_target : array of float64, shape (n,)
        The model's reward averaged over the policy in question: the sum of its probabilities times predictions.

    Raises
    ------
    DimensionError, NonFiniteError, InputError
        As `ips`.
    """
    gains, weights = _weighted(rewards, propensities, target, max_weight)
    model, ahead = (_column(each, name, len(gains)) for each, name in _named(predicted, predicted_target))
    return _estimate(ahead + weights * (gains - model), weights)


def reward_model(
    contexts: ArrayLike,
    actions: ArrayLike,
    rewards: ArrayLike,
    n_actions: int,
    *,
    ridge: float = 1.0,
    folds: int = 5,
) -> NDArray[np.float64]:
    """Return the predicted reward of every action in every logged context, shape (n, n_actions).

    One ridge regression with an intercept per action and fold, each decision predicted by a model that did not see it
    (cross-fitting: decision ``i`` is in fold ``i % folds``). O(n dim**2 + n_actions folds dim**3).

    Parameters
    ----------
    contexts : array of float64, shape (n, dim)
    actions : array of int, shape (n,)
        Number of the action taken, 0 .. n_actions - 1.
    rewards : array of float64, shape (n,)
    n_actions : int
    ridge : float
        Weight of the penalty, above 0; the intercept is not penalized, and predicts the mean reward where an action
        was never taken.
    folds : int
        2 .. n.

    Raises
    ------
    DimensionError, NonFiniteError, InputError
        The columns do not fit, or ``ridge`` or ``folds`` is out of range.
    """
    gains = as_values(rewards, "rewards")
    n = len(gains)
    rows = _rows(contexts, n)
    chosen, count = as_groups(actions, n, n_actions)
    if not (math.isfinite(ridge) and ridge > 0.0) or not 2 <= folds <= n:
        raise InputError(
            f"ridge is {ridge!r} and folds are {folds!r} for {n} decisions.", fix="let ridge > 0 and 2 <= folds <= n."
        )
    fold = np.arange(n) % folds
    out = np.empty((n, count))
    for one in range(folds):
        inside, outside = fold == one, fold != one
        for action in range(count):
            seen = outside & (chosen == action)
            out[inside, action] = _fitted(rows[seen], gains[seen], gains[outside], ridge, rows[inside])
    return out


def _fitted(
    rows: NDArray[np.float64],
    gains: NDArray[np.float64],
    others: NDArray[np.float64],
    ridge: float,
    asked: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return ridge predictions for the asked rows; the mean of the others' rewards where nothing was seen."""
    if not len(rows):
        return np.full(len(asked), others.mean())
    centre, mean = rows.mean(axis=0), gains.mean()
    deviations = rows - centre
    gram = deviations.T @ deviations + ridge * np.eye(rows.shape[1])
    slopes = np.linalg.solve(gram, deviations.T @ (gains - mean))
    predictions: NDArray[np.float64] = mean + (asked - centre) @ slopes
    return predictions


def _rows(contexts: ArrayLike, n: int) -> NDArray[np.float64]:
    shape = np.shape(contexts)
    if len(shape) != 2 or shape[0] != n:
        raise DimensionError(
            f"contexts have shape {shape}, but must have shape ({n}, dim).", fix="pass one per reward."
        )
    return as_contexts(contexts, shape[1])


def _named(predicted: ArrayLike, predicted_target: ArrayLike) -> tuple[tuple[ArrayLike, str], ...]:
    return (predicted, "predicted"), (predicted_target, "predicted_target")


def _column(values: Any, what: str, n: int) -> NDArray[np.float64]:
    array = as_values(values, what)
    if len(array) != n:
        raise DimensionError(f"there are {n} rewards, but {len(array)} {what}.", fix="pass one of each per decision.")
    return array


def _weighted(
    rewards: ArrayLike, propensities: ArrayLike, target: ArrayLike, max_weight: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return rewards and weights, checked."""
    gains = as_values(rewards, "rewards")
    if not len(gains):
        raise InputError("the log is empty.", fix="log at least one decision.")
    logged, wanted = _column(propensities, "propensities", len(gains)), _column(target, "target", len(gains))
    for name, shares, low in (("propensities", logged, logged > 0.0), ("target", wanted, wanted >= 0.0)):
        wrong = np.flatnonzero(~(low & (shares <= 1.0)))
        if wrong.size:
            least = "above 0" if name == "propensities" else "at least 0"
            raise InputError(
                f"{name}[{wrong[0]}] is {shares[wrong[0]]}, but must be {least} and at most 1.",
                fix="log the probability with which the action was taken.",
            )
    if not max_weight > 0.0:
        raise InputError(f"max_weight is {max_weight!r}, but must be above 0.", fix="pass e.g. max_weight=100.")
    with np.errstate(over="ignore"):  # a propensity next to zero; the limit below, or the check, sees it
        weights = np.minimum(wanted / logged, max_weight)
    if not np.isfinite(weights).all():
        raise InputError("a propensity is too small to divide by.", fix="pass max_weight.")
    return gains, weights


def _scaled(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return weights as parts of the largest: ratios of their sums are the same, and none of those underflows."""
    largest = weights.max()
    return weights / largest if largest > 0.0 else weights


def _estimate(terms: NDArray[np.float64], weights: NDArray[np.float64]) -> Estimate:
    """Return the mean of the terms with its spread, and what the weights tell."""
    n = len(terms)
    value = float(terms.mean())
    error = float(terms.std(ddof=1)) / math.sqrt(n) if n > 1 else math.nan
    shares = _scaled(weights)
    total, squares = float(shares.sum()), float(shares @ shares)
    return Estimate(
        value=value,
        standard_error=error,
        low=value - _Z95 * error,
        high=value + _Z95 * error,
        n=n,
        effective_n=total * total / squares if squares else 0.0,
        mean_weight=float(weights.mean()),
        mean_weight_error=float(weights.std(ddof=1)) / math.sqrt(n) if n > 1 else math.nan,
        max_weight=float(weights.max()),
    )
