"""Texts to words and subtokens: ``HTTPServer2Errors`` is the subtokens ``http server 2 error``."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["MAX_SUBTOKEN_CHARS", "stem", "subtokens", "subtokens_of_word", "words"]

MAX_SUBTOKEN_CHARS = 64
"""Longer runs of letters or of digits (encoded blobs) count by their beginning."""

# An acronym, or several (URLs), up to the capital that begins the next word; a word, capitalised or not; a number.
_PARTS = re.compile(r"[A-Z]+s?(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
# The same over a word's shape, where an ideograph or kana (of scripts without spaces) is a part of its own.
_SHAPE_PARTS = re.compile(r"A+s?(?![as])|A?[as]+|0+|C")
_IDEOGRAPHS = ((0x3041, 0x30FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF))
_ASCII_SEPARATORS = "".join(chr(code) if chr(code).isalnum() else " " for code in range(128))


class _Separators(dict[int, int]):
    """Code point to itself, or to a space where it separates words; keeps what it computed of most scripts."""

    def __missing__(self, code: int) -> int:
        char = chr(code)
        # A mark (an accent, a vowel sign) belongs to the letter before it.
        kept = code if char.isalnum() or unicodedata.category(char)[0] == "M" else 32
        if code < 0x3000:
            self[code] = kept
        return kept


_SEPARATORS = _Separators()


def words(text: str) -> list[str]:
    """Return the runs of letters and digits of a text, in order; text beyond ASCII is normalised to NFKC first."""
    if text.isascii():
        return text.translate(_ASCII_SEPARATORS).split()
    return unicodedata.normalize("NFKC", text).translate(_SEPARATORS).split()


def subtokens_of_word(word: str) -> list[str]:
    """Cut a word where camelCase and digits do, and stem the parts."""
    if word.isascii():
        return [stem(part) for part in _PARTS.findall(word)]
    shape = "".join(map(_shape, word))
    return [stem(word[part.start() : part.end()]) for part in _SHAPE_PARTS.finditer(shape)]


def _shape(char: str) -> str:
    if char == "s":
        return "s"
    if char.isdecimal():
        return "0"
    if any(first <= ord(char) <= last for first, last in _IDEOGRAPHS):
        return "C"
    return "A" if char.isupper() or char.istitle() else "a"


def stem(part: str) -> str:
    """Lower-case a part and take off its inflection: ``Retries`` is ``retry``; ``raising`` and ``raise`` are ``rais``.

    English ``-s``, ``-es``, ``-ies``, ``-ed``, ``-ied``, ``-ing``, a consonant doubled before them, and a final
    ``-e``; words of up to three letters stay. Deliberately lighter than Porter's stemmer: code is full of names that
    only look like words.
    """
    word = part[:MAX_SUBTOKEN_CHARS].lower()
    n = len(word)
    if n < 4 or not word.isalpha():
        return word
    if n > 4 and word.endswith(("ies", "ied")):
        return word[:-3] + "y"
    cut = word
    if n > 5 and word.endswith("ing"):
        cut = word[:-3]
    elif n > 4 and (word.endswith("ed") or (word.endswith("es") and word[-3] in "hsxz")):
        cut = word[:-2]
    elif word.endswith("s") and not word.endswith("ss"):
        cut = word[:-1]
    if cut is not word and len(cut) > 3 and cut[-1] == cut[-2] and cut[-1] in "bdgmnprt":
        cut = cut[:-1]
    return cut[:-1] if len(cut) > 3 and cut.endswith("e") else cut


def subtokens(text: str) -> list[str]:
    """Return the subtokens of a text, in order.

    Examples
    --------
    >>> subtokens("def test_HTTPServer2Errors(self): raise RetriedTooOften")
    ['def', 'test', 'http', 'server', '2', 'error', 'self', 'rais', 'retry', 'too', 'often']
    """
    return [subtoken for word in words(text) for subtoken in subtokens_of_word(word)]
