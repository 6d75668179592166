"""Full-text index over the names and texts of patterns, in step with them because one transaction writes both.

The index (FTS5) keeps no copy of the texts. Its words are maximal runs of letters and digits, compared without case
and accents. Identifiers count by their parts: ``test_retryBackoff`` is the words *test retry backoff*. A whole
identifier in a query means its parts in a row, which is how it is found exactly.

A removed pattern is not found from then on. Its words leave the index's pages when `optimize` merges them.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from itertools import accumulate, islice, pairwise
from math import log
from typing import TYPE_CHECKING, Any

import apsw
import numpy as np

from aqe_storage_sqlite import namespaces

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "MAX_WORDS",
    "add",
    "is_whole",
    "optimize",
    "out_of_step",
    "parted",
    "parted_all",
    "put",
    "rebuild",
    "remove",
    "search",
]

MAX_WORDS = 64
"""How many distinct words of a query count, the first ones; a query's time grows with its words."""

# A word in the name tells three times as much as one in the text. FTS5 would sort its `rank` itself, all of it; sorting
# by a column of ours, SQLite keeps no more than the k best.
_HITS = (
    "SELECT rowid, -bm25(pattern_words, 3.0, 1.0) FROM pattern_words "
    "WHERE pattern_words MATCH ?1 AND {} ORDER BY 2 DESC, 1 LIMIT ?3"
)
_BEST = _HITS.format("true")
_BEST_OF_NAMESPACE = _HITS.format("(SELECT namespace FROM patterns WHERE key = pattern_words.rowid) = ?2")

_MANY = 3000  # so many scores take as long as a plan and a second search may cost
_LEAST_WEIGHT = 1e-6  # of a phrase in more than half of all patterns; this and k1 are those of FTS5's bm25
_MOST_OF_WEIGHT = 1.2 + 1

# FTS5 parts words at "_" and the like by itself. A capital begins a part after a small letter or digit, and as the
# last of several capitals before a small letter: HTTPServer is HTTP Server.
_INNER_CAPITAL = re.compile(r"[A-Z](?:(?<=[a-z0-9][A-Z])|(?<=[A-Z][A-Z])(?=[a-z]))")


_AT_ONCE = 128
"""Texts that are parted together; they and what is made of them should fit into the cache."""
_WORTH_ARRAYS = 4


def parted(text: str) -> str:
    """Return a text with spaces inside its identifiers, as it is indexed."""
    without_capitals = text.isascii() and text == text.lower()  # told ten times as fast as by the expression
    return text if without_capitals else _INNER_CAPITAL.sub(r" \g<0>", text)


def parted_all(texts: Sequence[str]) -> list[str]:
    """Return what `parted` makes of each text. For many together: 3 ns a character with capitals, instead of 20."""
    if len(texts) < _WORTH_ARRAYS:
        return list(map(parted, texts))
    found: list[str] = []
    for start in range(0, len(texts), _AT_ONCE):
        found += _parted_together(texts[start : start + _AT_ONCE])
    return found


def _parted_together(texts: Sequence[str]) -> Sequence[str]:
    together = "\0".join(texts)  # no letter, so that texts do not part each other
    codec = "ascii" if together.isascii() else "utf-32-le"  # as many codes as characters
    if codec == "ascii" and together == together.lower():
        return texts
    codes = np.frombuffer(together.encode(codec, "surrogatepass"), "u1" if codec == "ascii" else "<u4")
    capital, small, digit = (codes - codes.dtype.type(ord(first)) < n for first, n in (("A", 26), ("a", 26), ("0", 10)))
    begins = capital.copy()
    begins[:1] = False
    begins[1:] &= (small | digit)[:-1] | (capital[:-1] & np.append(small[2:], False))
    (places,) = np.nonzero(begins)
    spaced = np.insert(codes, places, ord(" ")).tobytes().decode(codec, "surrogatepass")
    bounds = np.cumsum([0, *(len(text) + 1 for text in texts)])
    bounds += np.searchsorted(places, bounds)
    return [spaced[start : stop - 1] for start, stop in pairwise(bounds.tolist())]


def add(connection: apsw.Connection, keys: Sequence[int], names: Sequence[str], texts: Sequence[str]) -> None:
    """Index patterns under ascending keys that the index does not have."""
    connection.executemany(
        "INSERT INTO pattern_words (rowid, name, text) VALUES (?, ?, ?)",
        zip(keys, parted_all(names), parted_all(texts), strict=True),
    )


def put(connection: apsw.Connection, patterns: Sequence[tuple[int, str, str]]) -> None:
    """Index patterns, given as key, name and text, in place of what was indexed under their keys."""
    if patterns:
        keys, names, texts = zip(*patterns, strict=True)
        connection.executemany(
            "REPLACE INTO pattern_words (rowid, name, text) VALUES (?, ?, ?)",
            zip(keys, parted_all(names), parted_all(texts), strict=True),
        )


def put_all(connection: apsw.Connection, source: apsw.Connection) -> None:
    """Index all patterns of a source, which may be the same file."""
    patterns = source.execute("SELECT key, name, text FROM patterns")
    while some := list(islice(patterns, _AT_ONCE)):
        put(connection, some)


def remove(connection: apsw.Connection, keys: Iterable[int]) -> None:
    """Take patterns out of the index."""
    connection.executemany("DELETE FROM pattern_words WHERE rowid = ?", ((key,) for key in keys))


def rebuild(connection: apsw.Connection) -> None:
    """Index all patterns anew, which is how a file gets its index and how a damaged one is repaired."""
    connection.execute("INSERT INTO pattern_words (pattern_words) VALUES ('delete-all')")
    put_all(connection, connection)


def optimize(connection: apsw.Connection) -> None:
    """Merge the index into one piece, which leaves out the words of removed patterns. O(size of the index)."""
    connection.execute("INSERT INTO pattern_words (pattern_words) VALUES ('optimize')")


def out_of_step(connection: apsw.Connection) -> tuple[list[int], list[int]]:
    """Return the keys of patterns that the index lacks, and those that it has without a pattern; both ascending."""
    lacking = connection.execute("SELECT key FROM patterns EXCEPT SELECT id FROM pattern_words_docsize ORDER BY 1")
    orphaned = connection.execute("SELECT id FROM pattern_words_docsize EXCEPT SELECT key FROM patterns ORDER BY 1")
    return [key for (key,) in lacking], [key for (key,) in orphaned]


def is_whole(connection: apsw.Connection) -> bool:
    """Say whether the index is undamaged, by comparing it with a new one: it has no checksums. O(all texts).

    Compared are, for each word, how often it occurs and which keys looking it up gives (their sum), and sums over all
    places of all words. About 0.1 ms a pattern.
    """
    table = connection.execute("SELECT sql FROM sqlite_schema WHERE name = 'pattern_words'").get
    anew = apsw.Connection(":memory:")
    try:
        anew.execute(table)
        put_all(anew, connection)
        return _summary(connection) == _summary(anew)
    except (apsw.Error, UnicodeDecodeError):  # damage can make anything of a word
        return False
    finally:
        anew.close()


_PLACES = """
SELECT count(*), sum(doc), sum(offset), sum((doc + offset) * (length(term) * 1024 + unicode(term) + (col = 'name')))
FROM temp.words
"""
_LOOKED_UP = """
SELECT term, doc, cnt, (
    SELECT sum(rowid) FROM pattern_words WHERE pattern_words MATCH '"' || replace(term, '"', '""') || '"'
) FROM temp.words
"""


def _summary(connection: apsw.Connection) -> tuple[list[Any], list[Any]]:
    return _of_words(connection, "instance", _PLACES), _of_words(connection, "row", _LOOKED_UP)


def _of_words(connection: apsw.Connection, kind: str, sql: str) -> list[Any]:
    connection.execute(f"CREATE VIRTUAL TABLE temp.words USING fts5vocab(main, pattern_words, {kind})")
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.execute("DROP TABLE temp.words")


def search(connection: apsw.Connection, namespace: str, query: str, k: int) -> list[tuple[int, float]]:
    """Return keys and scores of the k patterns of a namespace that fit best, best first, ties by ascending key.

    A pattern fits that has any word of the query. Scores are BM25 as SQLite computes it (k1 1.2, b 0.75, statistics
    over all namespaces), a name counting three times, with the sign turned so that more is better; all are above 0.

    A score takes SQLite ten times as long as finding what fits, so that patterns with nothing but frequent words of
    the query are passed over where their words cannot add up to the k-th best score (H. Turtle, J. Flood: Query
    evaluation: strategies and optimizations, 1995). Else O(f) for f patterns that fit, and O(log k) for each best one.
    """
    phrases = _phrases_found(connection, query)
    number = namespaces.number_of(connection, namespace)
    if not phrases or number < 0:
        return []
    if _is_only(connection, number):
        best = _best(connection, _BEST, number, phrases, k)
        if len(namespaces.present(connection, number, [key for key, _ in best])) == len(best):
            return best  # else a damaged index has keys without a pattern
    return _best(connection, _BEST_OF_NAMESPACE, number, phrases, k)


def _phrases_found(connection: apsw.Connection, query: str) -> list[tuple[int, str]]:
    """Return the query's words as FTS5 takes them, each a quoted phrase, so that nothing in it is syntax.

    Each with the number of patterns that have it, rare ones first: so they are added up in one order, whatever is
    searched first, and the same patterns get the same scores to the last bit.
    """
    words = dict.fromkeys(query.replace("\0", " ").split())  # FTS5 takes NUL for the end
    phrases = ['"' + parted(word).replace('"', '""') + '"' for word in list(words)[:MAX_WORDS]]
    count = "SELECT count(*) FROM pattern_words WHERE pattern_words MATCH ?"
    return sorted((n, phrase) for phrase in phrases if (n := connection.execute(count, (phrase,)).get))


def _best(
    connection: apsw.Connection, sql: str, number: int, phrases: list[tuple[int, str]], k: int
) -> list[tuple[int, float]]:
    def best_of(*matches: str) -> list[tuple[int, float]]:
        found: list[Any] = [hit for match in matches for hit in connection.execute(sql, (match, number, k))]
        found.sort(key=lambda hit: (-hit[1], hit[0]))
        return found[:k]

    if len(phrases) > 1 and sum(count for count, _ in phrases) >= _MANY:
        narrower, left_out = _narrowed(connection, phrases, k)
        best = best_of(*narrower)
        if len(best) == k and best[-1][1] >= left_out:
            return best
    return best_of(_any_of(phrases))


def _is_only(connection: apsw.Connection, number: int) -> bool:
    """Say whether a namespace has all patterns there are."""
    least_and_most = "SELECT (SELECT min(namespace) FROM patterns), (SELECT max(namespace) FROM patterns)"
    return bool(connection.execute(least_and_most).get == (number, number))


def _narrowed(connection: apsw.Connection, phrases: list[tuple[int, str]], k: int) -> tuple[list[str], float]:
    """Return what matches fewer patterns, no pattern twice, and what a score of those left out is below.

    A phrase adds less than its weight times k1 + 1 to a score, however often it occurs, and about its weight where it
    occurs once. So taken are as many rare phrases as k patterns have, and those that the others could outdo: what has
    none of them is left out. Where this takes all phrases, what lacks one of them is left out.
    """
    total = connection.execute("SELECT count(*) FROM pattern_words_docsize").get
    total = max(total, phrases[-1][0])  # as in an undamaged index
    weights = [max(log((total - count + 0.5) / (count + 0.5)), _LEAST_WEIGHT) for count, _ in phrases]
    most = [_MOST_OF_WEIGHT * weight for weight in weights]
    enough = bisect_left(list(accumulate(count for count, _ in phrases)), k)
    for n in range(enough + 1, len(phrases)):
        if sum(most[n:]) <= weights[enough]:
            rare, others = _any_of(phrases[:n]), _any_of(phrases[n:])
            return [f"({rare}) AND ({others})", f"({rare}) NOT ({others})"], sum(most[n:])
    return [" AND ".join(phrase for _, phrase in phrases)], sum(most[:-1])


def _any_of(phrases: Iterable[tuple[int, str]]) -> str:
    return " OR ".join(phrase for _, phrase in phrases)
