"""``aqe rank``: order tests by what running them first is expected to find."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

import click

from aqe_core.cli.invocation import Invocation, answered, counted, takes
from aqe_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aqe_core.cli.draw import Page
    from aqe_core.ranking import RankedTest
    from aqe_core.ranking_evaluation import RankingEvaluation

__all__ = ["Duration", "command", "draw_ranking"]

_UNITS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


class Duration(click.ParamType):  # type: ignore[type-arg]  # newer stubs only
    """A length of time as people write it, ``90``, ``120s``, ``1.5m`` or ``2h``, in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the seconds."""
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(ms|s|min|m|h|)\s*", str(value))
        seconds = float(found[1]) * _UNITS[found[2]] if found else 0.0
        if not 0.0 < seconds < float("inf"):
            self.fail(f"{value!r} is not a length of time above 0, such as 90, 120s, 1.5m or 2h.", param, ctx)
        return seconds


@click.command("rank")
@click.option("-k", type=click.IntRange(min=1), help="Only the first so many.")
@click.option("--budget", type=Duration(), metavar="TIME", help="Only what fits into this time, e.g. 120s or 5m.")
@click.option(
    "--changed",
    multiple=True,
    metavar="FILE",
    help='A changed file, relative to the project; repeatable. "-" reads names from standard input, one a line.',
)
@click.option(
    "--tests",
    type=click.File(encoding="utf-8", errors="replace"),
    metavar="FILE",
    help='Only the tests that this file names, one a line; "-" is standard input.',
)
@click.option("--names", is_flag=True, help="Print only what to hand to the test runner, one a line.")
@click.option("--explain", is_flag=True, help="Say of each test what speaks for and against it.")
@click.option("--evaluate", is_flag=True, help="Replay the stored runs and say what the ranking would have saved.")
@takes("ranker")
def command(
    call: Invocation,
    *,
    k: int | None,
    budget: float | None,
    changed: tuple[str, ...],
    tests: Sequence[str] | None,
    names: bool,
    explain: bool,
    evaluate: bool,
) -> None:
    """Order tests by what running them first is expected to find.

    Learned from the results that were ingested. The score is about the chance that the test fails.

    JSON keys: namespace, ranker (backend, distribution, version, reason, source), tests (test, node, score, reason,
    runs, failures, mean_duration_s, parts).

    A node is what to hand to the test runner. Parts are what each feature adds to the log-odds of failing.

    With --evaluate there is, instead of tests, evaluation (runs, failing, scored, budget, orders); each of the orders
    has order, napfd, apfd, first_failure_s, first_failure_share and saved_s.
    """
    if names and call.json:
        raise UsageError("--names and --json exclude each other.", fix="take one of them.")
    if evaluate:
        if k or budget or changed or tests or names or explain:
            raise UsageError("--evaluate takes none of the other options.", fix="leave them out.")
        _evaluate(call)
        return
    wanted = None if tests is None else [line.strip() for line in tests if line.strip()]
    with call.open_to_read() as ws:
        ranked = ws.rank(k, tests=wanted, budget_s=budget, changed=_changed(changed))
        ranker = ws.selections["ranker"]

    def draw() -> None:
        if names:
            for each in ranked:
                click.echo(each.node)
        elif ranked:
            from aqe_core.cli.draw import Page

            draw_ranking(Page(), ranked, explain=explain)
        if not ranked:
            what = "no tests are known: run `aqe ingest`."
            if wanted:
                what = "no known test is among those given."
            elif budget:
                what = "no known test fits into the budget."
            click.echo(what, err=True)

    data = {
        "namespace": call.namespace,
        "ranker": answered(ranker),
        "tests": [each.to_dict() for each in ranked],
    }
    call.emit(data, draw)


def _changed(given: Sequence[str]) -> list[str]:
    files: list[str] = []
    for each in given:
        files += sys.stdin.read().splitlines() if each == "-" else [each]
    return [each.strip() for each in files if each.strip()]


def draw_ranking(page: Page, ranked: Sequence[RankedTest], *, explain: bool = False) -> None:
    """Print ranked tests as a table."""
    from aqe_core.cli.draw import seconds

    rows = [
        (
            str(i),
            f"{each.score:.3f}",
            each.test,
            seconds(each.mean_duration_s),
            f"{each.reason}: {each.explanation}" if explain and each.explanation else each.reason,
        )
        for i, each in enumerate(ranked, 1)
    ]
    page.table([">#", ">score", "test", ">mean time", "why"], rows)


def _evaluate(call: Invocation) -> None:
    with call.open_to_read() as ws:
        found = ws.evaluate_ranking()
        ranker = ws.selections["ranker"]

    def draw() -> None:
        from aqe_core.cli.draw import Page

        if found.scored:
            _draw_evaluation(Page(), found)
        else:
            click.echo(
                f"{counted(found.runs, 'run')}, {found.failing} with a failure, none of them with 6 tests or more: "
                "nothing to evaluate.",
                err=True,
            )

    call.emit({"namespace": call.namespace, "ranker": answered(ranker), "evaluation": found.to_dict()}, draw)


def _draw_evaluation(page: Page, found: RankingEvaluation) -> None:
    from aqe_core.cli.draw import seconds

    page.say(
        f"{counted(found.runs, 'run')}, {found.failing} with a failure, {found.scored} of them scored; "
        f"NAPFD with {found.budget:.0%} of each run's time"
    )
    rows = [
        (
            each.order,
            f"{each.napfd:.3f}",
            f"{each.apfd:.3f}",
            seconds(each.first_failure_s),
            f"{each.first_failure_share:.0%}",
            "" if each.order == "ranking" else ("-" if each.saved_s < 0 else "") + seconds(abs(each.saved_s)),
        )
        for each in found.orders
    ]
    page.table(["order", ">NAPFD", ">APFD", ">first failure after", ">of the run", ">ranking saves"], rows)
