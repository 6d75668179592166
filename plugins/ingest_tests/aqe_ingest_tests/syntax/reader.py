"""The reader of test sources other than Python's."""

from __future__ import annotations

import importlib
import re
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from aqe_core.contracts.ingest import Ingested
from aqe_core.contracts.records import Pattern
from aqe_core.errors import IngestError, MalformedFileError
from aqe_ingest_tests._files import Notes, open_regular, relative_name, too_large, without_surrogates
from aqe_ingest_tests.syntax._tree import text_of, walk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tree_sitter import Node

    from aqe_ingest_tests.syntax._tree import Found, Visit

__all__ = ["LANGUAGES", "Language", "read", "recognize"]

MAX_BYTES = 5 * 2**20
MAX_TEXT_CHARS = 20_000


class Language(NamedTuple):
    """How the tests of one language are found.

    Attributes
    ----------
    name : str
        Metadata ``language`` of its patterns, and name of the module beside this one that looks for its tests.
    files : re.Pattern
        Names of files that hold tests, whole paths with forward slashes.
    grammar : str
        ``module:function`` of the tree-sitter grammar.
    separator : str
        Between the names of nested classes or suites.
    word : bytes
        What every source with tests holds somewhere.
    """

    name: str
    files: re.Pattern[str]
    grammar: str
    separator: str = "."
    word: bytes = b""


def _scripts(name: str, suffixes: str, grammar: str) -> Language:
    files = rf".*[._-](?:test|spec)\.(?:{suffixes})|(?:.*/)?__tests__/.*\.(?:{suffixes})"
    return Language(name, re.compile(files, re.DOTALL), grammar, separator=" > ")


LANGUAGES = (
    _scripts("javascript", "jsx?|mjs|cjs", "tree_sitter_javascript:language"),
    _scripts("typescript", "ts|mts|cts", "tree_sitter_typescript:language_typescript"),
    _scripts("typescript", "tsx", "tree_sitter_typescript:language_tsx"),
    Language(
        "java",
        re.compile(r"(?:.*/)?(?:Test[^/]*|[^/]*(?:Test|Tests|TestCase|IT))\.java", re.DOTALL),
        "tree_sitter_java:language",
    ),
    Language("csharp", re.compile(r".*(?:Tests?|Specs?|Facts?)\.cs", re.DOTALL), "tree_sitter_c_sharp:language"),
    Language("go", re.compile(r".*_test\.go", re.DOTALL), "tree_sitter_go:language"),
    Language("rust", re.compile(r".*\.rs", re.DOTALL), "tree_sitter_rust:language", separator="::", word=b"test"),
)
_MODULES = {"typescript": "javascript"}


def recognize(path: Path, head: bytes) -> bool:  # noqa: ARG001  # the contract's signature; the name decides
    """Say whether the file is named like a file of tests in its language."""
    return _language_of(path) is not None


def read(path: Path, *, root: Path, max_bytes: int = MAX_BYTES) -> Ingested:
    """Read the tests of a source file.

    Where the source has mistakes, the tests around them are taken and the place is noted. A second test of the same
    name in the same place gets ``#2`` at the end of its id.

    Parameters
    ----------
    path : Path
    root : Path
        Ids, paths and origins are relative to it.
    max_bytes : int
        Larger files are refused.

    Raises
    ------
    MalformedFileError
        Nothing in it can be read as source of its language.
    FileTooLargeError
    IngestError
        It cannot be opened, or the grammar of the language is not installed.
    """
    name = relative_name(path, root)
    language = _language_of(path)
    if language is None:
        raise MalformedFileError(
            f"{name} is not named like a file of tests.", fix="name it as the test runner of its language wants it."
        )
    with open_regular(path, name, max_bytes) as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise too_large(name, "grew while it was read", max_bytes)
    content = content.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n")
    if language.word not in content:
        return Ingested()
    tree_root = _parse(content, language, name)
    notes = Notes()
    if tree_root.has_error:
        line = _first_error(tree_root)
        if tree_root.type == "ERROR" or b"\0" in content:
            raise MalformedFileError(
                f"{name}:{line}: not {language.name} that can be parsed.", fix="repair or leave out the file."
            )
        notes.add(f"{name}:{line}", f"not {language.name} that can be parsed; tests around it are taken")
    visit: Visit = importlib.import_module(
        f"aqe_ingest_tests.syntax.{_MODULES.get(language.name, language.name)}"
    ).visit
    patterns = tuple(_patterns(walk(tree_root, visit), language, name, content, notes))
    return Ingested(patterns=patterns, skipped=notes.skipped(name))


def _language_of(path: Path) -> Language | None:
    name = path.as_posix()
    return next((language for language in LANGUAGES if language.files.fullmatch(name)), None)


def _parse(content: bytes, language: Language, name: str) -> Node:
    module, function = language.grammar.split(":")
    try:
        import tree_sitter

        grammar = tree_sitter.Language(getattr(importlib.import_module(module), function)())
    except ImportError as error:
        raise IngestError(
            f"{name} is {language.name}, and reading that needs {error.name}, which is not installed.",
            fix='pip install "aqe-core[languages]"',
        ) from error
    return tree_sitter.Parser(grammar).parse(content).root_node


def _first_error(root: Node) -> int:
    """Return the line, from 1, of the first mistake."""
    node = root
    while not (node.is_error or node.is_missing):
        wrong = next((child for child in node.children if child.has_error or child.is_missing), None)
        if wrong is None:
            break
        node = wrong
    return node.start_point.row + 1


def _patterns(tests: Iterator[Found], language: Language, name: str, content: bytes, notes: Notes) -> Iterator[Pattern]:
    seen: Counter[str] = Counter()
    for test in tests:
        pattern_id = "::".join((name, *test.classes, test.name))
        seen[pattern_id] += 1
        if seen[pattern_id] > 1:
            pattern_id += f"#{seen[pattern_id]}"
        line = test.node.start_point.row + 1
        text = _source_of(test.node, content)
        if len(text) > MAX_TEXT_CHARS:
            notes.add(f"{name}:{line}", f"source cut to its first {MAX_TEXT_CHARS:,} characters")
        yield Pattern(
            id=pattern_id,
            name=test.name,
            text=text[:MAX_TEXT_CHARS],
            path=name,
            class_name=language.separator.join(test.classes),
            docstring=without_surrogates(test.docstring)[:MAX_TEXT_CHARS],
            markers=test.markers,
            line=line,
            metadata={"language": language.name},
            origin=name,
        )


def _source_of(node: Node, content: bytes) -> str:
    """Return the source of a node, dedented by what its first line is indented."""
    start = content.rfind(b"\n", 0, node.start_byte) + 1
    before = content[start : node.start_byte].decode("utf-8", "replace")
    indent = before[: len(before) - len(before.lstrip())]
    lines = text_of(node).split("\n")
    return "\n".join((lines[0], *(line.removeprefix(indent) for line in lines[1:])))
