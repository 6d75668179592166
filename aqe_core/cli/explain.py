"""``aqe explain``: say which backend is used, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import click

from aqe_core.cli.invocation import Invocation, takes

if TYPE_CHECKING:
    from aqe_core.selection import Selection

__all__ = ["command"]


@click.command("explain")
@click.argument("kind")
@click.argument("namespace", default="default")
@takes(namespace=False)
def command(call: Invocation, *, kind: str) -> int:
    """Say which backend is used, and why.

    KIND is pattern-store, learner, ranker, analyzer, storage, embedder or text-index. Every rung of the ladder is
    shown, highest first; the first that says something decides and is marked with ">". Exits with 1 if what it names
    cannot be used.

    JSON keys: kind, namespace, backend, reason, source, rungs (name, value, reason, source, decided), options,
    fallback, distribution, version, status, note.
    """
    from aqe_core.config import load
    from aqe_core.errors import PluginError
    from aqe_core.plugins import PluginManager
    from aqe_core.selection import select

    config = load(call.project)
    selection = select(kind.replace("-", "_"), config, namespace=call.namespace)
    status, note = "ready", ""
    try:
        found = PluginManager(config).find_engine(selection.kind, selection.backend)
        selection = attrs.evolve(selection, distribution=found.source.distribution, version=found.source.version)
    except PluginError as error:
        status, note = error.code, str(error)
    deciding = next(i for i, rung in enumerate(selection.rungs) if rung.value is not None)
    data = {**selection.to_dict(), "status": status, "note": note}
    data["rungs"] = [{**rung, "decided": i == deciding} for i, rung in enumerate(data["rungs"])]
    call.emit(data, lambda: _draw(selection, data))
    return 0 if status == "ready" else 1


def _draw(selection: Selection, data: dict[str, Any]) -> None:
    from aqe_core.cli.draw import Page
    from aqe_core.selection import REASONS

    page = Page()
    noun = selection.kind.replace("_", " ")
    who = f" ({selection.distribution} {selection.version})" if selection.distribution else ""
    page.say(f"The {noun} of namespace {selection.namespace!r} is {selection.backend}{who}.", "bold")
    if data["note"]:
        page.say(data["note"], "red")
        if selection.fallback:
            page.say(f"{noun}.fallback is on: the default stands in.")
    rows = [
        (">" if rung["decided"] else "", rung["name"], rung["value"] or "-", rung["reason"], rung["source"])
        for rung in data["rungs"]
    ]
    styles = ["bold" if rung["decided"] else "" for rung in data["rungs"]]
    page.table(["", "rung", "says", "reason", "where or why"], rows, styles=styles)
    page.say(f"{selection.reason}: {REASONS[selection.reason]}.", "dim")
    if selection.options:
        page.say("options: " + ", ".join(f"{name}={value!r}" for name, value in selection.options.items()))
