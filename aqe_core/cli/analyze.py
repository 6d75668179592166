"""``aqe analyze``: show the slowest and the flakiest tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from aqe_core.cli.invocation import Invocation, counted, takes

if TYPE_CHECKING:
    from aqe_core.analysis import Analysis
    from aqe_core.cli.draw import Page

__all__ = ["command", "draw_analysis"]


@click.command("analyze")
@click.option("-k", type=click.IntRange(min=1), default=10, show_default=True, help="How many of each.")
@takes("analyzer", namespace=False)
def command(call: Invocation, *, k: int) -> None:
    """Show the slowest and the flakiest tests.

    A test is flaky when its outcome changed at least twice; the rate is of changes between consecutive runs, with its
    95 % interval.

    JSON keys: runs, results, outcomes, duration (n, mean_s, std_s, min_s, median_s, max_s, p5_s ... p99_s), slowest
    (test, runs, mean_s, p95_s, share), flakiest (test, runs, failures, flips, flip_rate, low, high).
    """
    with call.open_to_read() as ws:
        analysis = ws.analyze(k)

    def draw() -> None:
        if not analysis.runs:
            click.echo("no results are known: run `aqe ingest` on JUnit XML files.", err=True)
            return
        from aqe_core.cli.draw import Page

        draw_analysis(Page(), analysis)

    call.emit(analysis.to_dict(), draw)


def draw_analysis(page: Page, analysis: Analysis) -> None:
    """Print an analysis: one line about all results, then the tables."""
    from aqe_core.cli.draw import seconds

    outcomes = ", ".join(f"{count} {name}" for name, count in analysis.outcomes.items() if count)
    times = analysis.duration
    typical = f"mean {seconds(times.mean)}, median {seconds(times.median)} per test"
    page.say(f"{counted(analysis.runs, 'run')}: {outcomes}; {typical}")
    if analysis.slowest:
        page.heading("Slowest")
        rows = [
            (seconds(each.mean_s), seconds(each.p95_s), f"{each.share:.1%}", str(each.runs), each.test)
            for each in analysis.slowest
        ]
        page.table([">mean", ">p95", ">of all time", ">runs", "test"], rows)
    page.heading("Flakiest")
    if not analysis.flakiest:
        page.say("no test has changed its outcome twice.")
        return
    page.table(
        [">changes", ">rate", "95 % interval", ">failures", ">runs", "test"],
        [
            (
                str(each.flips),
                f"{each.flip_rate:.0%}",
                f"{each.low:.0%} to {each.high:.0%}",
                str(each.failures),
                str(each.runs),
                each.test,
            )
            for each in analysis.flakiest
        ],
    )
