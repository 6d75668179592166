"""``aqe ingest``: take test sources and result files into the workspace."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from aqe_core.cli.invocation import Invocation, counted, printable, progress, takes

if TYPE_CHECKING:
    from aqe_core.contracts.ingest import Skipped
    from aqe_core.ingest import IngestReport

__all__ = ["command", "skipped_lines", "summary"]

_SHOWN = 20


@click.command("ingest")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@takes("embedder", "pattern_store", "text_index")
def command(call: Invocation, *, paths: tuple[Path, ...]) -> None:
    """Take test sources and result files into the workspace.

    PATHS are files, or folders that are searched; the whole project when none is given. What is there already is
    recognized, and what has vanished from a source is removed. A file that cannot be read is left out and listed when
    it was found in a folder, and an error when it was named.

    JSON keys: project, files, added, changed, unchanged, removed, runs_added, runs_known, results_added, skipped
    (where, reason), elapsed_s.
    """
    with call.open(create=True) as ws, progress() as show:
        report = ws.ingest(*paths, progress=show)

    def draw() -> None:
        click.echo(summary(report))
        for line in skipped_lines(report):
            click.echo(line)

    call.emit({"project": str(call.project), **report.to_dict()}, draw)


def summary(report: IngestReport) -> str:
    """Return what an ingest did, in one line."""
    counts = {
        "added": report.added,
        "changed": report.changed,
        "removed": report.removed,
        "unchanged": report.unchanged,
    }
    patterns = ", ".join(f"{count} {what}" for what, count in counts.items() if count) or "none"
    runs = f"{report.results_added} in {counted(report.runs_added, 'run')} added" if report.runs_added else "none added"
    if report.runs_known:
        runs += f", {counted(report.runs_known, 'run')} known already"
    changed = report.added or report.changed or report.removed or report.runs_added
    known = report.unchanged or report.runs_known
    head = "nothing changed; " if known and not changed else ""
    skipped = f"; skipped: {len(report.skipped)}" if report.skipped else ""
    read = f"({counted(report.files, 'file')}, {report.elapsed_s:.1f} s)"
    return f"{head}patterns: {patterns}; results: {runs}{skipped} {read}"


def skipped_lines(report: IngestReport, shown: int = _SHOWN) -> list[str]:
    """Return a line for each reason why something was not taken; for those beyond ``shown`` only their number."""
    alike: dict[str, list[Skipped]] = {}
    for each in report.skipped:
        alike.setdefault(each.reason.replace(each.where, ""), []).append(each)
    lines = []
    for (where, reason), *more in alike.values():
        told = reason if where in reason else f"{where}: {reason}"
        lines.append(f"  skipped {1 + len(more)} alike, e.g. {told}" if more else f"  skipped {told}")
    rest = sum(map(len, list(alike.values())[shown:]))
    return [*map(printable, lines[:shown]), *([f"  ... and {rest} more (--json lists all)"] if rest else [])]
