"""What an engine says it can do.

A capability is stated once, by the author, in the spec. The binding checks calls against it, the conformance kit
chooses its checks by it, and ``aqe backends`` prints it.
"""

from __future__ import annotations

from typing import TypeAlias

import attrs

__all__ = [
    "AnalyzerCapabilities",
    "Capabilities",
    "EmbedderCapabilities",
    "LearnerCapabilities",
    "RankerCapabilities",
    "StoreCapabilities",
    "TextIndexCapabilities",
]


POLICY_ALGORITHMS = frozenset({"actor-critic", "ppo"})
"""Learners of a softmax policy over a table of preferences (`aqe_core.contracts.Learner`)."""


BANDIT_ALGORITHMS = frozenset({"linucb", "discounted-linucb", "thompson"})
"""Learners over vectors without a next state (`aqe_core.contracts.Bandit`)."""


def _names(value: object) -> frozenset[str]:
    if isinstance(value, str):
        return frozenset((value,))
    return frozenset(str(item) for item in value)  # type: ignore[attr-defined]  # attrs runs it on any iterable


@attrs.frozen(kw_only=True)
class StoreCapabilities:
    """What a pattern store can do.

    Attributes
    ----------
    metrics : frozenset of str
        Of ``cosine``, ``dot``, ``l2``.
    exact : bool
        Answers always equal the exact scan. An approximate store is checked for recall instead.
    filtered : bool
        ``search`` honours ``among``. If not, the workspace asks for more hits until enough of them pass the filter.
    mutable : bool
        ``remove`` and the replacement of a key work. If not, they raise `aqe_core.errors.CapabilityError`.
    checked : bool
        The engine refuses bad input itself, with `aqe_core.validate` or an equal of it, so that the core needs no
        guard around it and calls reach it directly. The conformance kit proves it.
    thread_safe : bool
        Searches may run in several threads at once, also beside one writer.
    max_dim : int
        Largest number of dimensions.
    score_tolerance : float
        How far a score may be from its value, relative to the largest magnitude involved; above 1e-5 for a store that
        keeps less than the vectors.
    """

    metrics: frozenset[str] = attrs.field(default=frozenset({"cosine", "dot", "l2"}), converter=_names)
    exact: bool = False
    filtered: bool = False
    mutable: bool = True
    checked: bool = False
    thread_safe: bool = False
    max_dim: int = 4096
    score_tolerance: float = 1e-5


@attrs.frozen(kw_only=True)
class LearnerCapabilities:
    """What a learner can do.

    Attributes
    ----------
    algorithms : frozenset of str
        Of ``q-learning``, ``sarsa``, ``expected-sarsa``, ``actor-critic``, ``ppo`` (`aqe_core.contracts.Learner`),
        ``linucb``, ``discounted-linucb``, ``thompson`` (`aqe_core.contracts.Bandit`), or others of its own.
    vector_policies : frozenset of str
        Algorithms of policies over float vectors (`aqe_core.contracts.PolicyLearner`): ``actor-critic``, ``ppo``.
        Policies and replays check their input themselves, whatever ``checked`` says.
    replay : bool
        It offers a `aqe_core.contracts.Replay`.
    checked : bool
        As for `StoreCapabilities`.
    thread_safe : bool
        Calls from several threads keep the table consistent.
    inspectable : bool
        Its learners are `aqe_core.contracts.InspectableLearner`.
    """

    algorithms: frozenset[str] = attrs.field(default=frozenset({"q-learning"}), converter=_names)
    vector_policies: frozenset[str] = attrs.field(default=frozenset(), converter=_names)
    replay: bool = False
    checked: bool = False
    thread_safe: bool = False
    inspectable: bool = False

    @property
    def policies(self) -> frozenset[str]:
        """Those of the algorithms that learn a preference per pair, and draw from their softmax."""
        return self.algorithms & POLICY_ALGORITHMS

    @property
    def bandits(self) -> frozenset[str]:
        """Those that are `aqe_core.contracts.Bandit`."""
        return self.algorithms & BANDIT_ALGORITHMS


@attrs.frozen(kw_only=True)
class RankerCapabilities:
    """What a ranker can do. What it is given is checked when it is made, so there is no ``checked``.

    Attributes
    ----------
    context : bool
        It learns from `aqe_core.contracts.Candidates.context`. If not, it takes no notice of it.
    budgeted : bool
        Its order heeds the budget. If not, it is the same with and without one.
    """

    context: bool = False
    budgeted: bool = False


@attrs.frozen(kw_only=True)
class AnalyzerCapabilities:
    """What an analyzer can do.

    Attributes
    ----------
    checked : bool
        As for `StoreCapabilities`.
    thread_safe : bool
        Calls from several threads do not disturb each other.
    """

    checked: bool = False
    thread_safe: bool = True


@attrs.frozen(kw_only=True)
class EmbedderCapabilities:
    """What an embedder can do.

    Attributes
    ----------
    kind : str
        ``lexical`` (near means: shares words) or ``semantic`` (near means: a model says so).
    fits : bool
        It learns something from the collection (an idf table, say) and has a state to keep.
    """

    kind: str = "lexical"
    fits: bool = False


@attrs.frozen(kw_only=True)
class TextIndexCapabilities:
    """What a text index can do.

    Attributes
    ----------
    thread_safe : bool
        As for `StoreCapabilities`.
    hybrid : bool
        Its indexes are `aqe_core.contracts.HybridIndex`.
    """

    thread_safe: bool = False
    hybrid: bool = False


Capabilities: TypeAlias = (
    StoreCapabilities
    | LearnerCapabilities
    | RankerCapabilities
    | AnalyzerCapabilities
    | EmbedderCapabilities
    | TextIndexCapabilities
)
