"""``aqe backends``: list every backend and plugin, and what is wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import click

from aqe_core.cli.invocation import Invocation, takes

if TYPE_CHECKING:
    from aqe_core.config import Config
    from aqe_core.errors import AqeError
    from aqe_core.isolation import PluginSource
    from aqe_core.plugins import FoundEngine, PluginManager

__all__ = ["command", "survey"]


@click.command("backends")
@takes()
def command(call: Invocation) -> int:
    """List every backend and plugin, and what is wrong with it.

    A backend is ready, missing (what it needs is not installed), broken, left out (by the config or the environment)
    or claimed twice. The one that this project uses is marked with "*". Exits with 1 if a plugin is broken or a name
    claimed twice.

    JSON keys: ok, backends (kind, name, distribution, version, status, note, selected, capabilities, summary), formats
    (name, suffixes, discover, distribution, version, summary), plugins (name, module, distribution, version, status,
    note), extras (name, install).
    """
    from aqe_core.config import load
    from aqe_core.plugins import PluginManager

    config = load(call.project)
    found = survey(PluginManager(config), config, call.namespace)
    call.emit(found, lambda: _draw(found))
    return 0 if found["ok"] else 1


def survey(manager: PluginManager, config: Config, namespace: str = "default") -> dict[str, Any]:
    """Return everything that ``aqe backends --json`` prints."""
    from aqe_core.contracts.specs import KINDS
    from aqe_core.plugins import KNOWN_EXTRAS, iter_problems
    from aqe_core.selection import select

    problems = dict(iter_problems(manager))
    selected = {kind: select(kind, config, namespace=namespace).backend for kind in KINDS}
    plugins = [_plugin(source, manager.left_out(source), problems.get(source.name)) for source in manager.sources()]
    backends = [
        _backend(manager, found, selected=selected[kind] == found.spec.name)
        for kind in KINDS
        for found in manager.engines(kind)
    ]
    present = {each["name"] for each in plugins} | {each["name"].rpartition("/")[2] for each in backends}
    return {
        "ok": not problems,
        "backends": backends,
        "formats": [
            {
                "name": each.spec.name,
                "suffixes": list(each.spec.suffixes),
                "discover": each.spec.discover,
                "distribution": each.source.distribution,
                "version": each.source.version,
                "summary": each.spec.summary,
            }
            for each in manager.formats()
        ],
        "plugins": plugins,
        "extras": [{"name": name, "install": install} for name, install in KNOWN_EXTRAS.items() if name not in present],
    }


def _plugin(source: PluginSource, left_out: str, problem: AqeError | None) -> dict[str, str]:
    status, note = "ready", ""
    if left_out:
        status, note = "left out", left_out
    elif problem is not None:
        status = "claimed twice" if problem.code == "plugin-duplicate" else "broken"
        note = f"{problem.message} Fix: {problem.fix}"
    return {**attrs.asdict(source), "status": status, "note": note}


def _backend(manager: PluginManager, found: FoundEngine, *, selected: bool) -> dict[str, Any]:
    from aqe_core.errors import DuplicateNameError, MissingExtraError

    status, note = "ready", ""
    try:
        manager.find_engine(found.kind, found.spec.name)
    except MissingExtraError as error:
        status, note = "missing", error.fix
    except DuplicateNameError as error:
        status, note = "claimed twice", error.fix
    return {
        "kind": found.kind,
        "name": found.spec.name,
        "distribution": found.source.distribution,
        "version": found.source.version,
        "status": status,
        "note": note,
        "selected": selected,
        "capabilities": _capabilities(found.spec.capabilities),
        "summary": found.spec.summary,
    }


def _capabilities(capabilities: Any) -> dict[str, Any]:
    if capabilities is None:
        return {}
    values = attrs.asdict(capabilities)
    return {name: sorted(value) if isinstance(value, frozenset) else value for name, value in values.items()}


def _draw(found: dict[str, Any]) -> None:
    from aqe_core.cli.draw import Page

    page = Page()
    rows = [
        (
            each["kind"].replace("_", " "),
            ("* " if each["selected"] else "  ") + each["name"],
            f"{each['distribution']} {each['version']}",
            each["status"] + (f": {each['note']}" if each["note"] else ""),
            _in_words(each["capabilities"]),
            each["summary"],
        )
        for each in found["backends"]
    ]
    styles = ["" if each["status"] == "ready" else "yellow" for each in found["backends"]]
    page.table(["kind", "  name", "distribution", "status", "capabilities", "what"], rows, styles=styles)
    page.heading("Files that `aqe ingest` reads")
    page.table(
        ["format", "suffixes", "distribution", "what"],
        [
            (each["name"], " ".join(each["suffixes"]), f"{each['distribution']} {each['version']}", each["summary"])
            for each in found["formats"]
        ],
    )
    troubled = [each for each in found["plugins"] if each["status"] != "ready"]
    if troubled:
        page.heading("Plugins that are not used")
        why = [
            (each["name"], f"{each['distribution']} {each['version']}", each["status"], each["note"])
            for each in troubled
        ]
        page.table(["plugin", "distribution", "status", "why"], why, styles=["red"] * len(why))
    page.heading("Not installed")
    page.table(["name", "install with"], [(each["name"], each["install"]) for each in found["extras"]])


def _in_words(capabilities: dict[str, Any]) -> str:
    words = []
    for name, value in capabilities.items():
        if value is True:
            words.append(name)
        elif isinstance(value, list):
            words.append("/".join(value))
        elif isinstance(value, str):
            words.append(value)
    return ", ".join(words)
