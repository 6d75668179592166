"""``aqe bench``: measure on this machine."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from aqe_core.cli.invocation import FOLDER, Invocation, takes

if TYPE_CHECKING:
    from pathlib import Path

    from aqe_core.plugins import FoundEngine

__all__ = ["KINDS", "command"]

KINDS = {"learning": "aqe_core.bench.learning", "storage": "aqe_core.bench.storage"}
"""What can be measured, and by which module.

A module has ``ENGINE`` (the kind of engine), ``ROWS`` (the default of ``--rows``), ``measure(found, *, folder, rounds,
seconds, rows, progress)``, which returns JSON values with ``measures`` as `aqe_core.bench.measure.run` makes them, and
``notes(measured)``, the lines below the table.
"""


@click.command("bench")
@click.argument("what", type=click.Choice(sorted(KINDS)))
@click.option("--backend", metavar="NAME", help="Measure this backend instead of the project's.")
@click.option("--dir", "folder", type=FOLDER, help="Measure the disk of this folder, by default the project's.")
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="Report the median of these.")
@click.option("--seconds", type=click.FloatRange(0.01), default=1.0, show_default=True, help="Length of a round.")
@click.option("--rows", type=click.IntRange(1), help="Patterns, or states of a table; else a number that fits.")
@takes(namespace=False)
def command(
    call: Invocation,
    *,
    what: str,
    backend: str | None,
    folder: Path | None,
    rounds: int,
    seconds: float,
    rows: int | None,
) -> int:
    """Measure on this machine, beside peers in alternating rounds.

    learning: updates of a table one at a time and in batches, beside a dictionary and NumPy; LinUCB; a replay, beside
    a deque and the libraries cpprb, stable-baselines3, tianshou and torchrl where they are installed; PPO on CartPole.
    Set OPENBLAS_NUM_THREADS=1: small matrices lose by threads.

    storage: durable writes by 1 to 128 callers at once, bulk writes, lookups, loading, opening and backup, each beside
    SQLite used directly (and better-sqlite3, if node finds it) on the same disk. Works in a temporary folder and
    removes it.

    JSON keys: what, backend, rounds, measures (name, unit, value, lowest, highest, peers (name, value, ratio); of
    storage also p50_ms, p99_ms), facts (of learning absent, failed; of storage folder, sqlite_version, node,
    syncs_per_write).
    """
    from aqe_core.cli.invocation import progress

    module = import_module(KINDS[what])
    found = _engine_of(call.project, module.ENGINE, backend)
    with progress() as shown:
        measured = module.measure(
            found,
            folder=folder or call.project,
            rounds=rounds,
            seconds=seconds,
            rows=rows or module.ROWS,
            progress=shown,
        )
    told = {"what": what, "backend": found.spec.name, **{name: measured[name] for name in ("rounds", "measures")}}
    facts = {name: value for name, value in measured.items() if name not in told}
    call.emit({**told, "facts": facts}, lambda: _draw(measured, module.notes(measured)))
    return 0


def _engine_of(root: Path, kind: str, backend: str | None) -> FoundEngine:
    """Return the project's engine of a kind, or the named one."""
    from aqe_core.config import load
    from aqe_core.plugins import PluginManager
    from aqe_core.selection import select

    config = load(root)
    return PluginManager(config).find_engine(kind, select(kind, config, explicit=backend).backend)


def _draw(found: dict[str, Any], notes: list[str]) -> None:
    from aqe_core.cli.draw import Page

    page = Page()
    rows = []
    for each in found["measures"]:
        latency = "" if each.get("p50_ms") is None else f"{each['p50_ms']:.2f} / {each['p99_ms']:.2f} ms"
        beside = ", ".join(f"{peer['ratio']:.2f}x {peer['name']}" for peer in each["peers"])
        name = each["name"].replace("_", " ")
        rows.append((name, f"{each['value']:,.4g}", each["unit"], latency, beside))
    page.table(["measure", ">median", "unit", "p50 / p99", "as fast as"], rows)
    for line in notes:
        page.say(line)
