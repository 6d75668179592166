"""``aqe rank``: order tests by what running them first is expected to find."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from aqe_core.cli.invocation import Invocation, answered, takes
from aqe_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aqe_core.cli.draw import Page
    from aqe_core.ranking import RankedTest

__all__ = ["command", "draw_ranking"]


@click.command("rank")
@click.option("-k", type=click.IntRange(min=1), help="Only the first so many.")
@click.option(
    "--tests",
    type=click.File(encoding="utf-8", errors="replace"),
    metavar="FILE",
    help='Only the tests that this file names, one a line; "-" is standard input.',
)
@click.option("--names", is_flag=True, help="Print only what to hand to the test runner, one a line.")
@takes("learner")
def command(call: Invocation, *, k: int | None, tests: Sequence[str] | None, names: bool) -> None:
    """Order tests by what running them first is expected to find.

    Learned from the results that were ingested. The score is about the chance that the test fails.

    JSON keys: namespace, learner (backend, distribution, version, reason, source), tests (test, node, score, reason,
    runs, failures, mean_duration_s).

    A node is what to hand to the test runner.
    """
    if names and call.json:
        raise UsageError("--names and --json exclude each other.", fix="take one of them.")
    wanted = None if tests is None else [line.strip() for line in tests if line.strip()]
    with call.open_to_read() as ws:
        ranked = ws.rank(k, tests=wanted)
        learner = ws.selections["learner"]

    def draw() -> None:
        if names:
            for each in ranked:
                click.echo(each.node)
        elif ranked:
            from aqe_core.cli.draw import Page

            draw_ranking(Page(), ranked)
        if not ranked:
            what = "no known test is among those given." if wanted else "no tests are known: run `aqe ingest`."
            click.echo(what, err=True)

    data = {
        "namespace": call.namespace,
        "learner": answered(learner),
        "tests": [each.to_dict() for each in ranked],
    }
    call.emit(data, draw)


def draw_ranking(page: Page, ranked: Sequence[RankedTest]) -> None:
    """Print ranked tests as a table."""
    from aqe_core.cli.draw import seconds

    rows = [
        (str(i), f"{each.score:.3f}", each.test, seconds(each.mean_duration_s), each.reason)
        for i, each in enumerate(ranked, 1)
    ]
    page.table([">#", ">score", "test", ">mean time", "why"], rows)
