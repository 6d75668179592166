"""The kit applied to installed backends: what ``aqe check NAME`` runs."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aqe_core import engines
from aqe_core.config import Config
from aqe_core.contracts.specs import KINDS
from aqe_core.errors import UnknownBackendError
from aqe_core.isolation import resolve
from aqe_core.plugins import PluginManager
from aqe_core.testing.kit import Report, run_checks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["check_backend", "maker"]


def _manager() -> PluginManager:
    return PluginManager(Config(Path(), (), os.environ))


def maker(kind: str, name: str) -> tuple[Callable[..., Any], Any]:
    """Return how to make the engine of an installed backend, as the binding does, and its capabilities.

    Raises
    ------
    PluginError
        It is unknown, not installed or broken.
    """
    found = _manager().find_engine(kind, name)
    if kind == "storage":
        return resolve(found.spec.factory, found.source), found.spec.capabilities
    if kind == "learner":
        return partial(_learner, name), found.spec.capabilities
    opener: dict[str, Callable[..., Any]] = {
        "pattern_store": _store,
        "ranker": engines.open_ranker,
        "analyzer": engines.open_analyzer,
        "embedder": engines.open_embedder,
        "text_index": engines.open_text_index,
    }
    return partial(opener[kind], name), found.spec.capabilities


def _store(name: str, **options: Any) -> Any:
    """Make what the options ask for: a store or a quantizer."""
    opened: Any = engines.open_quantizer if "scheme" in options else engines.open_store
    return opened(name, **options)


def _learner(name: str, **options: Any) -> Any:
    """Make what the options ask for: a learner, a policy or a replay."""
    opened: Any = engines.open_replay if "capacity" in options else engines.open_learner
    return opened(name, **options)


def check_backend(name: str, *, expected_failures: Mapping[str, Mapping[str, str]] | None = None) -> list[Report]:
    """Run the checks on every engine that an installed backend offers.

    Parameters
    ----------
    name : str
        As ``aqe backends`` prints it, or ``file:PATH.py:CLASS``.
    expected_failures : mapping of str to mapping, optional
        By kind, as for `aqe_core.testing.run_checks`.

    Returns
    -------
    list of Report
        One for each kind of engine of that name.

    Raises
    ------
    PluginError
        It offers no engine, is not installed or is broken.
    """
    reports = []
    unknown: UnknownBackendError | None = None
    for kind in KINDS:
        try:
            make, capabilities = maker(kind, name)
        except UnknownBackendError as error:
            unknown = error
            continue
        expected = (expected_failures or {}).get(kind)
        reports.append(run_checks(kind, make, capabilities, expected_failures=expected, engine=name))
    if unknown is not None and not reports:
        offered = sorted({found.spec.name for kind in KINDS for found in _manager().engines(kind)})
        raise UnknownBackendError(
            f"no installed plugin offers an engine named {name!r}; there are {', '.join(offered)}.", fix=unknown.fix
        )
    return reports
