"""``aqe compact``: give the space of what was removed back."""

from __future__ import annotations

import click

from aqe_core.cli.invocation import Invocation, takes

__all__ = ["command"]


@click.command("compact")
@takes(namespace=False)
def command(call: Invocation) -> None:
    """Give the space of what was removed back.

    Verifies the data file, removes what nothing needs any more (old journal entries, names of tests without results,
    words of removed patterns), and rewrites it without gaps. Needs as much free space as the file takes. Others may
    read meanwhile, and wait to write.

    JSON keys: path, before_bytes, after_bytes, removed (rows by table).
    """
    from aqe_core.maintenance import maintenance

    done = maintenance(call.project).compact()

    def draw() -> None:
        click.echo(f"compacted: {done.path}, {done.before_bytes:,} bytes before, {done.after_bytes:,} bytes after")
        for table, count in done.removed.items():
            if count:
                click.echo(f"  removed from {table}: {count:,}")

    call.emit(done.to_dict(), draw)
