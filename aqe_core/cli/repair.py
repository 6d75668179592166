"""``aqe repair``: save what can be read of a damaged data file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from aqe_core.cli.invocation import Invocation, counted, takes

if TYPE_CHECKING:
    from aqe_core.contracts.maintenance import Repair

__all__ = ["command"]


@click.command("repair")
@takes(namespace=False)
def command(call: Invocation) -> int:
    """Save what can be read of a damaged data file.

    Reads the file page by page, also where its schema or indexes are broken, and writes every row that is whole into
    a new file, which is verified and takes the place of the damaged one. That is kept untouched in the folder backups.
    What could not be saved is listed row by row; then the exit code is 1.

    JSON keys: path, damaged, rows (by table), lost (table, row, reason), notes.
    """
    from aqe_core.maintenance import maintenance

    done = maintenance(call.project).repair()
    call.emit(done.to_dict(), lambda: _draw(done))
    return 1 if done.lost else 0


def _draw(done: Repair) -> None:
    if done.damaged is None:
        click.echo(f"sound: {done.path}; there is nothing to repair")
        return
    click.echo(f"repaired: {done.path} ({counted(sum(done.rows.values()), 'row')} saved, verified)")
    click.echo(f"kept: {done.damaged}, the file as it was")
    for note in done.notes:
        click.echo(f"note: {note}")
    for each in done.lost:
        click.echo(f"lost: {each.table or 'some table'}{f', {each.row}' if each.row else ''}: {each.reason}")
    click.echo(f"{len(done.lost) or 'nothing'} lost{'' if done.lost else ' that is not made again'}")
