"""Tabular Q-learning, SARSA and expected SARSA, and the factory of every learner of this backend."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Any

from aqe_backend_numpy._tabular import Tabular
from aqe_core.errors import CapabilityError, ConfigError
from aqe_core.suggest import did_you_mean

__all__ = ["ExpectedSarsa", "QLearning", "Sarsa", "make_learner"]


class QLearning(Tabular):
    """Q-learning (Watkins 1989): learns the values of the best policy, whatever policy acts.

    ``Q(s, a) += learning_rate * (reward + discount * max over b of Q(s', b) - Q(s, a))``, in this order of floating
    point operations. With declared actions the maximum runs over the declared set, untried ones counting with the
    initial value, as in the textbook. Without, it runs over the actions tried in ``s'`` (the initial value if none
    was): sets of tests and strategies are open, so "all the others" do not exist, and a default value of actions
    that may not even apply there must not outweigh what was seen.

    Parameters
    ----------
    learning_rate : float, default 0.1
        Above 0, at most 1.
    discount : float, default 0.95
        In 0 .. 1.
    epsilon : float, default 0.1
        Share of random choices in `act`, in 0 .. 1.
    initial_value : float, default 0.0
        Value of a pair never tried, within 1e290 of zero.
    actions : sequence of str or int, optional
        The whole set of actions. Others are refused.
    seed : int, default 0
        Of the generator, in 0 .. 2**64 - 1.

    Notes
    -----
    One update is O(1); the maximum of a state is kept, and computed anew (O(actions of the state)) only when it is
    asked for after its largest value fell. Not safe for use from several threads at once.
    """

    algorithm = "q-learning"
    _on_policy = False
    _follows = False


class Sarsa(Tabular):
    """SARSA (Rummery and Niranjan 1994): learns the values of the policy that acts.

    ``Q(s, a) += learning_rate * (reward + discount * Q(s', a') - Q(s, a))``. Without the next action ``a'`` the
    expectation under the own epsilon-greedy policy stands for it (expected SARSA; van Seijen, van Hasselt, Whiteson
    and Wiering 2009): ``(1 - epsilon) * max + epsilon * mean`` over the declared actions, or over those tried in
    ``s'`` (the initial value if none was) where none are declared; why, see `QLearning`, which has the same
    parameters.

    Notes
    -----
    One update is O(1) with the next action, else O(actions of the next state).
    """

    algorithm = "sarsa"
    _on_policy = True
    _follows = True


class ExpectedSarsa(Tabular):
    """Expected SARSA (van Seijen, van Hasselt, Whiteson and Wiering 2009): no luck of the next action in the target.

    ``Q(s, a) += learning_rate * (reward + discount * worth - Q(s, a))``, with
    ``worth = (1 - epsilon) * max + epsilon * mean`` over the actions of ``s'`` that `Sarsa` names, in this order of
    floating point operations. The mean is the sum of the tried actions' values, in the order in which the table
    numbered the actions, from left to right, plus the number of untried declared ones times the initial value, divided
    by the number of both. With ``epsilon=0`` it is Q-learning. The parameters are those of `QLearning`.

    Notes
    -----
    One update is O(actions of the next state).
    """

    algorithm = "expected-sarsa"
    _on_policy = True
    _follows = False


_HERE = "aqe_backend_numpy"
_ALGORITHMS = {
    "q-learning": f"{_HERE}.learner:QLearning",
    "sarsa": f"{_HERE}.learner:Sarsa",
    "expected-sarsa": f"{_HERE}.learner:ExpectedSarsa",
    "actor-critic": f"{_HERE}.actor_critic:ActorCritic",
    "ppo": f"{_HERE}.ppo:Ppo",
    "linucb": f"{_HERE}.bandits:LinUcb",
    "discounted-linucb": f"{_HERE}.bandits:DiscountedLinUcb",
    "thompson": f"{_HERE}.bandits:Thompson",
}
_COMPATIBLE = {
    "agentic-qe-2.8": {
        "q-learning": f"{_HERE}.ancestor:AncestorQLearning",
        "sarsa": f"{_HERE}.ancestor:AncestorSarsa",
        "actor-critic": f"{_HERE}.ancestor_policies:AncestorActorCritic",
        "ppo": f"{_HERE}.ancestor_policies:AncestorPpo",
    }
}


def make_learner(*, algorithm: str = "q-learning", compat: str | None = None, **hyper_parameters: Any) -> Any:
    """Make a learner.

    Parameters
    ----------
    algorithm : str
        A name of `aqe_backend_numpy.learner`'s table: ``q-learning``, ``sarsa``, ``expected-sarsa``, ``actor-critic``,
        ``ppo`` (`aqe_core.contracts.Learner`); ``linucb``, ``discounted-linucb``, ``thompson``
        (`aqe_core.contracts.Bandit`).
    compat : str, optional
        ``agentic-qe-2.8``: compute as that ancestor did, bit for bit, its errors included
        (`aqe_backend_numpy.ancestor`).
    **hyper_parameters
        Those of the algorithm's class, e.g. `QLearning`.

    Raises
    ------
    CapabilityError
        There is no such algorithm, or not in that compatible form.
    ConfigError
        The algorithm has no such hyper-parameter.
    InputError
        A parameter is out of range.
    """
    if compat is None:
        table = _ALGORITHMS
    else:
        if compat not in tuple(_COMPATIBLE):  # a tuple, as what was asked for may not be hashable
            raise CapabilityError(
                f"compat is {compat!r}, but must be one of {', '.join(_COMPATIBLE)}.",
                fix="choose one, or leave it out.",
            )
        table = _COMPATIBLE[compat]
    if algorithm not in tuple(table):
        how = f" compatibly with {compat}" if compat else ""
        raise CapabilityError(
            f"this backend does not learn by {algorithm!r}{how}, only by {', '.join(sorted(table))}.",
            fix="choose one of those, or another backend (aqe backends lists them).",
        )
    module, _, name = table[algorithm].partition(":")
    return made(getattr(import_module(module), name), algorithm, hyper_parameters)


def made(kind: Any, algorithm: str, hyper_parameters: dict[str, Any]) -> Any:
    """Make a learner of a class whose constructor names what there is to choose.

    Raises
    ------
    ConfigError
        There is no such hyper-parameter, or one is needed.
    InputError
        One is out of range.
    """
    parameters = [each for name, each in inspect.signature(kind.__init__).parameters.items() if name != "self"]
    known = [each.name for each in parameters]
    for given in hyper_parameters:
        if given not in known:
            raise ConfigError(
                f"the algorithm {algorithm!r} has no hyper-parameter {given!r}.",
                fix=did_you_mean(given, known, f"it takes: {', '.join(known)}."),
            )
    for each in parameters:
        if each.default is inspect.Parameter.empty and each.name not in hyper_parameters:
            raise ConfigError(f"the algorithm {algorithm!r} needs {each.name!r}.", fix=f"pass {each.name}=...")
    return kind(**hyper_parameters)
