"""Texts to the terms of the text index: subtokens, and neighbouring subtokens of one identifier joined.

``test_DataFrame`` is the terms ``test``, ``data``, ``fram`` (stemmed), ``testdata`` and ``datafram``: a joined pair is
found by those who write it in one word, and tells apart those who have both parts in one name from those who have them
anywhere. Of scripts without spaces, where every character is a subtoken, the pairs are the usual bigrams.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

from aqe_backend_numpy._subtokens import stem, subtokens_of_word, words
from aqe_core.contracts.text_index import WordMatch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["FUNCTION_WORDS", "MAX_TEXT_CHARS", "VERSION", "identifiers", "matches_in", "places", "terms_of_identifier"]

VERSION = 1
"""Of everything here and in `_subtokens`: states made under another one are not read."""

MAX_TEXT_CHARS = 2**18
"""So much of a text is read."""

# Function words of English, and what every description of a test says. They are rare in code, so that their idf would
# take them for telling.
_FUNCTION_WORDS = """
a an and any are as at be been but by can could did do does each either ensure ensures for from had has have here how i
if in into is it its just make makes may must no nor not of on only or our shall should so some such sure than that the
their them then there these they this those to too verify verifies was we were what when where whether which while who
will with would you your all also both check checks
"""
FUNCTION_WORDS = frozenset(map(stem, _FUNCTION_WORDS.split()))

# What may stand in an identifier: letters, digits, the underscore, and marks, which are all that \w leaves out.
_ASCII_OTHERS = re.compile(r"[A-Za-z0-9_]+")


def identifiers(text: str) -> list[str]:
    """Return the runs of letters, digits and underscores of a text, in order; NFKC first beyond ASCII."""
    if text.isascii():
        return _ASCII_OTHERS.findall(text)
    return [found for found, _, _ in _wide_identifiers(unicodedata.normalize("NFKC", text))]


def _wide_identifiers(text: str) -> Iterator[tuple[str, int, int]]:
    start = -1
    for i, char in enumerate(text):
        if char == "_" or char.isalnum() or unicodedata.category(char)[0] == "M":
            if start < 0:
                start = i
        elif start >= 0:
            yield text[start:i], start, i
            start = -1
    if start >= 0:
        yield text[start:], start, len(text)


def places(text: str) -> Iterator[tuple[str, int, int]]:
    """Yield each identifier of a text with its start and end in the text as it is given."""
    if text.isascii():
        for found in _ASCII_OTHERS.finditer(text):
            yield found[0], found.start(), found.end()
    else:
        for identifier, start, end in _wide_identifiers(text):
            yield unicodedata.normalize("NFKC", identifier), start, end


@lru_cache(maxsize=2**16)
def terms_of_identifier(identifier: str) -> tuple[str, ...]:
    """Return the subtokens of an identifier, in order, then its joined pairs.

    Examples
    --------
    >>> terms_of_identifier("test_DataFrame")
    ('test', 'data', 'fram', 'testdata', 'datafram')
    """
    parts = [part for word in words(identifier.replace("_", " ")) for part in subtokens_of_word(word)]
    pairs = [first + second for first, second in pairwise(parts)]
    return (*parts, *pairs)


def matches_in(weights: Mapping[str, float], name: str, text: str) -> list[WordMatch]:
    """Return the identifiers of a document that hold weighted terms, by field and place."""
    out = []
    for field, content in (("name", name), ("text", text)):
        for identifier, start, end in places(content[:MAX_TEXT_CHARS]):
            shared = [term for term in dict.fromkeys(terms_of_identifier(identifier)) if term in weights]
            if shared:
                weight = sum(weights[term] for term in shared)
                out.append(WordMatch(field, start, end, tuple(shared), weight))
    return out
