"""What every verb has in common: the project, the options, JSON or text, and progress."""

from __future__ import annotations

import functools
import re
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from aqe_core.selection import Selection
    from aqe_core.workspace import Workspace

    Progress = Callable[[str, int, int], None]

__all__ = ["FILE", "FOLDER", "Invocation", "answered", "counted", "find_project", "printable", "progress", "takes"]


@attrs.frozen(kw_only=True)
class Invocation:
    """How a verb was called.

    Attributes
    ----------
    project : Path
        The project's folder.
    namespace : str
    json : bool
        Print one JSON document instead of text.
    backends : mapping of str to str or None
        Backend asked for by option, by kind of engine.
    """

    project: Path
    namespace: str
    json: bool
    backends: Mapping[str, str | None]

    def open(self, *, create: bool = False, read_only: bool = False) -> Workspace:
        """Open the workspace."""
        from aqe_core.workspace import open as open_workspace

        return open_workspace(
            self.project,
            namespace=self.namespace,
            create=create,
            read_only=read_only,
            pattern_store=self.backends.get("pattern_store"),
            learner=self.backends.get("learner"),
            ranker=self.backends.get("ranker"),
            analyzer=self.backends.get("analyzer"),
            embedder=self.backends.get("embedder"),
            text_index=self.backends.get("text_index"),
        )

    def open_to_read(self) -> Workspace:
        """Open the workspace; without keeping what was learned on the way where nothing may be written."""
        from aqe_core.errors import ReadOnlyError

        try:
            return self.open()
        except ReadOnlyError:
            return self.open(read_only=True)

    def emit(self, data: Mapping[str, Any], draw: Callable[[], None]) -> None:
        """Print the result: the data as JSON, or what ``draw`` draws."""
        if not self.json:
            draw()
            return
        import json

        click.echo(json.dumps(data, indent=2, allow_nan=False))

    def here(self) -> str:
        """Return the options that lead to this project from the current folder; with a space in front, or empty."""
        import shlex

        return "" if find_project() == self.project else f" -C {shlex.quote(str(self.project))}"


def find_project(given: Path | None = None) -> Path:
    """Return the project's folder: the given one, else the nearest upward that has ``.aqe`` or ``aqe.toml``.

    The search ends at the top of a Git repository; without success it is the current folder.
    """
    if given is not None:
        return given.resolve()
    current = Path.cwd()
    for folder in (current, *current.parents):
        if (folder / ".aqe").is_dir() or (folder / "aqe.toml").is_file():
            return folder
        if (folder / ".git").exists():
            break
    return current


def answered(selection: Selection) -> dict[str, str]:
    """Return which backend answered, and why, as every ``--json`` prints it."""
    names = ("backend", "distribution", "version", "reason", "source")
    return {name: getattr(selection, name) for name in names}


_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
"""Type of an option or argument that names a folder."""

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
"""Type of an option or argument that names a file."""


def takes(
    *kinds: str, project: bool = True, namespace: bool = True
) -> Callable[[Callable[..., int | None]], Callable[..., int | None]]:
    """Give a verb the common options; its function then gets an `Invocation` first.

    Parameters
    ----------
    *kinds : str
        Kinds of engine that can be chosen by an option.
    project, namespace : bool
        Whether ``--project`` and ``--namespace`` are taken. A verb without the former may have an argument ``path``.
    """
    options = [click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")]
    for kind in kinds:
        noun = kind.replace("_", " ")
        options.append(click.option(f"--{noun.replace(' ', '-')}", kind, metavar="NAME", help=f"Use this {noun}."))
    if namespace:
        options.append(click.option("--namespace", default="default", show_default=True, help="Which set of patterns."))
    if project:
        options.append(click.option("-C", "--project", type=FOLDER, help="The project's folder, else the nearest one."))

    def decorate(function: Callable[..., int | None]) -> Callable[..., int | None]:
        @functools.wraps(function)
        def called(*, as_json: bool, namespace: str = "default", **arguments: Any) -> int | None:
            given = arguments.pop("project" if project else "path", None)
            backends = {kind: arguments.pop(kind) for kind in kinds}
            call = Invocation(project=find_project(given), namespace=namespace, json=as_json, backends=backends)
            return function(call, **arguments)

        return functools.reduce(lambda wrapped, option: option(wrapped), options, called)

    return decorate


@contextmanager
def progress() -> Iterator[Progress | None]:
    """Draw progress on standard error while the block runs; None when it is not a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, Any] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                for other in tasks.values():  # a stage begins when the one before it is over
                    bars.update(other, completed=bars.tasks[other].total)
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield show


def counted(number: int, noun: str) -> str:
    """Return ``1 run``, ``2 runs``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def printable(text: str) -> str:
    r"""Return a text, whoever wrote it, as one line that no terminal obeys: control characters as Python spells them.

    Examples
    --------
    >>> printable("test[\x1b[31m]")
    'test[\\x1b[31m]'
    """
    return _CONTROLS.sub(lambda found: repr(found[0])[1:-1], text)
