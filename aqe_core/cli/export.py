"""``aqe export``: write everything as open files."""

from __future__ import annotations

from pathlib import Path

import click

from aqe_core.cli.invocation import Invocation, counted, takes

__all__ = ["command"]


@click.command("export")
@click.argument("target", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "format_",
    type=click.Choice(["jsonl", "parquet"]),
    default="jsonl",
    show_default=True,
    help="Format of the tables.",
)
@takes(namespace=False)
def command(call: Invocation, *, target: Path, format_: str) -> None:
    """Write everything as open files: JSON Lines or Parquet.

    TARGET is a new folder: a file per table, an .npy file per array of an engine state, and manifest.json with the
    numbers of rows and checksums. Vectors are left out; they are made again from the patterns. Parquet needs pyarrow.

    JSON keys: path, folder, format, rows (by table).
    """
    from aqe_core.maintenance import maintenance

    done = maintenance(call.project).export(target, format=format_)
    total = counted(sum(done.rows.values()), "row")
    call.emit(done.to_dict(), lambda: click.echo(f"exported: {total} in {len(done.rows)} tables to {done.folder}"))
