"""``aqe bench``: measure on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from aqe_core.cli.invocation import FOLDER, Invocation, takes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["command"]


@click.command("bench")
@click.argument("what", type=click.Choice(["storage"]))
@click.option("--dir", "folder", type=FOLDER, help="Measure the disk of this folder, by default the project's.")
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="Report the median of these.")
@click.option("--seconds", type=click.FloatRange(0.01), default=1.0, show_default=True, help="Length of a round.")
@click.option("--rows", type=click.IntRange(1), default=5_000, show_default=True, help="Patterns in bulk measures.")
@takes(namespace=False)
def command(call: Invocation, *, what: str, folder: Path | None, rounds: int, seconds: float, rows: int) -> int:
    """Measure on this machine.

    storage: durable writes by 1 to 128 callers at once, bulk writes, lookups, loading, opening and backup, each beside
    SQLite used directly (and better-sqlite3, if node finds it) on the same disk in alternating rounds. Works in a
    temporary folder and removes it.

    JSON keys: what, folder, sqlite_version, rounds, node, syncs_per_write, measures (name, unit, value, lowest,
    highest, p50_ms, p99_ms, peers (name, value, ratio)).
    """
    from aqe_core.cli.invocation import progress

    run = _benchmark_of(call.project, what)
    where = folder or call.project
    with progress() as shown:
        found = run(where, rounds=rounds, seconds=seconds, rows=rows, progress=shown)
    call.emit({"what": what, "folder": str(where), **found}, lambda: _draw(found))
    return 0


def _benchmark_of(root: Path, kind: str) -> Callable[..., dict[str, Any]]:
    """Return what measures the project's engine of a kind."""
    from aqe_core.config import load
    from aqe_core.errors import CapabilityError
    from aqe_core.isolation import resolve
    from aqe_core.plugins import PluginManager
    from aqe_core.selection import select

    config = load(root)
    backend = select(kind, config).backend
    found = PluginManager(config).find_engine(kind, backend)
    benchmark: Callable[..., dict[str, Any]] | None = getattr(
        resolve(found.spec.factory, found.source), "benchmark", None
    )
    if benchmark is None:
        raise CapabilityError(f"the {kind} {backend!r} offers no benchmark.", fix="measure it with its own tools.")
    return benchmark


def _draw(found: dict[str, Any]) -> None:
    from aqe_core.cli.draw import Page

    page = Page()
    rows = []
    for each in found["measures"]:
        latency = "" if each["p50_ms"] is None else f"{each['p50_ms']:.2f} / {each['p99_ms']:.2f} ms"
        beside = ", ".join(f"{peer['ratio']:.2f}x {peer['name']}" for peer in each["peers"])
        name = each["name"].replace("_", " ")
        rows.append((name, f"{each['value']:,.4g}", each["unit"], latency, beside))
    page.table(["measure", ">median", "unit", "p50 / p99", "as fast as"], rows)
    page.say(f"syncs per durable write of a lone caller: {found['syncs_per_write']:.3f}")
    page.say(f"SQLite {found['sqlite_version']}; {found['node']}; {found['rounds']} rounds")
