"""The line of a pattern that shows best why a query found it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from aqe_core.contracts.embedder import Document
    from aqe_core.contracts.text_index import WordMatch

__all__ = ["Snippet", "snippet", "words_by_field"]

_ELLIPSIS = "..."
_MARKS = "\"'#/*"  # of docstrings and comments


class Snippet(NamedTuple):
    """A line, and which parts of it were found.

    Attributes
    ----------
    text : str
        Without indentation and what opens a docstring or comment, shortened at its ends where it is long.
    highlights : tuple of (int, int)
        Starts and ends, ascending.
    """

    text: str
    highlights: tuple[tuple[int, int], ...]


def snippet(document: Document, matches: Iterable[WordMatch], width: int = 100) -> Snippet | None:
    """Return the line of a document's text whose words tell most, at most ``width`` characters of it.

    Each word counts once; of equal lines the first. Lines that hold the document's name are passed over, as the name is
    shown anyway. None if no other line matches.
    """
    best: tuple[float, int, list[WordMatch]] | None = None
    inside = [match for match in matches if match.field == "text"]
    for start, end in _lines(document.text):
        there = [match for match in inside if start <= match.start < end]
        if there and not (document.name and document.name in document.text[start:end]):
            weight = sum({match.words: match.weight for match in there}.values())
            if best is None or weight > best[0]:
                best = (weight, start, there)
    if best is None:
        return None
    _, start, there = best
    return _shortened(document.text, start, there, width)


def _lines(text: str) -> Iterable[tuple[int, int]]:
    start = 0
    for line in text.split("\n"):
        yield start, start + len(line)
        start += len(line) + 1


def _shortened(text: str, start: int, there: Sequence[WordMatch], width: int) -> Snippet:
    """Return the line that begins at ``start`` from a little before its first match on."""
    end = text.find("\n", start)
    end = len(text) if end < 0 else end
    first = there[0].start
    while start < first and (text[start].isspace() or text[start] in _MARKS):
        start += 1
    head = ""
    if end - start > width and first - start > width // 2:
        start, head = first - width // 4, _ELLIPSIS
    tail = _ELLIPSIS if end - start > width else ""
    end = min(end, start + width)
    line = head + text[start:end].rstrip() + tail
    shift = start - len(head)
    highlights = tuple(
        (match.start - shift, min(match.end, end) - shift) for match in there if start <= match.start < end
    )
    return Snippet(line, highlights)


def words_by_field(matches: Iterable[WordMatch]) -> dict[str, list[str]]:
    """Return the distinct words of matches by field, in order of appearance."""
    found: dict[str, dict[str, None]] = {"name": {}, "text": {}}
    for match in matches:
        found[match.field].update(dict.fromkeys(match.words))
    return {field: [*words] for field, words in found.items()}
