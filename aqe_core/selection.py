"""Which backend is used, and why: the ladder.

Highest rung first: explicit argument, environment (with a kill switch), tripped guard, flag variant, ``aqe.toml``,
``[tool.aqe]`` in ``pyproject.toml``, default. The first rung that says something decides. Reasons are OpenFeature's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from aqe_core.config import DEFAULT_BACKENDS
from aqe_core.contracts.specs import KINDS
from aqe_core.errors import UsageError

if TYPE_CHECKING:
    from aqe_core.config import Config

__all__ = ["REASONS", "Rung", "Selection", "explain", "select"]

REASONS = {
    "STATIC": "said outright: by an argument, a variable or a config file",
    "TARGETING_MATCH": "said for this namespace",
    "SPLIT": "this namespace's share of a gradual rollout",
    "DEFAULT": "nothing else was said",
    "DISABLED": "this rung is switched off or has nothing to decide",
    "ERROR": "the choice could not be bound",
}
"""Reasons of a rung, after the OpenFeature specification's vocabulary."""


@attrs.frozen
class Rung:
    """One step of the ladder.

    Attributes
    ----------
    name : str
    value : str or None
        The backend it asks for; None when it says nothing.
    reason : str
        A key of `REASONS`.
    source : str
        File and line, variable or argument; or why it says nothing.
    """

    name: str
    value: str | None
    reason: str
    source: str


@attrs.frozen
class Selection:
    """The outcome of the ladder for one kind of engine and namespace.

    Attributes
    ----------
    kind, namespace : str
    backend : str
        The chosen name.
    reason, source : str
        Of the rung that decided.
    rungs : tuple of Rung
        All of them, highest first.
    options : dict
        For the factory: the config's ``options`` table of the kind, if the choice is the config's ``backend``.
    fallback : bool
        Whether the default may stand in if the chosen one cannot be bound.
    distribution, version : str
        Of the plugin that answered; empty before binding.
    """

    kind: str
    namespace: str
    backend: str
    reason: str
    source: str
    rungs: tuple[Rung, ...]
    options: dict[str, Any] = attrs.field(factory=dict)
    fallback: bool = False
    distribution: str = ""
    version: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the form that ``aqe explain --json`` prints."""
        return attrs.asdict(self)


def select(kind: str, config: Config, *, namespace: str = "default", explicit: str | None = None) -> Selection:
    """Walk the ladder for one kind of engine.

    Parameters
    ----------
    kind : str
        One of ``KINDS``.
    config : Config
    namespace : str
    explicit : str, optional
        The backend that the caller asks for.

    Raises
    ------
    UsageError
        There is no such kind.
    ConfigError
        The kill switch is neither on nor off.
    """
    if kind not in KINDS:
        raise UsageError(f"there is no kind of engine named {kind!r}.", fix=f"use one of {', '.join(KINDS)}.")
    rungs = (
        _argument(explicit),
        _environment(kind, config),
        *_ROLLOUT,
        *_files(kind, namespace, config),
        _default(kind),
    )
    chosen = next(rung for rung in rungs if rung.value is not None)
    assert chosen.value is not None
    return Selection(
        kind=kind,
        namespace=namespace,
        backend=chosen.value,
        reason=chosen.reason,
        source=chosen.source,
        rungs=rungs,
        options=_options(kind, chosen.value, config),
        fallback=kind != "storage" and bool(config.get(f"{kind}.fallback").value),
    )


_FILES = ("aqe.toml", "pyproject.toml")

# Gradual rollout will speak here; until a flag source exists both rungs are visible and silent.
_ROLLOUT = (
    Rung("guard", None, "DISABLED", "no guard is set"),
    Rung("flag", None, "DISABLED", "no flag source is set"),
)


def _argument(explicit: str | None) -> Rung:
    if explicit is None:
        return Rung("argument", None, "DISABLED", "not given")
    return Rung("argument", explicit, "STATIC", "explicit argument")


def _environment(kind: str, config: Config) -> Rung:
    variable = f"AQE_{kind.upper()}"
    if config.switch("AQE_SAFE"):
        return Rung("environment", DEFAULT_BACKENDS[kind], "STATIC", "kill switch AQE_SAFE")
    value = config.environ.get(variable, "").strip()
    if not value:
        return Rung("environment", None, "DISABLED", f"{variable} is not set")
    return Rung("environment", value, "STATIC", variable)


def _files(kind: str, namespace: str, config: Config) -> list[Rung]:
    layers = {layer.name: layer.leaves for layer in config.layers}
    rungs = []
    for name in _FILES:
        leaves = layers.get(name)
        if leaves is None:
            rungs.append(Rung(name, None, "DISABLED", "no such file"))
        elif (own := leaves.get(f"{kind}.namespaces.{namespace}")) is not None:
            rungs.append(Rung(name, own.value, "TARGETING_MATCH", own.source))
        elif (general := leaves.get(f"{kind}.backend")) is not None:
            rungs.append(Rung(name, general.value, "STATIC", general.source))
        else:
            rungs.append(Rung(name, None, "DISABLED", f"does not set {kind}.backend"))
    return rungs


def _default(kind: str) -> Rung:
    return Rung("default", DEFAULT_BACKENDS[kind], "DEFAULT", "built in")


def _options(kind: str, backend: str, config: Config) -> dict[str, Any]:
    """Return the options that the files give to a backend; a file that names another one means that other one."""
    if config.get(f"{kind}.backend").value != backend:
        return {}
    meant = [
        layer
        for layer in config.layers
        if f"{kind}.backend" not in layer.leaves or layer.leaves[f"{kind}.backend"].value == backend
    ]
    options = attrs.evolve(config, layers=tuple(meant)).under(f"{kind}.options")
    return {name: setting.value for name, setting in options.items()}


def explain(target: object, namespace: str = "default", *, path: str = ".") -> Selection:
    """Say which backend is used and why.

    Parameters
    ----------
    target : str or engine
        A kind (``"pattern_store"``): what the project at ``path`` would use. An engine that aqe made: what it is.
    namespace : str
    path : str
        The project's folder.

    Returns
    -------
    Selection

    Raises
    ------
    UsageError
        The kind is unknown, or the engine was not made by aqe.

    Examples
    --------
    >>> import aqe_core
    >>> store = aqe_core.open_store("numpy", dim=2)
    >>> aqe_core.explain(store).backend
    'numpy'
    """
    if isinstance(target, str):
        from pathlib import Path  # explain() of an engine needs neither

        from aqe_core.config import load  # same

        return select(target, load(Path(path)), namespace=namespace)
    from aqe_core.binding import selection_of  # binding imports this module

    return selection_of(target)
