"""Python test sources to patterns, by their syntax tree; nothing is imported or run."""

from __future__ import annotations

import ast
import io
import re
import tokenize
import warnings
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from aqe_core.contracts.ingest import Ingested
from aqe_core.contracts.records import Pattern
from aqe_core.errors import MalformedFileError
from aqe_ingest_tests._files import Notes, open_regular, relative_name, too_large, without_surrogates

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

__all__ = ["read", "recognize"]

MAX_BYTES = 5 * 2**20
MAX_TEXT_CHARS = 20_000

_FILE_NAME = re.compile(r"test_.*\.py|.*_test\.py|tests\.py", re.DOTALL)
_TEST_BASE = re.compile(r"^Test|TestCase|Tests?$")
_UNITTEST_MARKERS = {
    "skip": "skip",
    "skipIf": "skipif",
    "skipUnless": "skipif",
    "expectedFailure": "xfail",
}


def recognize(path: Path, head: bytes) -> bool:  # noqa: ARG001  # the contract's signature; the name decides
    """Say whether the file is named like a module of tests: ``test_*.py``, ``*_test.py`` or ``tests.py``."""
    return _FILE_NAME.fullmatch(path.name) is not None


def read(path: Path, *, root: Path, max_bytes: int = MAX_BYTES) -> Ingested:
    """Read the test functions of a module.

    Taken are functions, async ones too, whose name begins with ``test``: of the module, and of classes (nested ones
    too) that are named ``Test...`` or have a base that looks like a test case by its name or stands in the same file.
    Fixtures and functions inside functions are not. A second definition of the same name gets ``#2`` at the end of
    its id.

    Markers are those of pytest on the function, its classes and the module (``pytestmark``), and ``unittest``'s
    ``skip`` (``skip``), ``skipIf`` and ``skipUnless`` (``skipif``) and ``expectedFailure`` (``xfail``).

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
        It is not Python that this interpreter can parse; names the line.
    FileTooLargeError, IngestError
    """
    name = relative_name(path, root)
    with open_regular(path, name, max_bytes) as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise too_large(name, "grew while it was read", max_bytes)
    source = _decode(content, name)
    notes = Notes()
    patterns = []
    seen: Counter[str] = Counter()
    lines = source.split("\n")
    for test in _parse(source, name):
        pattern_id = "::".join((name, *test.classes, test.node.name))
        seen[pattern_id] += 1
        if seen[pattern_id] > 1:
            pattern_id += f"#{seen[pattern_id]}"
        line, text = _source_of(test.node, lines)
        if len(text) > MAX_TEXT_CHARS:
            notes.add(f"{name}:{line}", f"source cut to its first {MAX_TEXT_CHARS:,} characters")
        patterns.append(
            Pattern(
                id=pattern_id,
                name=test.node.name,
                text=text[:MAX_TEXT_CHARS],
                path=name,
                class_name=".".join(test.classes),
                docstring=without_surrogates(ast.get_docstring(test.node) or "")[:MAX_TEXT_CHARS],
                markers=test.markers,
                line=line,
                metadata={"language": "python"},
                origin=name,
            )
        )
    return Ingested(patterns=tuple(patterns), skipped=notes.skipped(name))


class _Test(NamedTuple):
    node: ast.FunctionDef | ast.AsyncFunctionDef
    classes: tuple[str, ...]
    markers: tuple[str, ...]


def _decode(content: bytes, name: str) -> str:
    """Return the source as Python itself would decode it (PEP 263), with newlines as line feeds."""
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
        source = content.decode(encoding)
    except (SyntaxError, ValueError, LookupError) as error:
        raise MalformedFileError(
            f"{name}:1: it cannot be decoded: {error}.",
            fix="save it as UTF-8, or declare its encoding in the first line.",
        ) from error
    return without_surrogates(source.replace("\r\n", "\n").replace("\r", "\n"))


def _parse(source: str, name: str) -> list[_Test]:
    try:
        if "\0" in source:
            raise SyntaxError("null byte", (name, source.count("\n", 0, source.index("\0")) + 1, None, None))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the file's own doing, e.g. invalid escapes
            tree = ast.parse(source)
        return list(_tests(tree.body, (), _marks_assigned(tree.body), set()))
    except SyntaxError as error:
        line, problem = error.lineno or 1, error.msg
    except (RecursionError, MemoryError):
        line, problem = 1, "it is nested too deeply"
    raise MalformedFileError(
        f"{name}:{line}: not Python that can be parsed: {problem}.",
        fix="repair or leave out the file; it may need a newer Python than the one that runs aqe.",
    )


def _tests(
    body: Iterable[ast.AST], classes: tuple[str, ...], markers: tuple[str, ...], test_classes: set[str]
) -> Iterator[_Test]:
    """Yield the tests below a body; ``test_classes`` collects the names of the file's test classes."""
    for node in _definitions(body):
        marks = _unique((*markers, *_marks_of(node.decorator_list)))
        if isinstance(node, ast.ClassDef):
            if _is_test_class(node, test_classes):
                test_classes.add(node.name)
                marks = _unique((*marks, *_marks_assigned(node.body)))
                yield from _tests(node.body, (*classes, node.name), marks, test_classes)
        elif node.name.startswith("test") and not _is_fixture(node):
            yield _Test(node, classes, marks)


def _definitions(body: Iterable[ast.AST]) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    """Yield the functions and classes of a body, also those under ``if``, ``try``, ``with`` and their like."""
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node
        elif isinstance(node, (ast.stmt, ast.ExceptHandler, ast.match_case)):
            for field in ("body", "handlers", "orelse", "finalbody", "cases"):
                yield from _definitions(getattr(node, field, ()))


def _is_test_class(node: ast.ClassDef, test_classes: set[str]) -> bool:
    bases = [_dotted(base).rpartition(".")[2] for base in node.bases]
    return node.name.startswith("Test") or any(
        base in test_classes or _TEST_BASE.search(base) is not None for base in bases
    )


def _is_fixture(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(_dotted(decorator).rpartition(".")[2] == "fixture" for decorator in node.decorator_list)


def _dotted(node: ast.AST) -> str:
    """Return ``a.b.c`` for that expression, called or subscripted or not; empty for others."""
    parts: list[str] = []
    while True:
        if isinstance(node, ast.Call):
            node = node.func
        elif isinstance(node, ast.Subscript):
            node = node.value
        elif isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        else:
            break
    if not isinstance(node, ast.Name):
        return ""
    return ".".join((node.id, *reversed(parts)))


def _marks_of(expressions: Sequence[ast.expr]) -> Iterator[str]:
    for expression in expressions:
        parts = _dotted(expression).split(".")
        if len(parts) >= 2 and parts[-2] == "mark":
            yield parts[-1]
        elif parts[-1] in _UNITTEST_MARKERS and parts[:-1] in ([], ["unittest"]):
            yield _UNITTEST_MARKERS[parts[-1]]


def _marks_assigned(body: Sequence[ast.stmt]) -> tuple[str, ...]:
    """Return the markers that ``pytestmark = ...`` gives to everything in a module or class."""
    marks: tuple[str, ...] = ()
    for node in body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value = getattr(node, "value", None)
        if any(isinstance(target, ast.Name) and target.id == "pytestmark" for target in targets):
            listed = value.elts if isinstance(value, (ast.List, ast.Tuple)) else [value]
            marks += tuple(_marks_of([item for item in listed if isinstance(item, ast.expr)]))
    return _unique(marks)


def _unique(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _source_of(node: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]) -> tuple[int, str]:
    """Return a function's first line, counted from 1, and its source with decorators, dedented."""
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    taken = lines[first - 1 : node.end_lineno]
    indent = taken[0][: len(taken[0]) - len(taken[0].lstrip())]
    return first, "\n".join(line.removeprefix(indent) for line in taken)
