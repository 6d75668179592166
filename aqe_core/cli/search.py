"""``aqe search``: find the test patterns that fit a text best."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from aqe_core.cli.conditions import to_filter
from aqe_core.cli.invocation import Invocation, answered, printable, takes
from aqe_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aqe_core.searching import Match
    from aqe_core.snippets import Snippet
    from aqe_core.workspace import Workspace

__all__ = ["command", "draw_hits", "meaning_of_score"]


@click.command("search")
@click.argument("text")
@click.option("-k", type=click.IntRange(min=1), default=10, show_default=True, help="How many at most.")
@click.option(
    "--mode",
    type=click.Choice(["hybrid", "vector", "lexical"]),
    help="By shared words and nearness of vectors together, or by one of them; by default as search.mode says.",
)
@click.option(
    "--where",
    "conditions",
    multiple=True,
    metavar="CONDITION",
    help="Only patterns that fit: KEY=VALUE, KEY!=VALUE, KEY>=VALUE and the like, where a comma in VALUE means any of, "
    "and KEY is id, name, path, class_name, origin, marker, line or a metadata key; or a filter as JSON. Several "
    "--where mean all of.",
)
@click.option("--dedupe", is_flag=True, help="Leave out near copies of better hits.")
@click.option("--explain", is_flag=True, help="Also say what answered, what the score means, and which words matched.")
@takes("pattern_store", "embedder", "text_index")
def command(
    call: Invocation, *, text: str, k: int, mode: str | None, conditions: tuple[str, ...], dedupe: bool, explain: bool
) -> None:
    """Find the test patterns that fit a text best.

    TEXT is words or code; "-" reads it from standard input.

    JSON keys: query, k, mode, where, namespace, hits (score, lexical, vector, copies, snippet (text, highlights),
    matches (name, text: the words that matched; null without --explain), id, name, text, path, class_name, docstring,
    markers, line, metadata, origin, key), explain (mode, weights, text_index, words, embedder, fingerprint,
    pattern_store, patterns, score; null without --explain; without what the mode does not use).
    """
    query = (sys.stdin.buffer.read().decode("utf-8", "replace") if text == "-" else text).strip()
    if not query:
        raise UsageError("the query is empty.", fix='e.g. aqe search "retry after timeout"')
    where = to_filter(conditions)
    with call.open_to_read() as ws:
        chosen = mode or ws.patterns.tuning.mode
        hits = ws.patterns.search(query, k, where=where or None, mode=chosen, dedupe=dedupe)
        total = len(ws.patterns)
        shown = [_shown(ws, query, hit) for hit in hits]
        hint = ws.patterns.hint(where) if where and not hits else ""
        ws.patterns.texts  # noqa: B018  # bound, for the facts, also where nothing was found
        facts = _facts(ws, chosen, total) if explain else None

    def draw() -> None:
        draw_hits(hits, shown if explain else [(found, None) for found, _ in shown])
        if not hits:
            what = f"nothing fits; {hint}" if hint else "nothing fits."
            click.echo(what if total else "the workspace holds no patterns: run `aqe ingest`.", err=True)
        if facts is not None:
            click.echo()
            for name, value in facts.items():
                click.echo(f"{name + ':':15} {_drawn(value)}")

    data = {
        "query": query,
        "k": k,
        "mode": chosen,
        "where": where,
        "namespace": call.namespace,
        "hits": [
            {
                **hit.to_dict(),
                "snippet": None if found is None else found._asdict(),
                "matches": words if explain else None,
            }
            for hit, (found, words) in zip(hits, shown, strict=True)
        ],
        "explain": facts,
    }
    call.emit(data, draw)


def _shown(ws: Workspace, query: str, hit: Match) -> tuple[Snippet | None, dict[str, list[str]]]:
    """Return the line to show of a hit, and which words matched in which field."""
    from aqe_core.contracts.embedder import Document
    from aqe_core.snippets import snippet, words_by_field

    source = Document(hit.pattern.name, hit.pattern.text)  # what is indexed holds the class's name too
    found = snippet(source, ws.patterns.texts.matches(query, source))
    return found, words_by_field(ws.patterns.word_matches(query, hit.pattern))


def draw_hits(
    hits: Sequence[Match], shown: Sequence[tuple[Snippet | None, dict[str, list[str]] | None]] | None = None
) -> None:
    """Print each hit as score and id, then what the id does not say; below, what explains it.

    Without a snippet that is the first line of its docstring.
    """
    for hit, (found, words) in zip(hits, shown or [(None, None)] * len(hits), strict=True):
        pattern = hit.pattern
        where = "::".join(part for part in (pattern.path, pattern.class_name, pattern.name) if part)
        more = "" if pattern.name in pattern.id else f"  {where}"
        line = f"  line {pattern.line}" if pattern.line else ""
        click.echo(f"{hit.score:6.3f}  {printable(pattern.id + more)}{click.style(line, dim=True)}")
        about = pattern.docstring.strip().partition("\n")[0]
        if found is not None:
            click.echo(f"        {_highlighted(found)}")
        elif about:
            click.echo(click.style(f"        {printable(about)}", dim=True))
        if words is not None:
            click.echo(click.style(f"        {printable(_why(hit, words))}", dim=True))
        if hit.copies:
            click.echo(click.style(f"        near copies: {printable(', '.join(hit.copies))}", dim=True))


def _highlighted(found: Snippet) -> str:
    out, at = [], 0
    for start, end in found.highlights:
        between, matched = printable(found.text[at:start]), printable(found.text[start:end])
        out += [click.style(between, dim=True), click.style(matched, bold=True)]
        at = end
    return "".join([*out, click.style(printable(found.text[at:]), dim=True)])


def _why(hit: Match, words: dict[str, list[str]]) -> str:
    parts = [
        f"{name} {value:.3f}" for name, value in (("lexical", hit.lexical), ("vector", hit.vector)) if value is not None
    ]
    parts += [f"{field}: {' '.join(found)}" for field, found in words.items() if found]
    return "; ".join(parts)


def meaning_of_score(ws: Workspace, mode: str | None = None) -> str:
    """Say what a score of this workspace's search is."""
    tuning = ws.patterns.tuning
    mode = mode or tuning.mode
    lexical = "shared words, rare ones tell more (BM25)"
    if mode == "lexical":
        return lexical
    capabilities = ws.plugins.find_engine("embedder", ws.selections["embedder"].backend).spec.capabilities
    kind = getattr(capabilities, "kind", "unknown")
    nearness = {
        "lexical": "lexical: near means shared words, not shared meaning",
        "semantic": "semantic: near means that a model says so",
    }
    vector = f"cosine, 1 is the same direction ({nearness.get(kind, kind)})"
    if mode == "vector":
        return vector
    parts = f"{tuning.lexical_weight:g} x {lexical} + {tuning.vector_weight:g} x {vector}"
    return f"0 .. 1, a weighted mean, each part scaled by its best and its 100th: {parts}"


def _facts(ws: Workspace, mode: str, total: int) -> dict[str, Any]:
    tuning, selections = ws.patterns.tuning, ws.selections
    words = {"text_index": answered(selections["text_index"]), "words": ws.patterns.texts.fingerprint}
    vectors = {}
    if mode != "lexical":
        vectors = {
            "embedder": answered(selections["embedder"]),
            "fingerprint": ws.patterns.embedder.fingerprint,
            "pattern_store": answered(selections["pattern_store"]),
        }
    weights = {"lexical": tuning.lexical_weight, "vector": tuning.vector_weight}
    return {
        "mode": mode,
        **({"weights": weights} if mode == "hybrid" else {}),
        **words,
        **vectors,
        "patterns": total,
        "score": meaning_of_score(ws, mode),
    }


def _engine(chosen: dict[str, str]) -> str:
    return "{backend} ({distribution} {version}; {reason}: {source})".format(**chosen)


def _drawn(value: Any) -> str:
    """Return a fact as text: an engine, weights, or a plain value."""
    if not isinstance(value, dict):
        return str(value)
    return _engine(value) if "backend" in value else ", ".join(f"{name} {each:g}" for name, each in value.items())
