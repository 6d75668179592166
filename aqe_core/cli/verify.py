"""``aqe verify``: examine the data file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from aqe_core.cli.invocation import Invocation, counted, takes

if TYPE_CHECKING:
    from aqe_core.contracts.maintenance import Verification

__all__ = ["command"]


@click.command("verify")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@takes(namespace=False)
def command(call: Invocation, *, file: Path | None) -> int:
    """Examine the data file: structure, checksums, journal.

    Looks at FILE, such as a backup, by default at the project's data file. Reads everything, changes nothing, and can
    be run while others write. An error means that something stored is damaged; a warning, that something is which is
    made again from the rest. Exits with 1 for either.

    JSON keys: ok, path, findings (severity: error | warning | note, check, message, table, row, fix), rows (by table),
    schema_version, newest_schema_version, pending_migrations.
    """
    from aqe_core.maintenance import maintenance

    found = maintenance(call.project, file=file).verify()
    call.emit({"ok": found.ok, **found.to_dict()}, lambda: _draw(found))
    return 0 if found.ok else 1


def _draw(found: Verification) -> None:
    from aqe_core.cli.draw import Page

    page = Page()
    styles = {"error": "bold red", "warning": "yellow", "note": ""}
    for each in found.findings:
        where = " ".join(part for part in (each.table, each.row) if part)
        page.say(
            f"{each.severity}: {each.check}{f' ({where})' if where else ''}: {each.message}", styles[each.severity]
        )
    for fix in dict.fromkeys(each.fix for each in found.findings if each.fix):
        page.say(f"fix: {fix}")
    total = sum(found.rows.values())
    read = f"{counted(total, 'row')} in {counted(len(found.rows), 'table')} of {found.path}"
    page.say(f"{'sound' if found.ok else 'NOT SOUND'}: {read}, schema version {found.schema_version}")
