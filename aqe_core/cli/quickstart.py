"""``aqe quickstart``: from a project to search, ranking and analysis of its tests, in one go."""

from __future__ import annotations

import re
import shlex
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import attrs
import click

from aqe_core import __version__
from aqe_core.cli.invocation import FOLDER, Invocation, answered, progress, takes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aqe_core.analysis import Analysis
    from aqe_core.contracts.records import Pattern
    from aqe_core.ingest import IngestReport
    from aqe_core.memory import Match
    from aqe_core.ranking import RankedTest
    from aqe_core.workspace import Workspace

__all__ = ["command", "example_query"]

_SHOWN = 5
_LOOKED_AT = 5000
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_PYTEST = "python -m pytest --junitxml=junit.xml"


@click.command("quickstart")
@click.argument("path", type=FOLDER, required=False)
@click.option(
    "--results",
    multiple=True,
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A result file (JUnit XML) to take as well; may be given several times.",
)
@takes("pattern_store", "learner", "ranker", "analyzer", "embedder", "text_index", project=False)
def command(call: Invocation, *, results: tuple[Path, ...]) -> int:
    """From a project to search, ranking and analysis of its tests, in one go.

    PATH is the project's folder, by default the current one (or the nearest above it that has a workspace). Its test
    functions and JUnit XML files are taken into .aqe/aqe.db; a second run takes only what changed.

    JSON keys: version, project, workspace, ingest (as `aqe ingest`), search (query, command, hits; null without
    patterns), rank (as `aqe rank`, the first 5), analysis (as `aqe analyze`; null without results), backends (kind,
    backend, distribution, version, reason, source), score, next, elapsed_s.

    Exits with 1 if it finds neither tests nor results.
    """
    start = perf_counter()
    with call.open(create=True) as ws:
        with progress() as show:
            # Files named outright come first: what is wrong with them is an error, not a note.
            report = ws.ingest(*results, call.project, progress=show)
        tour = _tour(call, ws, report, start)
    call.emit(tour.to_dict(), tour.draw)
    return 0 if tour.hits or tour.analysis else 1


@attrs.frozen(kw_only=True)
class _Tour:
    """What quickstart shows."""

    project: Path
    workspace: Path
    report: IngestReport
    query: str
    hits: list[Match]
    score: str
    ranked: list[RankedTest]
    analysis: Analysis | None
    backends: list[dict[str, str]]
    options: str
    namespace: str
    elapsed_s: float

    def command(self, verb: str, *arguments: str) -> str:
        """Return the command that calls a verb on this project from the current folder."""
        namespace = [] if self.namespace == "default" else [self.namespace]
        if verb == "explain":
            arguments += tuple(namespace)
        elif namespace and verb != "analyze":  # results belong to the whole project
            arguments = ("--namespace", *namespace, *arguments)
        return f"aqe {verb}{self.options} {shlex.join(arguments)}".rstrip()

    def next_steps(self) -> dict[str, str]:
        """Return commands to type next, and what each is for."""
        if not self.hits and self.analysis is None:
            return {self.command("ingest", "PATH"): "name test files or JUnit XML files that are elsewhere"}
        steps = {}
        if self.analysis is None:
            steps[_PYTEST] = "run the tests and keep their results"
            steps[self.command("ingest", "junit.xml")] = "take them in; then rank and analyze have something to say"
        steps[self.command("search", "WORDS")] = "find tests by words or code"
        if self.analysis is not None:
            steps[self.command("rank", "-k", "20", "--names")] = "names of the tests to run first, for a script"
            steps[self.command("analyze")] = "more of the slowest and flakiest"
            steps[self.command("ingest")] = "after each change or run: takes only what is new"
        steps[self.command("explain", "pattern-store")] = "why this backend; `aqe backends` lists the others"
        return steps

    def to_dict(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        search = {
            "query": self.query,
            "command": self.command("search", self.query),
            "hits": [hit.to_dict() for hit in self.hits],
        }
        return {
            "version": __version__,
            "project": str(self.project),
            "workspace": str(self.workspace),
            "ingest": self.report.to_dict(),
            "search": search if self.hits else None,
            "rank": [each.to_dict() for each in self.ranked],
            "analysis": self.analysis.to_dict() if self.analysis else None,
            "backends": self.backends,
            "score": self.score,
            "next": list(self.next_steps()),
            "elapsed_s": round(self.elapsed_s, 3),
        }

    def draw(self) -> None:
        """Print all of it for a person."""
        from aqe_core.cli.analyze import draw_analysis
        from aqe_core.cli.draw import Page, seconds
        from aqe_core.cli.ingest import skipped_lines, summary
        from aqe_core.cli.rank import draw_ranking
        from aqe_core.cli.search import draw_hits

        page = Page()
        page.say(f"aqe {__version__}: {self.project} into {self.workspace}", "bold")
        page.say(summary(self.report))
        for line in skipped_lines(self.report, _SHOWN):
            page.say(line, "dim")
        if self.hits:
            page.heading(f"Search, e.g. for {self.query!r}")
            draw_hits(self.hits)
            page.say(f"score: {self.score}", "dim")
            page.say(f"again: {self.command('search', self.query)}", "dim")
        if self.analysis is not None:
            page.heading("Run first")
            draw_ranking(page, self.ranked)
            page.heading("Results")
            draw_analysis(page, self.analysis)
        elif self.hits:
            page.heading("Run first, slowest, flakiest")
            page.say("There are no test results yet. These two commands make some and take them in:")
            page.say(f"  {_PYTEST}")
            page.say(f"  {self.command('ingest', 'junit.xml')}")
        else:
            page.say("Found no test functions in test_*.py or *_test.py and no JUnit XML files.", "yellow")
        if self.backends:
            page.heading("Who answered")
            columns = ("kind", "backend", "distribution", "version", "reason", "source")
            rows = [[each["kind"].replace("_", " "), *(each[name] for name in columns[1:])] for each in self.backends]
            page.table(columns, rows)
        page.heading(f"Next (all this took {seconds(self.elapsed_s)})")
        page.table(("type", "to"), list(self.next_steps().items()))


def _tour(call: Invocation, ws: Workspace, report: IngestReport, start: float) -> _Tour:
    """Use everything once."""
    from aqe_core.cli.search import meaning_of_score

    patterns = (pattern for batch in ws.storage.iter_patterns(ws.namespace) for pattern in batch)
    query = example_query(islice(patterns, _LOOKED_AT))
    hits = ws.patterns.search(query, _SHOWN) if query else []
    has_results = ws.storage.count_results()[0] > 0
    return _Tour(
        project=call.project,
        workspace=ws.storage.path,
        report=report,
        query=query,
        hits=hits,
        score=meaning_of_score(ws) if query else "",
        ranked=ws.rank(_SHOWN) if has_results else [],
        analysis=ws.analyze(_SHOWN) if has_results else None,
        backends=[{"kind": kind, **answered(chosen)} for kind, chosen in ws.selections.items()],
        options=call.here(),
        namespace=ws.namespace,
        elapsed_s=perf_counter() - start,
    )


def example_query(patterns: Iterable[Pattern]) -> str:
    """Return the words of a typical test name: of those with two words or more, the one of median length.

    Examples
    --------
    >>> from aqe_core.contracts import Pattern
    >>> names = ["test_1", "test_login_rejects_password", "testRetryCap", "test_parser_keeps_the_order_of_all_keys"]
    >>> example_query(Pattern(id=name, name=name, text="") for name in names)
    'login rejects password'
    """
    queries = {" ".join(_words(pattern.name)) for pattern in patterns} - {""}
    several = {query for query in queries if " " in query} or queries
    ordered = sorted(several, key=lambda query: (len(query), query))
    return ordered[len(ordered) // 2] if ordered else ""


def _words(name: str) -> list[str]:
    words = [word.lower() for word in _WORD.findall(name)]
    return [word for word in words if len(word) > 2 and word != "test"]
