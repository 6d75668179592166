"""The reference pages are complete, hold nothing that is gone, and their generated parts are fresh."""

from __future__ import annotations

import importlib.util
import inspect
import re
from pathlib import Path

import click
import pytest

import aqe_core
from aqe_core import contracts, errors, events, hookspecs, selection, state
from aqe_core.analysis import Analysis
from aqe_core.cli.app import VERBS, program
from aqe_core.config import ENVIRONMENT, KEYS
from aqe_core.contracts import KINDS
from aqe_core.memory import Patterns
from aqe_core.plugins import KNOWN_EXTRAS
from aqe_core.results import Results
from aqe_core.testing import checks
from aqe_core.workspace import Workspace

DOCS = Path(__file__).parents[2] / "docs"
REFERENCE = DOCS / "reference"


def text(name: str) -> str:
    return (REFERENCE / f"{name}.md").read_text(encoding="utf-8")


def headings(name: str) -> list[str]:
    found = re.findall(r"^#{3,4} (.+)$", text(name), flags=re.MULTILINE)
    return [each.strip("`") for each in found]


def section(name: str, title: str) -> str:
    """Return what stands below a heading of the third level that begins so."""
    parts = re.split(rf"^### {re.escape(title)}(?!\w).*$", text(name), flags=re.MULTILINE)
    assert len(parts) == 2, f"{title} has {len(parts) - 1} sections in {name}.md"
    return parts[1].partition("\n### ")[0]


def cells(name: str) -> list[str]:
    """Return the names in the first cells of a page's tables."""
    return re.findall(r"^\| `([^`]+)`", text(name), flags=re.MULTILINE)


def arguments(function) -> str:
    parameters = inspect.signature(function).parameters.values()
    return ", ".join(re.match(r"\**\w+", str(each))[0] for each in parameters if each.name != "self")


def public(owner: type) -> list[str]:
    return [name for name in vars(owner) if not name.startswith("_")]


def test_generated_parts_are_fresh():
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    found = list(generate.pages())
    assert len(found) > 7
    stale = [path.name for path, now, wanted in found if now != wanted]
    assert not stale, "run `make docs`"


def test_hooks():
    specs = {name: spec for name, spec in vars(hookspecs).items() if name.startswith("aqe_")}
    assert len(specs) > 7
    assert headings("hooks") == [f"{name}({arguments(spec)})" for name, spec in specs.items()]


@pytest.mark.parametrize("name", contracts.__all__)
def test_contracts(name):
    found = getattr(contracts, name)
    shown = headings("contracts")
    assert name in shown
    if not inspect.isclass(found):
        return
    for member in public(found):
        value = inspect.getattr_static(found, member)
        if inspect.isfunction(value):
            assert f"{name}.{member}({arguments(value)})" in shown
        elif isinstance(value, property):
            assert f"{name}.{member}" in shown
    fields = [each.name for each in getattr(found, "__attrs_attrs__", ())] or getattr(found, "_fields", ())
    for field in fields:
        assert re.search(rf"^- `[^`]*\b{field}\b", section("contracts", name), flags=re.MULTILINE), field


def test_contracts_hold_nothing_that_is_gone():
    for heading in headings("contracts"):
        name = re.sub(r"^len\((\w+)\)$", r"\1.__len__", heading).partition("(")[0]
        found = state if name.partition(".")[0] in state.__all__ else contracts
        for part in name.split("."):
            found = getattr(found, part)


def test_config():
    assert cells("config") == [*KEYS, *ENVIRONMENT]


def test_errors():
    found = {each.__name__: each for each in vars(errors).values() if inspect.isclass(each)}
    assert sorted(found) == sorted(errors.__all__)
    assert cells("errors") == list(found)
    for name, each in found.items():
        assert f"| `{name}` | `{each.code}` |" in text("errors")
        assert re.search(rf"─ {name}\b|^{name}$", text("errors"), flags=re.MULTILINE), "missing in the tree"
    assert set(re.findall(r"─ (\w+)", text("errors"))) < set(found)
    assert len({each.code for each in found.values()}) == len(found)


def test_events():
    assert cells("events") == list(events.EVENTS)


def test_reasons():
    page = (DOCS / "select-a-backend.md").read_text(encoding="utf-8")
    for name in selection.REASONS:
        assert f"| `{name}` |" in page


def test_extras():
    page = (DOCS / "select-a-backend.md").read_text(encoding="utf-8")
    for name, command in KNOWN_EXTRAS.items():
        assert f"| `{name}` | `{command}` |" in page


def test_cli_verbs():
    assert [heading.split()[1] for heading in headings("cli")] == list(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_cli_options(verb):
    command = program.get_command(click.Context(program), verb)
    assert command is not None
    options = [each for each in command.params if isinstance(each, click.Option)]
    assert all(each.help for each in options)
    listed = re.findall(r"^- `([^`]+)`: \S", section("cli", f"aqe {verb}"), flags=re.MULTILINE)
    shown = {flag for each in listed for flag in re.findall(r"(?<!\S)--?[a-zA-Z][\w-]*", each)}
    assert shown == {flag for each in options for flag in (*each.opts, *each.secondary_opts)}


@pytest.mark.parametrize("name", aqe_core.__all__)
def test_python_names(name):
    assert f"aqe_core.{name}".replace("_", "") in [
        each.partition("(")[0].replace("\\", "").replace("_", "") for each in headings("python")
    ]


@pytest.mark.parametrize("owner", [Workspace, Patterns, Results, Analysis], ids=lambda each: each.__name__)
def test_python_facade(owner):
    shown = headings("python")
    assert owner.__name__ in shown
    for member in public(owner):
        value = inspect.getattr_static(owner, member)
        if inspect.isfunction(value):
            assert f"{owner.__name__}.{member}({arguments(value)})" in shown
        elif value.__doc__ and not inspect.ismemberdescriptor(value):
            assert f"{owner.__name__}.{member}" in shown


@pytest.mark.parametrize("kind", KINDS)
def test_checks(kind):
    shown = re.findall(r"^\| `([^`]+)`", section("checks", kind), flags=re.MULTILINE)
    assert sorted(shown) == sorted(each.name for each in checks(kind))
