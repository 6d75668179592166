"""``aqe search``: find the test patterns nearest to a text."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from aqe_core.cli.invocation import Invocation, answered, takes
from aqe_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aqe_core.memory import Match
    from aqe_core.workspace import Workspace

__all__ = ["command", "draw_hits", "meaning_of_score"]


@click.command("search")
@click.argument("text")
@click.option("-k", type=click.IntRange(min=1), default=10, show_default=True, help="How many at most.")
@click.option(
    "--where",
    "conditions",
    multiple=True,
    metavar="KEY=VALUE",
    help="Only patterns that fit: id, name, path, class_name, origin, marker or a metadata key. A comma means any of; "
    "several --where mean all of.",
)
@click.option("--explain", is_flag=True, help="Also say what answered and what the score means.")
@takes("pattern_store", "embedder")
def command(call: Invocation, *, text: str, k: int, conditions: tuple[str, ...], explain: bool) -> None:
    """Find the test patterns nearest to a text.

    TEXT is words or code; "-" reads it from standard input.

    JSON keys: query, k, where, namespace, hits (score, id, name, text, path, class_name, docstring, markers, line,
    metadata, origin, key), explain (embedder, fingerprint, pattern_store, patterns, score; null without --explain).
    """
    query = (sys.stdin.buffer.read().decode("utf-8", "replace") if text == "-" else text).strip()
    if not query:
        raise UsageError("the query is empty.", fix='e.g. aqe search "retry after timeout"')
    where = _where(conditions)
    with call.open_to_read() as ws:
        hits = ws.patterns.search(query, k, where=where or None)
        total = len(ws.patterns)
        facts = _facts(ws, total) if explain else None

    def draw() -> None:
        draw_hits(hits)
        if not hits:
            what = "nothing fits." if total else "the workspace holds no patterns: run `aqe ingest`."
            click.echo(what, err=True)
        if facts is not None:
            click.echo()
            for name, value in facts.items():
                click.echo(f"{name + ':':15} {value if isinstance(value, (str, int)) else _engine(value)}")

    data = {
        "query": query,
        "k": k,
        "where": where,
        "namespace": call.namespace,
        "hits": [hit.to_dict() for hit in hits],
        "explain": facts,
    }
    call.emit(data, draw)


def draw_hits(hits: Sequence[Match]) -> None:
    """Print each hit as score and id, then what the id does not say, with the first line of its docstring below."""
    for hit in hits:
        pattern = hit.pattern
        where = "::".join(part for part in (pattern.path, pattern.class_name, pattern.name) if part)
        more = "" if pattern.name in pattern.id else f"  {where}"
        line = f"  line {pattern.line}" if pattern.line else ""
        click.echo(f"{hit.score:6.3f}  {pattern.id}{more}{click.style(line, dim=True)}")
        about = pattern.docstring.strip().partition("\n")[0]
        if about:
            click.echo(click.style(f"        {about}", dim=True))


def meaning_of_score(ws: Workspace) -> str:
    """Say what a score of this workspace's search is."""
    selection = ws.selections["embedder"]
    capabilities = ws.plugins.find_engine("embedder", selection.backend).spec.capabilities
    kind = getattr(capabilities, "kind", "unknown")
    nearness = {
        "lexical": "lexical: near means shared words, not shared meaning",
        "semantic": "semantic: near means that a model says so",
    }
    return f"cosine, 1 is the same direction ({nearness.get(kind, kind)})"


def _facts(ws: Workspace, total: int) -> dict[str, Any]:
    return {
        "embedder": answered(ws.selections["embedder"]),
        "fingerprint": ws.patterns.embedder.fingerprint,
        "pattern_store": answered(ws.selections["pattern_store"]),
        "patterns": total,
        "score": meaning_of_score(ws),
    }


def _engine(chosen: dict[str, str]) -> str:
    return "{backend} ({distribution} {version}; {reason}: {source})".format(**chosen)


def _where(conditions: tuple[str, ...]) -> dict[str, list[Any]]:
    """Return the mapping for ``Patterns.search``; what looks like a number or a truth value also fits as such."""
    found: dict[str, list[Any]] = {}
    for condition in conditions:
        key, equals, values = condition.partition("=")
        if not key or not equals:
            raise UsageError(f"--where {condition!r} is not KEY=VALUE.", fix="e.g. --where marker=slow,network")
        if key in found:
            raise UsageError(f"--where names {key!r} twice.", fix=f"give all its values at once: {key}=A,B")
        found[key] = [each for text in values.split(",") for each in _readings(text)]
    return found


def _readings(text: str) -> list[Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return [text]
    return [text, value] if isinstance(value, (bool, int, float)) else [text]
