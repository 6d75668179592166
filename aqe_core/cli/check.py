"""``aqe check``: run the conformance kit on a backend."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from aqe_core.cli.invocation import Invocation, takes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aqe_core.testing.kit import Report

__all__ = ["command"]


@click.command("check")
@click.argument("name")
@click.option(
    "--kind",
    help="Only this kind of engine: pattern-store, learner, ranker, analyzer, storage, embedder or text-index.",
)
@click.option("--verbose", "-v", is_flag=True, help="Also show passed and skipped checks, and tracebacks.")
@takes(project=False, namespace=False)
def command(call: Invocation, *, name: str, kind: str | None, verbose: bool) -> int:
    """Run the conformance kit on a backend.

    NAME is as `aqe backends` prints it, or file:PATH.py:CLASS (with --kind). Exits with 1 if a check fails.

    JSON keys: ok, reports (kind, engine, aqe_version, api_version, ok, counts, checks (name, status, message, advice,
    traceback, duration_s)).
    """
    reports = _reports(name, None if kind is None else kind.replace("-", "_"))
    ok = all(report.ok for report in reports)
    data = {"ok": ok, "reports": [report.to_dict() for report in reports]}
    call.emit(data, lambda: _draw(reports, verbose=verbose))
    return 0 if ok else 1


def _reports(name: str, kind: str | None) -> Sequence[Report]:
    from aqe_core.errors import UsageError
    from aqe_core.testing import check_backend, checks, run_checks
    from aqe_core.testing.installed import maker

    if kind is not None:
        checks(kind)  # refuses an unknown kind before anything is made
        make, capabilities = maker(kind, name)
        return [run_checks(kind, make, capabilities, engine=name)]
    if name.startswith("file:"):
        raise UsageError("a file does not say what kind of engine it holds.", fix="add e.g. --kind pattern-store")
    return check_backend(name)


def _draw(reports: Sequence[Report], *, verbose: bool) -> None:
    styles = {"passed": "green", "failed": "red", "unexpected-pass": "red"}
    for report in reports:
        head = f"{report.kind.replace('_', ' ')} {report.engine} (aqe {report.aqe_version}, API {report.api_version})"
        click.echo(click.style(head, bold=True))
        for outcome in report.outcomes:
            if outcome.status in {"passed", "skipped"} and not verbose:
                continue
            status = click.style(f"{outcome.status:8}", fg=styles.get(outcome.status, "yellow"))
            click.echo(f"  {status}  {outcome.check.name}" + (f": {outcome.message}" if outcome.message else ""))
            if not outcome.ok:
                click.echo(f"            {outcome.check.advice}")
                if verbose:
                    click.echo(outcome.traceback)
        counts = ", ".join(f"{count} {status}" for status, count in report.counts.items() if count)
        click.echo(f"  {counts or 'no checks'}: {'ok' if report.ok else 'NOT OK'}")
