"""From a name to an engine: find, check, make, check again. Once; after that a call is a plain method."""

from __future__ import annotations

import contextlib
import inspect
import weakref
from typing import Any

import attrs

from aqe_core import contracts
from aqe_core.config import DEFAULT_BACKENDS
from aqe_core.contracts.capabilities import BANDIT_ALGORITHMS, LearnerCapabilities, StoreCapabilities
from aqe_core.errors import AqeError, CapabilityError, ConfigError, ContractError, PluginError, UsageError
from aqe_core.events import Event
from aqe_core.isolation import isolated, resolve
from aqe_core.plugins import CAPABILITIES, FoundEngine, PluginManager
from aqe_core.selection import Rung, Selection
from aqe_core.suggest import did_you_mean

__all__ = ["CONTRACTS", "bind", "selection_of"]

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
