"""``aqe restore``: put a backup in place of the data file."""

from __future__ import annotations

from pathlib import Path

import click

from aqe_core.cli.invocation import Invocation, counted, takes

__all__ = ["command"]


@click.command("restore")
@click.argument("source", type=click.Path(path_type=Path))
@takes(namespace=False)
def command(call: Invocation, *, source: Path) -> None:
    """Put a backup in place of the data file.

    SOURCE is verified first and then copied. The file that was there is kept in the folder backups. Who has the
    workspace open is told at the next call that the file was replaced; who writes just now is named, and waited for.

    JSON keys: path, source, replaced, rows (by table).
    """
    from aqe_core.maintenance import maintenance

    done = maintenance(call.project, create=True).restore(source)

    def draw() -> None:
        click.echo(f"restored: {done.path} from {done.source} ({counted(sum(done.rows.values()), 'row')}, verified)")
        if done.replaced is not None:
            click.echo(f"kept: {done.replaced}, the file that was there")

    call.emit(done.to_dict(), draw)
