"""An engine alone, by name: bound as in a workspace, with the environment but no project's files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from aqe_core.binding import bind
from aqe_core.config import Config
from aqe_core.plugins import PluginManager
from aqe_core.selection import select

if TYPE_CHECKING:
    from aqe_core.contracts import (
        Analyzer,
        Embedder,
        Learner,
        PatternStore,
        PolicyLearner,
        Quantizer,
        Ranker,
        Replay,
        TextIndex,
    )

__all__ = [
    "open_analyzer",
    "open_embedder",
    "open_learner",
    "open_quantizer",
    "open_ranker",
    "open_replay",
    "open_store",
    "open_text_index",
]


def _open(kind: str, name: str, required: dict[str, Any], options: dict[str, Any], product: str = "") -> Any:
    config = Config(Path(), (), os.environ)
    engine, _ = bind(select(kind, config, explicit=name), PluginManager(config), required, product, **options)
    return engine


def open_store(name: str = "numpy", *, dim: int, metric: str = "cosine", **options: Any) -> PatternStore:
    """Make an empty pattern store, in memory.

    Parameters
    ----------
    name : str
        A backend (``aqe backends`` lists them), or ``file:PATH.py:CLASS``.
    dim : int
        Number of dimensions.
    metric : str
        ``cosine``, ``dot`` or ``l2``; larger scores are better under each.
    **options
        The backend's own.

    Returns
    -------
    PatternStore

    Raises
    ------
    PluginError
        The backend is unknown, not installed or broken.
    ConfigError
        It has no such option.
    InputError
        ``dim`` or ``metric`` is wrong.

    Examples
    --------
    >>> import aqe_core
    >>> store = aqe_core.open_store("numpy", dim=2, metric="dot")
    >>> store.add([7, 8], [[1.0, 0.0], [0.0, 1.0]])
    >>> hits = store.search([0.2, 1.0], k=2)
    >>> hits.keys.tolist(), hits.scores.round(1).tolist()
    ([8, 7], [1.0, 0.20000000298023224])
    """
    store: PatternStore = _open("pattern_store", name, {"dim": dim, "metric": metric}, options)
    return store


@overload
def open_learner(
    name: str = ..., *, observation_dim: int, algorithm: str = ..., **hyper_parameters: Any
) -> PolicyLearner: ...
@overload
def open_learner(name: str = ..., *, algorithm: str = ..., **hyper_parameters: Any) -> Learner: ...
def open_learner(
    name: str = "numpy",
    *,
    algorithm: str = "q-learning",
    observation_dim: int | None = None,
    **hyper_parameters: Any,
) -> Learner | PolicyLearner:
    """Make a learner that has learned nothing yet, in memory.

    Parameters
    ----------
    name : str
        A backend, or ``file:PATH.py:CLASS``.
    algorithm : str
        ``q-learning``, ``sarsa``, ``expected-sarsa``, ``actor-critic``, ``ppo``; with ``observation_dim``
        ``actor-critic`` or ``ppo`` over vectors; ``linucb``, ``discounted-linucb`` or ``thompson``, which need ``dim``
        and ``actions`` and make a `aqe_core.contracts.Bandit`; or what else the backend declares.
    observation_dim : int, optional
        Length of an observation, for a policy over float vectors instead of named states. It also needs ``n_actions``
        (discrete actions) or ``action_dim`` (vectors).
    **hyper_parameters
        E.g. ``learning_rate``, ``discount``, ``epsilon``, ``seed``; see the backend.

    Returns
    -------
    Learner
        Or a `PolicyLearner`, with ``observation_dim``.

    Raises
    ------
    PluginError, ConfigError, InputError
        As for `open_store`.

    Examples
    --------
    >>> import aqe_core
    >>> learner = aqe_core.open_learner("numpy", learning_rate=0.5)
    >>> learner.update("red build", "rerun", 1.0, "green build", done=True)
    >>> learner.value("red build", "rerun")
    0.5
    >>> policy = aqe_core.open_learner("numpy", algorithm="ppo", observation_dim=4, n_actions=2)
    >>> policy.act([0.0, 0.1, 0.0, -0.1]) in (0, 1)
    True
    """
    if observation_dim is None:
        learner: Learner = _open("learner", name, {"algorithm": algorithm}, hyper_parameters)
        return learner
    options = {"observation_dim": observation_dim, **hyper_parameters}
    policy: PolicyLearner = _open("learner", name, {"algorithm": algorithm}, options, "policy")
    return policy


def open_replay(name: str = "numpy", *, capacity: int, observation_dim: int, **options: Any) -> Replay:
    """Make an empty replay: a ring of transitions to draw from, in memory.

    Parameters
    ----------
    name : str
        A backend of learners that offers one.
    capacity : int
        Largest number of transitions.
    observation_dim : int
        Length of an observation.
    **options
        ``action_dim`` (default 0: actions are integers), ``n_envs`` (1: copies whose steps are added in turn),
        ``n_step`` (1: successive steps taken together), ``discount`` (0.99), ``prioritized`` (False),
        ``priority_exponent`` (0.6), ``importance_exponent`` (0.4), ``seed`` (0), and the backend's own.

    Returns
    -------
    Replay

    Raises
    ------
    PluginError, ConfigError, InputError
        As for `open_store`.

    Examples
    --------
    >>> import aqe_core
    >>> replay = aqe_core.open_replay("numpy", capacity=100, observation_dim=2)
    >>> replay.add([0.0, 1.0], 1, 0.5, [1.0, 1.0], terminated=True)
    >>> drawn = replay.sample(3)
    >>> drawn.rewards.tolist(), drawn.discounts.tolist()
    ([0.5, 0.5, 0.5], [0.0, 0.0, 0.0])
    """
    required = {"capacity": capacity, "observation_dim": observation_dim}
    replay: Replay = _open("learner", name, required, options, "replay")
    return replay


def open_quantizer(name: str = "numpy", *, scheme: str, dim: int, metric: str = "cosine", **options: Any) -> Quantizer:
    """Make a quantizer: vectors as short codes, and scores from the codes.

    Parameters
    ----------
    name : str
        A backend of pattern stores that offers quantizers.
    scheme : str
        ``float16``, ``int8``, ``binary`` or ``product``, as far as the backend has it.
    dim : int
        Number of dimensions.
    metric : str
        ``cosine``, ``dot`` or ``l2``.
    **options
        Of the scheme; ``product`` takes ``groups`` and ``seed``.

    Returns
    -------
    Quantizer
        Not trained yet, unless the scheme has nothing to learn.

    Raises
    ------
    PluginError, ConfigError, InputError
        As for `open_store`; `CapabilityError` if the backend lacks the scheme.

    Examples
    --------
    >>> import aqe_core
    >>> quantizer = aqe_core.open_quantizer(scheme="int8", dim=2)
    >>> quantizer.train([[1.0, 0.0], [0.0, 1.0]])
    >>> codes = quantizer.encode([[3.0, 4.0]])
    >>> codes.shape, quantizer.scores([3.0, 4.0], codes).round(2).tolist()
    ((1, 6), [1.0])
    """
    required = {"scheme": scheme, "dim": dim, "metric": metric}
    quantizer: Quantizer = _open("pattern_store", name, required, options, "quantizer")
    return quantizer


def open_ranker(name: str = "numpy", **options: Any) -> Ranker:
    """Make a ranker of tests that has learned nothing yet, in memory.

    Parameters
    ----------
    name : str
        A backend, or ``file:PATH.py:CLASS``.
    **options
        E.g. ``seed``; see the backend.

    Returns
    -------
    Ranker

    Raises
    ------
    PluginError, ConfigError, InputError
        As for `open_store`.

    Examples
    --------
    >>> import aqe_core
    >>> from aqe_core.contracts import Candidates, Outcomes
    >>> ranker = aqe_core.open_ranker()
    >>> night = Candidates(["test_login", "test_parser", "test_retry"])
    >>> ranker.observe(night, Outcomes([False, False, True]))
    >>> ranker.rank(night).order.tolist()
    [2, 0, 1]
    """
    ranker: Ranker = _open("ranker", name, {}, options)
    return ranker


def open_analyzer(name: str = "numpy", **options: Any) -> Analyzer:
    """Make an analyzer.

    Parameters
    ----------
    name : str
        A backend, or ``file:PATH.py:CLASS``.
    **options
        The backend's own.

    Returns
    -------
    Analyzer

    Raises
    ------
    PluginError, ConfigError
        As for `open_store`.

    Examples
    --------
    >>> import aqe_core
    >>> summary = aqe_core.open_analyzer("numpy").describe([1.0, 2.0, 4.0])
    >>> summary.n, summary.median, round(summary.variance, 3)
    (3, 2.0, 2.333)
    """
    analyzer: Analyzer = _open("analyzer", name, {}, options)
    return analyzer


def open_embedder(name: str = "lexical", **options: Any) -> Embedder:
    """Make an embedder that has not been fitted.

    Parameters
    ----------
    name : str
        A backend, or ``file:PATH.py:CLASS``.
    **options
        The backend's own.

    Returns
    -------
    Embedder

    Raises
    ------
    PluginError, ConfigError
        As for `open_store`.

    Examples
    --------
    >>> import aqe_core
    >>> embedder = aqe_core.open_embedder("lexical", dim=64)
    >>> embedder.embed_queries(["retry after timeout"]).shape
    (1, 64)
    """
    embedder: Embedder = _open("embedder", name, {}, options)
    return embedder


def open_text_index(name: str = "numpy", **options: Any) -> TextIndex:
    """Make an empty text index, in memory.

    Parameters
    ----------
    name : str
        A backend, or ``file:PATH.py:CLASS``.
    **options
        The backend's own.

    Returns
    -------
    TextIndex

    Raises
    ------
    PluginError, ConfigError
        As for `open_store`.

    Examples
    --------
    >>> import aqe_core
    >>> index = aqe_core.open_text_index("numpy")
    >>> index.add([7, 8], [("test_retry_is_capped", "assert delays[-1] == 30"), ("test_login", "assert ok")])
    >>> index.search("capped retries", k=1).keys.tolist()
    [7]
    """
    index: TextIndex = _open("text_index", name, {}, options)
    return index
