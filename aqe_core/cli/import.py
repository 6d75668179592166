"""``aqe import``: make the data file from an export."""  # noqa: N999  # modules are named after their verbs

from __future__ import annotations

from pathlib import Path

import click

from aqe_core.cli.invocation import Invocation, counted, takes

__all__ = ["command"]


@click.command("import")
@click.argument("source", type=click.Path(path_type=Path))
@takes(namespace=False)
def command(call: Invocation, *, source: Path) -> None:
    """Make the data file from an export.

    SOURCE is a folder that `aqe export` wrote. Its checksums are compared, and the new file is verified, before it
    takes its place. The project must not hold data yet.

    JSON keys: path, folder, format, rows (by table).
    """
    from aqe_core.maintenance import maintenance

    done = maintenance(call.project, create=True).import_(source)
    total = counted(sum(done.rows.values()), "row")
    call.emit(done.to_dict(), lambda: click.echo(f"imported: {total} from {done.folder} to {done.path}, verified"))
