"""Which strategy fits a situation: recommended from outcomes, with how sure that is and why, as ``ws.strategies``.

Each pair of situation and action keeps an exponentially weighted mean and variance of its outcomes, in rows of a
durable learner (`aqe_core.learning`): the learner's value is the mean, a second row holds the variance. Two rows of a
pseudo-situation hold the same of each action over all situations, and of everything.

What is believed of a pair is a Student distribution. What is known of the action over all situations is its prior, and
counts as one more outcome; what is known of everything is the prior of that. So a situation never seen is answered
from all the others, as uncertainly as outcomes vary.

Sources
-------
Mean and variance by increments: West, *Updating mean and variance estimates* (1979). Effective number of weighted
outcomes: Kish, *Survey Sampling* (1965). Posterior: Gelman et al., *Bayesian Data Analysis*, section 3.3 (normal data,
conjugate prior). Drawing actions by their probability to be the best: Thompson (1933).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from threading import RLock
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs
import numpy as np

from aqe_core.contracts.learner import InspectableLearner
from aqe_core.encoding import mapping_key
from aqe_core.errors import CapabilityError, ConfigError, InputError, InvalidActionError, NonFiniteError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from aqe_core.learning import DurableLearner
    from aqe_core.workspace import Workspace

__all__ = ["Alternative", "Recommendation", "Strategies"]

_LEARNER = "strategies"
_LEARNING_RATE = 0.05
_VALUE_LEARNERS = ("q-learning", "sarsa", "expected-sarsa")
_MAX_KEY = 4096
_MAX_ACTIONS = 1000
_MAX_REWARD = 1e100  # its square is finite
_DRAWS = 4096
_PRIOR_DEGREES = 3.0  # what the prior's variance counts
_MEAN, _SPREAD, _ANY = "mean", "spread", ""
_UPDATES = 6  # of the learner per outcome: mean and spread of three rows


@attrs.frozen(kw_only=True)
class Alternative:
    """Another offered action.

    Attributes
    ----------
    action : str
    confidence : float
        Probability that it is the best of those offered.
    value : float
        What it is believed to bring.
    visits : int
        Outcomes seen in this situation.
    age : int or None
        Outcomes learned since the last of them, whatever of; None where there is none, or where it is unknown.
    """

    action: str
    confidence: float
    value: float
    visits: int
    age: int | None


@attrs.frozen(kw_only=True)
class Recommendation:
    """What to do, how sure that is, and why.

    Attributes
    ----------
    action : str
    confidence : float
        Probability, given what was learned, that no other offered action is better; below 1, and 0 when learning is
        switched off.
    value : float
        The outcome it is believed to bring, in units of the rewards.
    visits : int
        Outcomes of this action seen in this situation.
    age : int or None
        Outcomes learned since the last of them, whatever of; None where there is none, or where it is unknown.
    alternatives : tuple of Alternative
        The next best, at most three, by descending value.
    reasoning : str
        The same in a sentence or two.
    explored : bool
        It was drawn to learn more; another has the highest value.
    situation : str
        Key of the situation.
    """

    action: str
    confidence: float
    value: float
    visits: int
    age: int | None
    alternatives: tuple[Alternative, ...]
    reasoning: str
    explored: bool
    situation: str


class _Row(NamedTuple):
    """Outcomes of one row: how many, how long ago, how many equal weights they are worth, weighted mean, variance."""

    visits: int
    age: int | None
    worth: float
    mean: float
    variance: float


class _Belief(NamedTuple):
    """A Student distribution of a mean: its centre, squared scale, degrees of freedom; and the outcomes' variance."""

    mean: float
    scale2: float
    degrees: float
    variance: float

    def updated(self, row: _Row) -> _Belief:
        """Return what is believed after a row, of which this is the prior, as good as one outcome."""
        n, total = row.worth, row.worth + 1.0
        squares = _PRIOR_DEGREES * self.variance + n * row.variance + n / total * (row.mean - self.mean) ** 2
        degrees = _PRIOR_DEGREES + n
        variance = squares / degrees
        return _Belief((self.mean + n * row.mean) / total, variance / total, degrees, variance)


class Strategies:
    """Recommends actions in situations and learns from their outcomes, as ``ws.strategies``.

    Parameters
    ----------
    workspace : Workspace

    Notes
    -----
    Thread-safe. What is learned is kept by ``ws.learner("strategies")``: Q-learning with learning rate 0.05 unless
    ``learner.options`` says otherwise, so that about the last 40 outcomes of a pair count. ``learning.enabled = false``
    or ``AQE_NO_LEARNING=1`` switches everything off.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._ws = workspace
        self._key: Callable[[Mapping[str, Any]], str] = mapping_key
        self._lock = RLock()
        self._learner: DurableLearner | None = None
        self._rate, self._initial = _LEARNING_RATE, 0.0
        self._generator = np.random.default_rng(0)

    @property
    def enabled(self) -> bool:
        """Whether anything is recommended by what was learned, and learned."""
        config = self._ws.config
        return bool(config.get("learning.enabled").value) and not config.switch("AQE_NO_LEARNING")

    def keyed_by(self, key: Callable[[Mapping[str, Any]], str]) -> Strategies:
        """Return the same strategies with other keys of mappings.

        Parameters
        ----------
        key : callable
            From a mapping to text: ``Encoding(...).key`` counts near numbers as one, `ancestor_state_key` makes the
            keys of agentic-qe. By default `aqe_core.encoding.mapping_key`.
        """
        other = Strategies(self._ws)
        other._lock, other._key = self._lock, key
        return other

    # -- recommending -----------------------------------------------------------------------------------------------

    def recommend(
        self, situation: Mapping[str, Any] | str, actions: Sequence[str], *, explore: bool = False
    ) -> Recommendation:
        """Recommend one of the offered actions. O(actions).

        Parameters
        ----------
        situation : mapping or str
            What is known of the task; a text is its own key.
        actions : sequence of str
            What can be done: 1 .. 1,000 distinct names.
        explore : bool
            Draw an action by its probability to be the best (Thompson), so that what is uncertain gets tried. Without
            it the one of the highest value is recommended, of equal ones the first offered.

        Returns
        -------
        Recommendation

        Raises
        ------
        InvalidActionError
            Nothing was offered, or an action twice, or something that is no name.
        InputError
            The situation is neither text nor a mapping with a key.
        CapabilityError, ConfigError
            The configured learner tells no visits, or keeps no values.
        """
        offered = _offered(actions)
        key = self._key_of(situation)
        if not self.enabled:
            return Recommendation(
                action=offered[0],
                confidence=0.0,
                value=0.0,
                visits=0,
                age=None,
                alternatives=(),
                reasoning=f"Learning is switched off: {offered[0]!r} is the first that was offered.",
                explored=False,
                situation=key,
            )
        with self._lock:
            everything = _Belief(0.0, 0.0, _PRIOR_DEGREES, 0.0).updated(self._row("", _ANY))
            general = {action: self._row("", action) for action in offered}
            own = {action: self._row(key, action) for action in offered}
            beliefs = [_believed(everything, general[action], own[action]) for action in offered]
            shares = _best_shares(beliefs)
            best = max(range(len(offered)), key=lambda i: beliefs[i].mean)
            chosen = int(self._generator.choice(len(offered), p=shares)) if explore else best
        ranked = sorted(range(len(offered)), key=lambda i: -beliefs[i].mean)
        told = [
            Alternative(
                action=offered[i],
                confidence=float(shares[i]),
                value=beliefs[i].mean,
                visits=own[offered[i]].visits,
                age=own[offered[i]].age,
            )
            for i in [chosen, *(i for i in ranked if i != chosen)]
        ]
        seen_elsewhere = general[offered[chosen]].visits
        return Recommendation(
            **attrs.asdict(told[0]),
            alternatives=tuple(told[1:4]),
            reasoning=_reasoning(told, seen_elsewhere, own, offered[best]),
            explored=chosen != best,
            situation=key,
        )

    # -- learning ---------------------------------------------------------------------------------------------------

    def learn(
        self,
        situation: Mapping[str, Any] | str | Recommendation,
        action: str | None = None,
        *,
        reward: float,
        next_situation: Mapping[str, Any] | str | None = None,
    ) -> None:
        """Learn what an action brought. Does nothing while learning is switched off.

        Parameters
        ----------
        situation : mapping, str or Recommendation
            Where it was done.
        action : str, optional
            What was done; that of the recommendation when absent.
        reward : float
            How well it went, larger is better: at most 1e100 in magnitude.
        next_situation : mapping or str, optional
            Where it led, if more is to come: its value counts too, discounted. Without it the outcome is final.

        Raises
        ------
        NonFiniteError, InputError, InvalidActionError
            Bad input; nothing was learned.
        ReadOnlyError, StorageError
            As `aqe_core.learning.DurableLearner.update`.
        """
        if isinstance(situation, Recommendation):
            key, action = situation.situation, situation.action if action is None else action
        else:
            key = self._key_of(situation)
        (action,) = _offered([action])
        outcome = _reward(reward)
        following = None if next_situation is None else self._key_of(next_situation)
        if not self.enabled:
            return
        with self._lock:
            target = self._observe(key, action, outcome, following)
            self._observe("", action, target)
            self._observe("", _ANY, target)

    def _observe(self, key: str, action: str, reward: float, following: str | None = None) -> float:
        """Bring an outcome into a row; return it, with the value of what follows."""
        learner = self._values()
        before = self._row(key, action)
        value = learner.value(_name(_MEAN, key), action)
        if following is None:
            target = reward
            learner.update(_name(_MEAN, key), action, reward, _name(_MEAN, key), done=True)
        else:
            learner.update(_name(_MEAN, key), action, reward, _name(_MEAN, following))
            target = value + (learner.value(_name(_MEAN, key), action) - value) / self._rate
        after = self._row(key, action)
        deviation = (target - before.mean) * (target - after.mean) if before.visits else 0.0
        learner.update(_name(_SPREAD, key), action, deviation, _name(_SPREAD, key), done=True)
        return target

    def _row(self, key: str, action: str) -> _Row:
        """Return what a row says; weights fall by ``1 - learning_rate`` per outcome, and are undone here."""
        learner = self._values()
        engine: Any = learner.engine
        kept, initial = 1.0 - self._rate, self._initial

        def average(what: str) -> tuple[int, float]:
            name = _name(what, key)
            visits = engine.visits(name, action)
            rest = kept**visits
            return visits, (learner.value(name, action) - rest * initial) / (1.0 - rest) if rest < 1.0 else 0.0

        visits, mean = average(_MEAN)
        rest = kept**visits
        worth = (1.0 - rest) / (1.0 + rest) * (1.0 + kept) / (1.0 - kept) if rest < 1.0 else 0.0
        last = engine.last_update(_name(_SPREAD, key), action)  # the later of the two of an outcome
        age = (engine.steps - last) // _UPDATES if last else None
        return _Row(visits, age, worth, mean, max(average(_SPREAD)[1], 0.0))

    def _values(self) -> DurableLearner:
        """Return the learner, once it is one that keeps values and counts."""
        if self._learner is None:
            learner = self._ws.learner(_LEARNER, algorithm="q-learning", learning_rate=_LEARNING_RATE, epsilon=0.0)
            if not isinstance(learner.engine, InspectableLearner):
                raise CapabilityError(
                    "the configured learner does not tell visits, which strategies need.",
                    fix="choose one with the capability 'inspectable'; `aqe backends` shows them.",
                )
            if learner.engine.algorithm not in _VALUE_LEARNERS:
                raise ConfigError(
                    f"strategies need values, but learner.options.algorithm is {learner.engine.algorithm!r}.",
                    fix=f"choose one of {', '.join(_VALUE_LEARNERS)}.",
                )
            self._learner = learner
            params = learner.engine.get_params()  # slow, and what is stored was learned with these
            self._rate, self._initial, seed = params["learning_rate"], params["initial_value"], params["seed"] or 0
            visits = learner.engine.visits(_name(_MEAN, ""), _ANY)
            self._generator = np.random.default_rng([int(seed), visits])  # after a restart it draws other ones
        return self._learner

    def _key_of(self, situation: Mapping[str, Any] | str) -> str:
        if isinstance(situation, Mapping):
            try:
                key: Any = self._key(situation)
            except InputError:
                raise
            except (KeyError, TypeError, ValueError, ArithmeticError) as error:
                raise InputError(
                    f"the situation has no key: {type(error).__name__}: {error}.",
                    fix="pass what its encoding asks for.",
                ) from error
        else:
            key = situation
        if not isinstance(key, str) or not 0 < len(key) <= _MAX_KEY:
            raise InputError(
                f"the situation is {type(situation).__name__} with a key of "
                f"{len(key) if isinstance(key, str) else 'no'} characters.",
                fix=f"pass a mapping, or a text of 1 .. {_MAX_KEY} characters.",
            )
        return key


def _name(what: str, key: str) -> str:
    """Return a row's name; an empty key is that of all situations."""
    return f"{what}:{key}" if key else what


def _offered(actions: Any) -> list[str]:
    listed = list(actions) if isinstance(actions, Sequence) and not isinstance(actions, (str, bytes)) else []
    if not 1 <= len(listed) <= _MAX_ACTIONS or not all(isinstance(a, str) and 0 < len(a) <= _MAX_KEY for a in listed):
        raise InvalidActionError(
            f"the actions are {str(actions)[:100]!r}.",
            fix=f"offer 1 .. {_MAX_ACTIONS} names, each a text of 1 .. {_MAX_KEY} characters.",
        )
    if len(set(listed)) < len(listed):
        raise InvalidActionError("an action is offered twice.", fix="offer each once.")
    return listed


def _reward(reward: Any) -> float:
    if not isinstance(reward, (int, float, np.integer, np.floating)):
        raise InputError(f"the reward is {reward!r}, but must be a number.", fix="pass a finite number.")
    if isinstance(reward, (float, np.floating)) and not math.isfinite(reward):
        raise NonFiniteError(f"the reward is {reward}.", fix="pass a finite number.")
    if not -_MAX_REWARD <= reward <= _MAX_REWARD:
        raise InputError("the reward is too large.", fix=f"scale rewards to at most {_MAX_REWARD:g}.")
    return float(reward)


def _believed(everything: _Belief, general: _Row, own: _Row) -> _Belief:
    """Return what is believed of an action here; outcomes that were all seen here are no prior for themselves."""
    return (everything if general.visits == own.visits else everything.updated(general)).updated(own)


def _best_shares(beliefs: Sequence[_Belief]) -> NDArray[np.float64]:
    """Return the probability of each mean to be the largest, shape (n,), of sum 1.

    Estimated from 4,096 draws of a generator of its own, to within 0.016 (two standard errors); equal draws share, and
    each action counts as the best once more, so that none is certain or impossible.
    """
    mean, scale2, degrees, _ = (np.array(column) for column in zip(*beliefs, strict=True))
    draws = np.random.default_rng(0).standard_t(degrees, (_DRAWS, len(beliefs))) * np.sqrt(scale2) + mean
    best = draws == draws.max(axis=1, keepdims=True)
    wins: NDArray[np.float64] = (best / best.sum(axis=1, keepdims=True)).sum(axis=0) + 1.0
    shares: NDArray[np.float64] = wins / wins.sum()
    return shares


def _reasoning(told: Sequence[Alternative], elsewhere: int, own: Mapping[str, _Row], best: str) -> str:
    """Say where a recommendation comes from."""
    first = told[0]
    name = repr(first.action)
    if first.visits:
        said = [f"{name} brought about {first.value:.3g} here, by {_outcomes(first.visits)}{_since(first.age)}."]
    elif any(row.visits for row in own.values()):
        said = [f"{name} was not tried here yet; {_from_elsewhere(first, elsewhere)}."]
    else:
        said = [f"This situation is new; {_from_elsewhere(first, elsewhere)}."]
    if first.action != best:
        said.append(f"It was drawn to learn more; {best!r} has the highest value.")
    if len(told) > 1:
        other = told[1]
        said.append(f"Next is {other.action!r} with {other.value:.3g}, by {_outcomes(other.visits)} here.")
    said.append(f"The probability that it is the best of {len(told)} is {first.confidence:.2f}.")
    return " ".join(said)


def _from_elsewhere(first: Alternative, visits: int) -> str:
    if not visits:
        return f"{first.action!r} was not tried in any other"
    return f"over all situations {first.action!r} is worth about {first.value:.3g}, by {_outcomes(visits)}"


def _since(age: int | None) -> str:
    """Say how old the last outcome is, where others came since."""
    return f", the last of them {_outcomes(age)} ago" if age else ""


def _outcomes(number: int) -> str:
    return f"{number:,} outcome{'' if number == 1 else 's'}"
