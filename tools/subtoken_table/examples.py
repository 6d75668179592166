"""Test modules to training examples: the subtokens of each test's name, code and words."""

from __future__ import annotations

import ast
import hashlib
import re
import textwrap
import warnings
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from aqe_backend_numpy._subtokens import subtokens_of_word, words
from sources import test_modules

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sources import Archive

MAX_CODE_CHARS = 500
MIN_BODY_CHARS = 40
MAX_WORDS_CHARS = 200
MIN_WORDS = 4

_subtokens_of_word = lru_cache(maxsize=2**20)(lambda word: tuple(subtokens_of_word(word)))
_LOOKS_LIKE_CODE = re.compile(r"[=;{}]|^\w+\(")
_REFERENCES = re.compile(r"https?://\S+|#\d+")


class Example(NamedTuple):
    """One test. ``group`` is its project, file and class; ``described`` is empty where nobody described the test."""

    project: str
    group: str
    name: tuple[str, ...]
    body: tuple[str, ...]
    code: tuple[str, ...]
    described: tuple[str, ...]


def subtokens(text: str) -> tuple[str, ...]:
    """Return the subtokens of a text, as the embedder does, from a cache."""
    return tuple(part for word in words(text) for part in _subtokens_of_word(word))


def examples(archive: Archive) -> Iterator[Example]:
    """Yield the tests of an archive, in order of file and line, each distinct body once."""
    project = archive.name.lower()
    seen = set()
    for path, text in test_modules(archive.path):
        for class_name, name, signature, body, description in functions(text):
            digest = hashlib.sha256(body.encode("utf-8", "surrogatepass")).digest()
            if len(body) < MIN_BODY_CHARS or digest in seen:
                continue
            seen.add(digest)
            code = f"{signature}\n{body}"[:MAX_CODE_CHARS]
            yield Example(
                project,
                f"{project}/{path}::{class_name}",
                subtokens(name),
                subtokens(code[len(signature) :]),
                subtokens(code),
                subtokens(cleaned(description)),
            )


def cleaned(description: str) -> str:
    """Return a description without references; nothing if it is too short, or commented-out code."""
    if len(description.split()) < MIN_WORDS or _LOOKS_LIKE_CODE.search(description):
        return ""
    return _REFERENCES.sub("", description)[:MAX_WORDS_CHARS]


def functions(text: str) -> Iterator[tuple[str, str, str, str, str]]:
    """Yield class, name, signature, body and description of every test function of a module.

    The description is the first paragraph of the docstring or, without one, the comment before the first statement;
    the body has neither.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the module's own escapes
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return  # Python 2, templates, and files that test parsers
    lines = text.splitlines()
    pending: list[tuple[ast.stmt, str]] = [(node, "") for node in reversed(tree.body)]
    while pending:
        node, class_name = pending.pop()
        if isinstance(node, ast.ClassDef):
            pending += [(child, node.name) for child in reversed(node.body)]
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.lower().startswith("test"):
            yield (class_name, node.name, *_parts(node, lines))


def _parts(node: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]) -> tuple[str, str, str]:
    first = node.body[0]
    decorators = getattr(first, "decorator_list", [])
    begin = (decorators[0] if decorators else first).lineno - 1
    docstring = ast.get_docstring(node)
    head = lines[node.lineno - 1 : begin]
    comments = [line.strip() for line in head if line.strip().startswith("#")]
    signature = "\n".join(line.strip() for line in head if line.strip() and not line.strip().startswith("#"))
    rest = lines[first.end_lineno if docstring else begin : node.end_lineno]
    while rest and (not rest[0].strip() or rest[0].strip().startswith("#")):
        comments.append(rest.pop(0).strip())
    described = docstring.split("\n\n")[0] if docstring else " ".join(line.lstrip("# ") for line in comments if line)
    return signature, textwrap.dedent("\n".join(rest)), described.strip()
