"""Every hook of aqe, on one screen.

A plugin is a module that an entry point of the group ``aqe.plugins`` names. It sets ``AQE_API = 1`` and implements any
of these with ``@aqe_core.hookimpl``. Hooks say who is there and what they offer; they are called when a workspace
opens or a list is printed, never per search or update. New arguments may be added to a hook; implementations that
take fewer keep working.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import click

    from aqe_core.contracts.specs import EngineSpec, IngestSpec
    from aqe_core.events import Event

API_VERSION = 1
"""Version of the plugin API. It changes when an old plugin could not work any more."""

hookspec = pluggy.HookspecMarker("aqe")
hookimpl = pluggy.HookimplMarker("aqe")


@hookspec
def aqe_pattern_stores() -> Sequence[EngineSpec]:  # type: ignore[empty-body]  # specs have no body
    """Offer pattern stores (`aqe_core.contracts.PatternStore`)."""


@hookspec
def aqe_learners() -> Sequence[EngineSpec]:  # type: ignore[empty-body]  # same
    """Offer learners (`aqe_core.contracts.Learner`)."""


@hookspec
def aqe_rankers() -> Sequence[EngineSpec]:  # type: ignore[empty-body]  # same
    """Offer rankers of tests (`aqe_core.contracts.Ranker`)."""


@hookspec
def aqe_analyzers() -> Sequence[EngineSpec]:  # type: ignore[empty-body]  # same
    """Offer analyzers (`aqe_core.contracts.Analyzer`)."""


@hookspec
def aqe_storages() -> Sequence[EngineSpec]:  # type: ignore[empty-body]  # same
    """Offer storages (`aqe_core.contracts.Storage`)."""


@hookspec
def aqe_embedders() -> Sequence[EngineSpec]:  # type: ignore[empty-body]  # same
    """Offer embedders (`aqe_core.contracts.Embedder`)."""


@hookspec
def aqe_text_indexes() -> Sequence[EngineSpec]:  # type: ignore[empty-body]  # same
    """Offer text indexes (`aqe_core.contracts.TextIndex`)."""


@hookspec
def aqe_ingest_formats() -> Sequence[IngestSpec]:  # type: ignore[empty-body]  # same
    """Offer file formats that hold patterns or test results."""


@hookspec
def aqe_cli_commands(register: Callable[[click.Command], None]) -> None:
    """Add the verb ``aqe NAME``, named like the plugin, by calling ``register(command)``."""


@hookspec
def aqe_event(event: Event) -> None:
    """Observe what aqe decides and does (`aqe_core.events`), after the fact. What it raises is only reported."""
