"""``aqe backup``: make a verified copy of the data file."""

from __future__ import annotations

from pathlib import Path

import click

from aqe_core.cli.invocation import Invocation, counted, takes

__all__ = ["command"]


@click.command("backup")
@click.argument("target", required=False, type=click.Path(path_type=Path))
@takes(namespace=False)
def command(call: Invocation, *, target: Path | None) -> None:
    """Make a verified copy of the data file, while it is in use.

    The copy is the file as it was at one moment, whoever writes meanwhile. It is verified before it gets its name,
    TARGET; by default one made of the time (UTC) in the folder backups beside the data file. Nothing is overwritten.

    JSON keys: path, backup, size_bytes, rows (by table).
    """
    from aqe_core.maintenance import maintenance

    made = maintenance(call.project).backup(target)

    def draw() -> None:
        rows = counted(sum(made.rows.values()), "row")
        click.echo(f"made: {made.backup} ({rows}, {made.size_bytes:,} bytes, verified)")
        click.echo(f"next: aqe restore{call.here()} {made.backup}  # puts it back, whenever that is needed")

    call.emit(made.to_dict(), draw)
