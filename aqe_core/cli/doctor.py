"""``aqe doctor``: examine the installation and the workspace."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from aqe_core.cli.invocation import Invocation, takes

if TYPE_CHECKING:
    from aqe_core.cli.examine import Finding

__all__ = ["command"]


@click.command("doctor")
@takes()
def command(call: Invocation) -> int:
    """Examine the installation and the workspace.

    Looks at Python, at other programs named aqe, at config files, environment variables and plugins; makes each
    selected engine do real work; opens the workspace if there is one, and compares what its pattern store finds of its
    own vectors with an exact scan. Exits with 1 if something fails.

    JSON keys: ok, version, project, checks (name, status: ok | warn | fail, message, fix, elapsed_s).
    """
    from aqe_core import __version__
    from aqe_core.cli.examine import examine

    findings = list(examine(call.project, call.namespace))
    ok = all(finding.status != "fail" for finding in findings)
    data = {
        "ok": ok,
        "version": __version__,
        "project": str(call.project),
        "checks": [finding.to_dict() for finding in findings],
    }
    call.emit(data, lambda: _draw(findings))
    return 0 if ok else 1


def _draw(findings: list[Finding]) -> None:
    from aqe_core.cli.draw import Page, seconds

    page = Page()
    styles = {"ok": "green", "warn": "yellow", "fail": "bold red"}
    for finding in findings:
        took = f"  ({seconds(finding.elapsed_s)})" if finding.elapsed_s >= 0.001 else ""
        page.say(f"{finding.status:4}  {finding.name}: {finding.message}{took}", styles[finding.status])
        if finding.fix:
            page.say(f"      fix: {finding.fix}")
    counts = {status: sum(finding.status == status for finding in findings) for status in styles}
    page.say(", ".join(f"{count} {status}" for status, count in counts.items() if count))
