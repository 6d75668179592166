"""``aqe migrate``: take over the databases of a project of agentic-qe 2.8."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aqe_core.cli.invocation import FOLDER, Invocation, progress, takes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aqe_core.cli.draw import Page

__all__ = ["command"]


@click.command("migrate")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--into", "path", type=FOLDER, help="The project's folder that takes them, else the nearest one.")
@click.option("--namespace", default="agentic-qe", show_default=True, help="Which set of patterns they go to.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done; nothing is kept.")
@click.option("--now", "now_ms", type=int, metavar="MS", help="Milliseconds since 1970 for what has expired, else now.")
@takes(project=False, namespace=False)
def command(call: Invocation, *, source: Path, dry_run: bool, now_ms: int | None) -> int:
    """Take over the databases of an agentic-qe project.

    SOURCE is the folder of a project of version 2.8, or one database file; it is only read. Every row is converted,
    kept in the archive as it was, or counted as skipped with the reason. Interrupted, the next call goes on; a file
    that was taken over before adds nothing. Exit code 1: rows were skipped or a file is damaged.

    JSON keys: files (by name: kind, problems, tables (by name: rows, converted, archived, skipped, reasons)), q_values
    (by agent: stored, lost, rebuilt, verified), entries (by partition: rows, live), dry_run, project.
    """
    from aqe_core.legacy import legacy_of, scratch, take_over

    now_s = time.time() if now_ms is None else now_ms / 1000
    with progress() as show:
        with scratch() as storage:
            storage.find_old(source)  # before a workspace is made for nothing
            if dry_run:
                report = take_over(storage, source, namespace=call.namespace, progress=show)
                partitions = legacy_of(storage).partitions(now_s=now_s)
        if not dry_run:
            with call.open(create=True) as ws:
                report = take_over(ws.storage, source, namespace=call.namespace, progress=show)
                partitions = legacy_of(ws.storage).partitions(now_s=now_s)
    entries = {name: {"rows": rows, "live": live} for name, (rows, live) in partitions.items()}

    def draw() -> None:
        from aqe_core.cli.draw import Page

        _draw(Page(), report, entries, dry_run=dry_run)

    call.emit({**report, "entries": entries, "dry_run": dry_run, "project": str(call.project)}, draw)
    return int(_is_damaged(report))


def _is_damaged(report: Mapping[str, Any]) -> bool:
    files = [file for file in report["files"].values() if file["kind"] == "sqlite"]
    return any(file["problems"] or any(table["skipped"] for table in file["tables"].values()) for file in files)


def _draw(page: Page, report: Mapping[str, Any], entries: Mapping[str, Any], *, dry_run: bool) -> None:
    rows = []
    for name, file in report["files"].items():
        counts = [
            sum(table[what] for table in file["tables"].values())
            for what in ("rows", "converted", "archived", "skipped")
        ]
        rows.append((name, file["kind"], *(str(count) for count in counts)))
    page.table(["file", "kind", ">rows", ">converted", ">archived", ">skipped"], rows)
    for name, file in report["files"].items():
        for problem in file["problems"]:
            click.echo(f"{name}: {problem}")
        for table, counts in file["tables"].items():
            if counts["skipped"]:
                reasons = "; ".join(f"{reason} ({count})" for reason, count in counts["reasons"].items())
                click.echo(f"{name}: {table}: {counts['skipped']} of {counts['rows']} rows skipped: {reasons}")
    agents = report["q_values"].values()
    stored, lost, rebuilt = (sum(agent[what] for agent in agents) for what in ("stored", "lost", "rebuilt"))
    live = sum(partition["live"] for partition in entries.values())
    click.echo(f"Q-values: {stored} stored, {lost} of them lost by the ancestor; {rebuilt} rebuilt from experiences")
    click.echo(f"entries: {sum(partition['rows'] for partition in entries.values())}, {live} of them live")
    if dry_run:
        click.echo("nothing was kept: this was a dry run")
