"""From a name to an engine: find, check, make, check again. Once; after that a call is a plain method."""

from __future__ import annotations

import contextlib
import inspect
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import attrs

from aqe_core import contracts
from aqe_core.config import DEFAULT_BACKENDS
from aqe_core.contracts.capabilities import BANDIT_ALGORITHMS, LearnerCapabilities, StoreCapabilities
from aqe_core.errors import AqeError, CapabilityError, ConfigError, ContractError, PluginError, UsageError
from aqe_core.events import Event
from aqe_core.isolation import isolated, resolve
from aqe_core.plugins import CAPABILITIES, FoundEngine, PluginManager
from aqe_core.selection import Rung, Selection, select
from aqe_core.suggest import did_you_mean

if TYPE_CHECKING:
    from aqe_core.config import Config
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
    "bind",
    "open_analyzer",
    "open_embedder",
    "open_learner",
    "open_quantizer",
    "open_ranker",
    "open_replay",
    "open_store",
    "open_text_index",
    "selection_of",
]

CONTRACTS: dict[str, type] = {
    "pattern_store": contracts.PatternStore,
    "learner": contracts.Learner,
    "ranker": contracts.Ranker,
    "analyzer": contracts.Analyzer,
    "storage": contracts.Storage,
    "embedder": contracts.Embedder,
    "policy": contracts.PolicyLearner,
    "replay": contracts.Replay,
    "quantizer": contracts.Quantizer,
    "text_index": contracts.TextIndex,
}
"""Contracts by kind of engine, and of the further products that a learner may have (fields of its spec)."""

# How each engine came to be, for `explain`, by id(engine); engines need not be hashable, nor equal only to themselves.
# An engine that cannot be weakly referenced is not in it.
_selections: dict[int, tuple[weakref.ref[Any], Selection]] = {}


def bind(
    selection: Selection,
    manager: PluginManager,
    required: dict[str, Any] | None = None,
    product: str = "",
    **options: Any,
) -> tuple[Any, Selection]:
    """Make the engine that a selection names.

    Parameters
    ----------
    selection : Selection
    manager : PluginManager
    required : dict, optional
        Arguments that the contract prescribes for the factory (``dim``, ``metric``, ``algorithm`` ...).
    product : str
        Instead of the engine itself, what else its spec offers: a learner's ``policy`` or ``replay``, a store's
        ``quantizer``.
    **options
        The factory's own options; they override those of the selection.

    Returns
    -------
    engine : object
        Behind a guard unless it checks its input itself.
    selection : Selection
        With the plugin that answered, and with the fallback if one was needed.

    Raises
    ------
    PluginError, ConfigError, InputError
        It cannot be found, made, or does not fulfil its contract.
    """
    try:
        found = manager.find_engine(selection.kind, selection.backend)
        engine = _make(found, required or {}, {**({} if product else selection.options), **options}, product)
    except PluginError as error:
        default = DEFAULT_BACKENDS[selection.kind]
        if not selection.fallback or selection.backend == default or isinstance(error, CapabilityError):
            raise
        manager.tell(
            Event(
                name="fallback",
                data={"kind": selection.kind, "from": selection.backend, "to": default, "error": str(error)},
            )
        )
        failed = Rung("fallback", default, "ERROR", f"{selection.backend} could not be bound: {error}")
        selection = attrs.evolve(
            selection,
            backend=default,
            reason="ERROR",
            source=failed.source,
            rungs=(failed, *selection.rungs),
            options={},
        )
        found = manager.find_engine(selection.kind, default)
        engine = _make(found, required or {}, options, product)
    selection = attrs.evolve(selection, distribution=found.source.distribution, version=found.source.version)
    _remember(engine, selection)
    manager.tell(
        Event(
            name="engine-bound",
            data={
                "kind": selection.kind,
                "namespace": selection.namespace,
                "backend": selection.backend,
                "distribution": selection.distribution,
                "version": selection.version,
                "reason": selection.reason,
                "source": selection.source,
            },
        )
    )
    return engine, selection


def _remember(engine: Any, selection: Selection) -> None:
    number = id(engine)
    with contextlib.suppress(TypeError):  # __slots__ without __weakref__
        _selections[number] = (weakref.ref(engine, lambda _: _selections.pop(number, None)), selection)


def selection_of(engine: object) -> Selection:
    """Return how an engine came to be.

    Raises
    ------
    UsageError
        aqe did not make it, or cannot remember it.
    """
    reference, selection = _selections.get(id(engine), (None, None))
    if reference is None or selection is None or reference() is not engine:
        raise UsageError(
            f"this {type(engine).__name__} was not made by aqe, or its class has __slots__ without __weakref__.",
            fix="make it with open_store, open_learner, open_ranker, open_analyzer, open_embedder or open_text_index.",
        )
    return selection


def _make(found: FoundEngine, required: dict[str, Any], options: dict[str, Any], product: str = "") -> Any:
    if product:
        found = _offering(found, product)
    required = _checked(found, required, product)
    factory = resolve(found.spec.factory, found.source)
    options = _check_options(found, factory, required, options)
    what = f"failed to make its {product or found.kind.replace('_', ' ')}"
    with isolated(found.source, what, AqeError):
        engine = factory(**required, **options)
        _check_contract(found, engine, required, _contract_of(found, required, product))
        capabilities: Any = found.spec.capabilities
        if product or getattr(capabilities, "checked", True):
            return engine
        from aqe_core import guards  # engines that check themselves need none

        guard: dict[str, Any] = {
            "pattern_store": guards.guarded_store,
            "learner": guards.guarded_learner,
            "analyzer": guards.GuardedAnalyzer,
        }
        return guard[found.kind](engine, capabilities)


def _offering(found: FoundEngine, product: str) -> FoundEngine:
    """Return the engine with the factory of another of its products."""
    target = getattr(found.spec, product)
    if not target:
        raise CapabilityError(
            f"the {found.kind} {found.spec.name!r} offers no {product}.",
            fix="choose another backend (aqe backends lists them).",
        )
    return attrs.evolve(found, spec=attrs.evolve(found.spec, factory=target))


def _checked(found: FoundEngine, required: dict[str, Any], product: str = "") -> dict[str, Any]:
    """Return what the contract prescribes for the factory, checked against the capabilities."""
    capabilities = found.spec.capabilities
    expected = CAPABILITIES.get(found.kind, type(None))
    if not isinstance(capabilities, expected):
        said = "none" if expected is type(None) else f"{expected.__name__}(...)"
        raise ContractError(
            f"the spec of {found.spec.name!r} declares the capabilities {capabilities!r}, but must declare {said}.",
            fix="correct its capabilities.",
        )
    if isinstance(capabilities, StoreCapabilities):
        from aqe_core import validate  # brings numpy, which only engines need

        schemes = sorted(capabilities.quantizers)
        if product and required["scheme"] not in schemes:  # a list, as what was asked for may not be hashable
            raise _lacks(found, "quantizer", required["scheme"], schemes)
        dim = validate.as_dim(required["dim"], capabilities.max_dim)
        return {**required, "dim": dim, "metric": validate.as_metric(required["metric"], capabilities.metrics)}
    if isinstance(capabilities, LearnerCapabilities) and product != "replay":
        names = sorted(capabilities.vector_policies if product else capabilities.algorithms)
        if required["algorithm"] not in names:  # a list, as what was asked for may not be hashable
            raise _lacks(found, "algorithm", required["algorithm"], names)
    return required


def _lacks(found: FoundEngine, what: str, asked: Any, known: list[str]) -> CapabilityError:
    fix = "choose one of those, or another backend (aqe backends lists them)."
    return CapabilityError(
        f"the backend {found.spec.name!r} has no {what} {asked!r:.60}, only {', '.join(known) or 'none'}.",
        fix=did_you_mean(asked, known, fix) if isinstance(asked, str) else fix,
    )


def _check_options(
    found: FoundEngine, factory: Any, required: dict[str, Any], options: dict[str, Any]
) -> dict[str, Any]:
    """Return the options that the factory takes; those that say again what the contract prescribes are dropped."""
    who = f"the {found.kind.replace('_', ' ')} {found.spec.name!r}"
    for name in required.keys() & options.keys():
        if options[name] != required[name]:
            raise ConfigError(
                f"the option {name!r} of {who} is {options[name]!r}, but {required[name]!r} is needed here.",
                fix="remove the option.",
            )
    options = {name: value for name, value in options.items() if name not in required}
    try:
        parameters = inspect.signature(factory).parameters
    except (TypeError, ValueError):
        return options  # native callables may have no signature; they refuse unknown options themselves
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return options
    known = {
        name: parameter
        for name, parameter in parameters.items()
        if parameter.kind in {parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY}
    }
    lacking = [name for name in required if name not in known]
    if lacking:
        raise ContractError(
            f"the factory {found.spec.factory} does not take {', '.join(lacking)}.",
            fix="give it the parameters that the contract prescribes.",
        )
    own = [name for name in known if name not in required]
    for name in options:
        if name not in own:
            fix = did_you_mean(name, [*own, *required], f"it takes: {', '.join(own) or 'no options'}.")
            raise ConfigError(f"{who} has no option {name!r}.", fix=fix)
    for name in own:
        if known[name].default is inspect.Parameter.empty and name not in options:
            raise ConfigError(f"{who} needs the option {name!r}.", fix=f"pass it, or set {found.kind}.options.{name}.")
    return options


def _contract_of(found: FoundEngine, required: dict[str, Any], product: str) -> type:
    """Return the protocol that an engine has to fulfil; among learners the algorithm decides."""
    if found.kind == "learner" and not product and required.get("algorithm") in tuple(BANDIT_ALGORITHMS):
        return contracts.Bandit
    return CONTRACTS[product or found.kind]


def _check_contract(found: FoundEngine, engine: Any, required: dict[str, Any], contract: type) -> None:
    who = f"{found.spec.factory} of plugin {found.source.name!r}"
    fix = f"see aqe_core.contracts.{contract.__name__}, and run: aqe check {found.spec.name}"
    for name, member in vars(contract).items():
        if name.startswith("_") and name != "__len__":
            continue
        if not hasattr(engine, name):
            raise ContractError(f"{who} made a {type(engine).__name__} without {name}.", fix=fix)
        if not inspect.isfunction(member) or name == "__len__":
            continue
        try:
            offered = inspect.signature(getattr(engine, name)).parameters
        except (TypeError, ValueError):
            continue
        if any(parameter.kind in {parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL} for parameter in offered.values()):
            continue
        # A parameter with a capability of its own may be left out by an engine that lacks the capability.
        optional = {"among"} if not getattr(found.spec.capabilities, "filtered", True) else set()
        for parameter in inspect.signature(member).parameters:
            if parameter not in {"self", *optional} and parameter not in offered:
                raise ContractError(f"{who}: {name}() does not take {parameter!r}.", fix=fix)
    for name in ("dim", "metric", "algorithm"):
        if name in required and getattr(engine, name) != required[name]:
            raise ContractError(
                f"{who} was asked for {name}={required[name]!r} but made {name}={getattr(engine, name)!r}.",
                fix=fix,
            )


def _open(kind: str, name: str, required: dict[str, Any], options: dict[str, Any], product: str = "") -> Any:
    config = _config_here()
    engine, _ = bind(select(kind, config, explicit=name), PluginManager(config), required, product, **options)
    return engine


def _config_here() -> Config:
    """Return a config with the environment but no files: an engine alone belongs to no project."""
    import os  # only here

    from aqe_core.config import Config  # the name above is for type checkers

    return Config(Path(), (), os.environ)


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
