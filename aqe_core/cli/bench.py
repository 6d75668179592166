"""``aqe bench``: measure on this machine."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from aqe_core.cli.invocation import FILE, FOLDER, Invocation, takes
from aqe_core.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from aqe_core.plugins import FoundEngine

__all__ = ["KINDS", "command"]

KINDS = {
    "learning": "aqe_core.bench.learning",
    "quantization": "aqe_core.bench.quantization",
    "storage": "aqe_core.bench.storage",
}
"""What can be measured of one backend, and by which module; ``search`` compares several (`aqe_core.bench.search`).

A module has ``ENGINE`` (the kind of engine), ``ROWS`` (the default of ``--rows``), ``measure(found, *, folder, rounds,
seconds, rows, progress)``, which returns JSON values with ``measures`` as `aqe_core.bench.measure.run` makes them, and
``notes(measured)``, the lines below the table.
"""


_OF_SEARCH: dict[str, Any] = {"backends": None, "data": None, "sizes": None, "queries": 200, "reference": "numpy"}


@click.command("bench")
@click.argument("what", type=click.Choice(sorted([*KINDS, "search"])))
@click.option("--backend", metavar="NAME", help="Measure this backend instead of the project's.")
@click.option("--dir", "folder", type=FOLDER, help="Measure the disk of this folder, by default the project's.")
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="Report the median of these.")
@click.option("--seconds", type=click.FloatRange(0.01), default=1.0, show_default=True, help="Length of a round.")
@click.option(
    "--rows", type=click.IntRange(1), help="Patterns, vectors, or states of a table; else a number that fits."
)
@click.option("--backends", metavar="A,B:ef=64", help="search: these, with settings; all, with several, by default.")
@click.option("--data", type=FILE, help="search: vectors in an .npy file, shape (rows, dimensions).")
@click.option("--sizes", metavar="N,N", help="search: so many rows, one after the other; 2000,12000 by default.")
@click.option("--queries", type=click.IntRange(1, 10_000), help="search: rows held out to search for; 200 by default.")
@click.option("--reference", metavar="NAME", help="search: say how many times as fast as this; numpy by default.")
@takes(namespace=True)
def command(
    call: Invocation,
    *,
    what: str,
    backend: str | None,
    folder: Path | None,
    rounds: int,
    seconds: float,
    rows: int | None,
    **of_search: Any,
) -> int:
    """Measure on this machine, beside peers in alternating rounds.

    learning: updates of a table one at a time and in batches, beside a dictionary and NumPy; LinUCB; a replay, beside
    a deque and the libraries cpprb, stable-baselines3, tianshou and torchrl where they are installed; PPO on CartPole.
    Set OPENBLAS_NUM_THREADS=1: small matrices lose by threads.

    quantization: vectors as short codes, of every scheme that the backend has: bytes, recall at 10, the share of the
    true ten among the best 100, vectors trained on, encoded and scored a second, beside the exact scan in float32. On
    the vectors of the workspace, if it has 1,000, else on made ones.

    search: pattern stores on the same vectors, one query at a time, with the recall each has. By default on the vectors
    of the workspace, if it has 1,000, else on made ones. Names backends that are not installed, and how to install
    them. Settings after a colon are options of the backend. --seconds does not matter.

    storage: durable writes by 1 to 128 callers at once, bulk writes, lookups, loading, opening and backup, each beside
    SQLite used directly (and better-sqlite3, if node finds it) on the same disk; how evenly 4 processes that write get
    their turns; lookups and a backup while another process writes; opening after one was killed that left a log of 100
    MB; and searching for words as a workspace does it, beside the storage's own index. Works in a temporary folder and
    removes it.

    JSON keys: what, backend (of search the reference), rounds, measures (name, unit, value, lowest, highest, peers
    (name, value, ratio); of storage also p50_ms, p99_ms; of search size, backend, options, recall, p50_us, p99_us,
    calm_p50_us, calm_p99_us, batch_per_s, build_per_s, bytes_per_vector), facts (of learning absent, failed; of
    quantization rows, data, dim, queries; of storage folder, sqlite_version, node, syncs_per_write, longest_log_bytes,
    longest_write_beside_backup_ms; of search data, dim, queries, absent, failed, choices).
    """
    _refuse_foreign(what, {"backend": backend, "dir": folder, "rows": rows}, of_search)
    if what == "search":
        from aqe_core.cli.bench_search import compare

        given = {name: value for name, value in of_search.items() if value is not None}
        return compare(call, rounds=rounds, **{**_OF_SEARCH, **given})
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


def _refuse_foreign(what: str, of_others: dict[str, Any], of_search: dict[str, Any]) -> None:
    """Refuse options of another kind."""
    foreign = of_others if what == "search" else of_search
    for name, value in foreign.items():
        if value is not None:
            raise UsageError(
                f"`aqe bench {what}` has no option --{name}.", fix="`aqe bench --help` says what is whose."
            )


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
