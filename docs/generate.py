"""Write the generated parts of the documentation from the code.

A page says where: everything between ``<!-- generated: NAME -->`` and ``<!-- end generated -->`` is replaced by what
the function of that name in `BLOCKS` returns; all else is written by hand. Run ``make docs``, or
``python docs/generate.py``; with ``--check`` nothing is written and stale pages are named (exit code 1).
"""  # noqa: INP001  # a script, not part of a package

from __future__ import annotations

import ast
import inspect
import re
import sys
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

DOCS = Path(__file__).parent
_MARKED = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end generated -->)", re.DOTALL)
_UNDERLINED = re.compile(r"^(\w[\w ]*)\n-{3,}$", re.MULTILINE)


def pages() -> Iterator[tuple[Path, str, str]]:
    """Yield each page that has generated parts, with its text as it is and as it should be."""
    for path in sorted(DOCS.rglob("*.md")):
        text = path.read_text(encoding="utf-8")
        wanted = _MARKED.sub(lambda found: f"{found[1]}\n{BLOCKS[found[2]]().strip()}\n\n{found[3]}", text)
        if _MARKED.search(text):
            yield path, text, wanted


# -- docstrings to Markdown ---------------------------------------------------------------------------------------


def markdown(docstring: str | None) -> str:
    """Return a numpydoc docstring as Markdown: sections become bold words, entries become list items."""
    text = inspect.cleandoc(docstring or "").replace("``", "`")
    parts = _UNDERLINED.split(text)
    out = [parts[0].strip()]
    for title, body in zip(parts[1::2], parts[2::2], strict=True):
        if title == "Examples":
            out.append(f"```pycon\n{body.strip()}\n```")
        elif title == "Notes":
            out.append(body.strip())
        else:
            out.append(f"{title}:\n\n{_entries(body)}")
    return "\n\n".join(out)


def _entries(body: str) -> str:
    lines = []
    for line in body.strip().splitlines():
        if line and not line.startswith(" "):
            lines.append(f"- `{line.strip()}`" if " : " in line or re.fullmatch(r"[\w, *]+", line) else f"- {line}")
        elif line.strip():
            lines.append(f"  {line.strip()}")
    return "\n".join(lines)


def _parameters(function: Callable[..., Any]) -> Iterator[tuple[inspect.Parameter, str]]:
    """Yield the parameters without ``self``, and their names with their stars."""
    for each in inspect.signature(function).parameters.values():
        stars = "**" if each.kind is each.VAR_KEYWORD else "*" if each.kind is each.VAR_POSITIONAL else ""
        if each.name != "self":
            yield each, stars + each.name


def signature(function: Callable[..., Any]) -> str:
    """Return the parameters and the result as they are written in the source, without ``self``."""
    shown = []
    keywords_begin = False
    for each, name in _parameters(function):
        if each.kind is each.KEYWORD_ONLY and not keywords_begin:
            shown.append("*")
        keywords_begin = keywords_begin or each.kind in {each.KEYWORD_ONLY, each.VAR_POSITIONAL}
        default = "" if each.default is each.empty else f" = {each.default!r}"
        shown.append(f"{name}: {each.annotation}{default}")
    return f"({', '.join(shown)}) -> {inspect.signature(function).return_annotation}"


def call(name: str, function: Callable[..., Any]) -> str:
    """Return ``name(a, b)``, for a heading."""
    return f"{name}({', '.join(shown for _, shown in _parameters(function))})"


def described_function(heading: str, name: str, function: Callable[..., Any]) -> str:
    """Return the section of a function or method."""
    code = f"```text\n{name}{signature(function)}\n```"
    return f"{heading} {call(name, function)}\n\n{code}\n\n{markdown(function.__doc__)}"


def described_class(found: type, heading: str = "###") -> str:
    """Return the section of a class with its public methods and properties, in the order of the source."""
    out = [f"{heading} {found.__name__}", markdown(found.__doc__)]
    for name, member in vars(found).items():
        if name.startswith("_") and name != "__len__":
            continue
        title = f"len({found.__name__})" if name == "__len__" else f"{found.__name__}.{name}"
        function = getattr(member, "func", None) or getattr(member, "fget", None)  # cached_property, property
        if name == "__len__" and member.__doc__:
            out.append(f"{heading}# {title}\n\n{markdown(member.__doc__)}")
        elif function is not None:
            out.append(f"{heading}# {title}\n\n{markdown(function.__doc__)}")
        elif inspect.isfunction(member) and member.__doc__:
            out.append(described_function(f"{heading}#", title, member))
    return "\n\n".join(out)


def described_constants(module: str) -> dict[str, str]:
    """Return the sections of a module's documented constants: those with a string below the assignment."""
    loaded = import_module(module)
    body = ast.parse(inspect.getsource(loaded)).body
    found = {}
    for statement, below in pairwise(body):
        if not isinstance(statement, (ast.Assign, ast.AnnAssign)) or not isinstance(below, ast.Expr):
            continue
        target = statement.targets[0] if isinstance(statement, ast.Assign) else statement.target
        if isinstance(target, ast.Name) and isinstance(below.value, ast.Constant) and statement.value:
            value = ast.unparse(statement.value)
            text = markdown(str(below.value.value))
            found[target.id] = f"### {target.id}\n\n```text\n{target.id} = {value}\n```\n\n{text}"
    return found


def table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Return a Markdown table."""
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


# -- the blocks -----------------------------------------------------------------------------------------------------


def hooks() -> str:
    """Return every hook specification."""
    from aqe_core import hookspecs

    found = [(name, each) for name, each in vars(hookspecs).items() if name.startswith("aqe_")]
    return "\n\n".join(described_function("###", name, each) for name, each in found)


def contracts(module: str) -> str:
    """Return everything public of one module of contracts: protocols, other classes, constants."""
    loaded = import_module(f"aqe_core.contracts.{module}")
    constants = described_constants(loaded.__name__)
    classes = [getattr(loaded, name) for name in loaded.__all__ if inspect.isclass(getattr(loaded, name))]
    classes.sort(key=lambda each: (not getattr(each, "_is_protocol", False), inspect.getsourcelines(each)[1]))
    described = [constants[name] for name in loaded.__all__ if name in constants]
    return "\n\n".join([*(described_class(each) for each in classes), *described])


def state() -> str:
    """Return the portable state of an engine."""
    from aqe_core.state import EngineState, Portable, read_state, write_state

    functions = [described_function("###", each.__name__, each) for each in (write_state, read_state)]
    return "\n\n".join([described_class(EngineState), described_class(Portable), *functions])


def errors_tree() -> str:
    """Return the tree of errors, as the module draws it."""
    from aqe_core import errors

    tree = inspect.cleandoc(errors.__doc__ or "").split("::\n\n", 1)[1].split("\n\nEach error", 1)[0]
    return f"```text\n{inspect.cleandoc(tree)}\n```"


def errors_table() -> str:
    """Return class, code and meaning of each error."""
    from aqe_core import errors

    found = [each for each in vars(errors).values() if inspect.isclass(each) and issubclass(each, errors.AqeError)]
    rows = [
        (f"`{each.__name__}`", f"`{each.code}`", (each.__doc__ or "").splitlines()[0].replace("``", "`"))
        for each in found
    ]
    return table(("error", "code", "when"), rows)


def config_keys() -> str:
    """Return every config key."""
    from aqe_core.config import KEYS

    rows = [(f"`{key}`", each.type, _default(each.default), each.doc) for key, each in KEYS.items()]
    return table(("key", "type", "default", "meaning"), rows)


def _default(value: object) -> str:
    if value is None:
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def environment() -> str:
    """Return every environment variable."""
    from aqe_core.config import ENVIRONMENT

    return table(("variable", "meaning"), [(f"`{name}`", doc) for name, doc in ENVIRONMENT.items()])


def events_table() -> str:
    """Return every event."""
    from aqe_core.events import EVENTS

    return table(("event", "meaning"), [(f"`{name}`", doc) for name, doc in EVENTS.items()])


def reasons() -> str:
    """Return every reason of a selection."""
    from aqe_core.selection import REASONS

    return table(("reason", "meaning"), [(f"`{name}`", doc) for name, doc in REASONS.items()])


def extras() -> str:
    """Return the backends that are known by name."""
    from aqe_core.plugins import KNOWN_EXTRAS

    return table(("name", "install command"), [(f"`{name}`", f"`{how}`") for name, how in KNOWN_EXTRAS.items()])


def python_names() -> str:
    """Return what ``import aqe_core`` offers."""
    import aqe_core

    out = []
    for name in aqe_core.__all__:
        found = getattr(aqe_core, name)
        if inspect.isfunction(found):
            out.append(described_function("###", f"aqe_core.{name}", found))
        elif name not in {"Workspace", "__version__", "hookimpl"}:
            out.append(f"### aqe_core.{name}\n\n{markdown(found.__doc__)}")
    return "\n\n".join(out)


def python_facade() -> str:
    """Return the workspace and what its methods take and return."""
    from aqe_core.analysis import Analysis, FlakyTest, SlowTest
    from aqe_core.ingest import IngestReport
    from aqe_core.memory import Match, Patterns
    from aqe_core.ranking import RankedTest
    from aqe_core.results import Results
    from aqe_core.selection import Rung, Selection
    from aqe_core.strategy import Alternative, Recommendation, Strategies
    from aqe_core.workspace import Workspace

    facade = (Workspace, Patterns, Match, Results, IngestReport, RankedTest, Analysis, SlowTest, FlakyTest)
    strategies = (Strategies, Recommendation, Alternative)
    return "\n\n".join(described_class(each) for each in (*facade, *strategies, Selection, Rung))


def cli() -> str:
    """Return every verb of aqe's own with its arguments and options."""
    from aqe_core.cli.app import VERBS, program

    out = []
    for name in VERBS:
        command = program.get_command(click.Context(program), name)
        assert command is not None
        arguments = [_placeholder(each) for each in command.params if isinstance(each, click.Argument)]
        options = [each for each in command.params if isinstance(each, click.Option)]
        listed = "\n".join(f"- `{_flags(each)}`: {' '.join((each.help or '').split())}" for each in options)
        section = (f"### {' '.join(['aqe', name, *arguments])}", _help(command.help), listed)
        out.append("\n\n".join(part for part in section if part))
    return "\n\n".join(out)


def _placeholder(argument: click.Argument) -> str:
    name = (argument.metavar or str(argument.name)).upper() + ("..." if argument.nargs == -1 else "")
    return name if argument.required else f"[{name}]"


def _help(text: str | None) -> str:
    paragraphs = inspect.cleandoc(text or "").split("\n\n")
    return "\n\n".join(each.replace("\b\n", "").replace("``", "`") for each in paragraphs)


def _flags(option: click.Option) -> str:
    flags = ", ".join(option.opts)
    if option.secondary_opts:
        flags += f" / {', '.join(option.secondary_opts)}"
    if option.is_flag or option.count:
        return flags
    if isinstance(option.type, click.Choice):
        return f"{flags} [{'|'.join(option.type.choices)}]"
    number = isinstance(option.type, (click.IntRange, click.types.IntParamType))
    return f"{flags} {option.metavar or ('N' if number else option.type.name.upper())}"


def checks() -> str:
    """Return every check of the conformance kit."""
    from aqe_core.contracts import KINDS
    from aqe_core.testing import Check
    from aqe_core.testing import checks as checks_of

    def place(one: Check) -> tuple[str, int]:
        return one.function.__module__, one.function.__code__.co_firstlineno

    out = []
    for kind in KINDS:
        found = sorted(checks_of(kind), key=place)
        rows = [(f"`{each.name}`", each.summary.replace("``", "`"), ", ".join(each.needs)) for each in found]
        out.append(f"### {kind}\n\n{table(('check', 'promise', 'only with'), rows)}")
    return "\n\n".join(out)


def template(file: str, language: str) -> str:
    """Return a file of the project that ``aqe new-plugin demo`` writes."""
    from aqe_core.cli.new_plugin import write_project

    with TemporaryDirectory() as folder:
        project, _ = write_project("demo", Path(folder))
        return f"```{language}\n{(project / file).read_text(encoding='utf-8').strip()}\n```"


BLOCKS: dict[str, Callable[[], str]] = {
    "checks": checks,
    "cli": cli,
    "config-keys": config_keys,
    "environment": environment,
    "errors-table": errors_table,
    "errors-tree": errors_tree,
    "events": events_table,
    "extras": extras,
    "hooks": hooks,
    "python-facade": python_facade,
    "python-names": python_names,
    "reasons": reasons,
    "state": state,
    "analyzer": lambda: contracts("analyzer"),
    "bandit": lambda: contracts("bandit"),
    "capabilities": lambda: contracts("capabilities"),
    "embedder": lambda: contracts("embedder"),
    "ingest": lambda: contracts("ingest"),
    "learner": lambda: contracts("learner"),
    "quantizer": lambda: contracts("quantizer"),
    "ranker": lambda: contracts("ranker"),
    "legacy": lambda: contracts("legacy"),
    "maintenance": lambda: contracts("maintenance"),
    "pattern-store": lambda: contracts("pattern_store"),
    "policy": lambda: contracts("policy"),
    "records": lambda: contracts("records"),
    "replay": lambda: contracts("replay"),
    "specs": lambda: contracts("specs"),
    "storage": lambda: contracts("storage"),
    "text-index": lambda: contracts("text_index"),
    "template-module": lambda: template("aqe_backend_demo.py", "python"),
    "template-pyproject": lambda: template("pyproject.toml", "toml"),
    "template-test": lambda: template("tests/test_demo.py", "python"),
}


def main(arguments: list[str]) -> int:
    """Write what is stale, or with ``--check`` only name it."""
    stale = [(path, wanted) for path, text, wanted in pages() if text != wanted]
    for path, wanted in stale:
        sys.stdout.write(f"{path.relative_to(DOCS.parent)}\n")
        if "--check" not in arguments:
            path.write_text(wanted, encoding="utf-8")
    return int(bool(stale) and "--check" in arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
