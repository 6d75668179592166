"""From a name to an engine: find, check, make, check again. Once; after that a call is a plain method."""

from __future__ import annotations

import contextlib
import difflib
import inspect
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from aqe_core import contracts
from aqe_core.config import DEFAULT_BACKENDS
from aqe_core.contracts.capabilities import (
    AnalyzerCapabilities,
    LearnerCapabilities,
    StoreCapabilities,
)
from aqe_core.errors import AqeError, CapabilityError, ConfigError, ContractError, PluginError, UsageError
from aqe_core.events import Event
from aqe_core.plugins import FoundEngine, PluginManager, broken, resolve
from aqe_core.selection import Rung, Selection, select

if TYPE_CHECKING:
    from aqe_core.config import Config
    from aqe_core.contracts import Analyzer, Embedder, Learner, PatternStore

__all__ = ["bind", "open_analyzer", "open_embedder", "open_learner", "open_store", "selection_of"]

CONTRACTS: dict[str, type] = {
    "pattern_store": contracts.PatternStore,
    "learner": contracts.Learner,
    "analyzer": contracts.Analyzer,
    "storage": contracts.Storage,
    "embedder": contracts.Embedder,
}

_CAPABILITIES: dict[str, type] = {
    "pattern_store": StoreCapabilities,
    "learner": LearnerCapabilities,
    "analyzer": AnalyzerCapabilities,
}

# How each engine came to be, for `explain`. Engines that cannot be weakly referenced are simply not in it.
_selections: weakref.WeakKeyDictionary[Any, Selection] = weakref.WeakKeyDictionary()


def bind(
    selection: Selection, manager: PluginManager, required: dict[str, Any] | None = None, **options: Any
) -> tuple[Any, Selection]:
    """Make the engine that a selection names.

    Parameters
    ----------
    selection : Selection
    manager : PluginManager
    required : dict, optional
        Arguments that the contract prescribes for the factory (``dim``, ``metric``, ``algorithm`` ...).
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
        engine = _make(found, required or {}, {**selection.options, **options})
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
        engine = _make(found, required or {}, options)
    selection = attrs.evolve(selection, distribution=found.source.distribution, version=found.source.version)
    with contextlib.suppress(TypeError):  # __slots__ without __weakref__, or not hashable: explain(engine) says so
        _selections[engine] = selection
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


def selection_of(engine: object) -> Selection:
    """Return how an engine came to be.

    Raises
    ------
    UsageError
        aqe did not make it.
    """
    try:
        return _selections[engine]
    except (KeyError, TypeError):
        raise UsageError(
            f"{type(engine).__name__} was not made by aqe.",
            fix="make it with open_store, open_learner or open_analyzer.",
        ) from None


def _make(found: FoundEngine, required: dict[str, Any], options: dict[str, Any]) -> Any:
    _check_capabilities(found, required)
    factory = resolve(found.spec.factory, found.source)
    _check_options(found, factory, required, options)
    try:
        engine = factory(**required, **options)
    except AqeError:
        raise
    except Exception as error:
        raise broken(found.source, f"failed to make its {found.kind.replace('_', ' ')}", error) from error
    _check_contract(found, engine, required)
    capabilities = found.spec.capabilities
    if getattr(capabilities, "checked", True):
        return engine
    from aqe_core import guards  # engines that check themselves need none

    guard: dict[str, Any] = {
        "pattern_store": guards.GuardedStore,
        "learner": guards.GuardedLearner,
        "analyzer": guards.GuardedAnalyzer,
    }
    return guard[found.kind](engine, capabilities)


def _check_capabilities(found: FoundEngine, required: dict[str, Any]) -> None:
    expected = _CAPABILITIES.get(found.kind)
    capabilities = found.spec.capabilities
    if expected is not None and not isinstance(capabilities, expected):
        raise ContractError(
            f"the spec of {found.spec.name!r} declares {type(capabilities).__name__}, not {expected.__name__}.",
            fix=f"set capabilities={expected.__name__}(...).",
        )
    if isinstance(capabilities, StoreCapabilities):
        from aqe_core import validate  # brings numpy, which only engines need

        required["dim"] = validate.as_dim(required["dim"], capabilities.max_dim)
        required["metric"] = validate.as_metric(required["metric"], capabilities.metrics)
    if isinstance(capabilities, LearnerCapabilities) and required["algorithm"] not in capabilities.algorithms:
        raise CapabilityError(
            f"the backend {found.spec.name!r} has no algorithm {required['algorithm']!r}, only "
            f"{', '.join(sorted(capabilities.algorithms))}.",
            fix="choose one of those, or another backend (aqe backends lists them).",
        )


def _check_options(found: FoundEngine, factory: Any, required: dict[str, Any], options: dict[str, Any]) -> None:
    try:
        parameters = inspect.signature(factory).parameters
    except (TypeError, ValueError):
        return  # native callables may have no signature; they refuse unknown options themselves
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    lacking = [name for name in required if name not in parameters]
    if lacking:
        raise ContractError(
            f"the factory {found.spec.factory} does not take {', '.join(lacking)}.",
            fix="give it the parameters that the contract prescribes.",
        )
    known = [name for name in parameters if name not in required]
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            fix = f"did you mean {near[0]!r}?" if near else f"it takes: {', '.join(known) or 'no options'}."
            raise ConfigError(
                f"the {found.kind.replace('_', ' ')} {found.spec.name!r} has no option {name!r}.", fix=fix
            )


def _check_contract(found: FoundEngine, engine: Any, required: dict[str, Any]) -> None:
    contract = CONTRACTS[found.kind]
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


def _open(kind: str, name: str, required: dict[str, Any], options: dict[str, Any]) -> Any:
    config = _config_here()
    engine, _ = bind(select(kind, config, explicit=name), PluginManager(config), required, **options)
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


def open_learner(name: str = "numpy", *, algorithm: str = "q-learning", **hyper_parameters: Any) -> Learner:
    """Make a learner that has learned nothing yet, in memory.

    Parameters
    ----------
    name : str
        A backend, or ``file:PATH.py:CLASS``.
    algorithm : str
        ``q-learning`` or ``sarsa``.
    **hyper_parameters
        E.g. ``learning_rate``, ``discount``, ``epsilon``, ``seed``; see the backend.

    Returns
    -------
    Learner

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
    """
    learner: Learner = _open("learner", name, {"algorithm": algorithm}, hyper_parameters)
    return learner


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
