"""``aqe new-plugin``: write the project of a new backend."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from string import Template

import click

from aqe_core.cli.invocation import FOLDER, Invocation, takes

__all__ = ["command", "write_project"]

_NAME = re.compile(r"[a-z][a-z0-9]*([_-][a-z0-9]+)*")
_TEMPLATES = Path(__file__).parent / "templates"
_FILES = {
    "pyproject.toml": "pyproject.toml.tmpl",
    "README.md": "README.md.tmpl",
    "$module.py": "module.py.tmpl",
    "tests/test_$identifier.py": "test.py.tmpl",
}


@click.command("new-plugin")
@click.argument("name")
@click.option("--into", type=FOLDER, default=".", help="Where to make its folder. [default: the current folder]")
@takes(project=False, namespace=False)
def command(call: Invocation, *, name: str, into: Path) -> None:
    """Write the project of a new backend.

    Makes the folder aqe-backend-NAME: a distribution with a working pattern store of about 40 lines, its test and a
    README. Change the store into yours; the test says whether it still keeps its promises.

    JSON keys: name, distribution, module, folder, files, next.
    """
    folder, files = write_project(name, into)
    steps = {
        f"pip install -e {shlex.quote(f'{folder}[test]')}": "install it",
        f"aqe check {name}": "examine it",
        f"python -m pytest {shlex.quote(str(folder))}": "the same as a test of its own",
        f"aqe search TEXT --pattern-store {name}": "use it once; README.md says how to keep it",
    }
    data = {
        "name": name,
        "distribution": folder.name,
        "module": _words(name)["module"],
        "folder": str(folder),
        "files": files,
        "next": list(steps),
    }

    def draw() -> None:
        for file in files:
            click.echo(f"made: {Path(folder) / file}")
        click.echo("next:")
        width = max(map(len, steps))
        for line, purpose in steps.items():
            click.echo(f"  {line:{width}}  # {purpose}")

    call.emit(data, draw)


def write_project(name: str, into: Path) -> tuple[Path, list[str]]:
    """Write the project; return its folder and the files in it.

    Raises
    ------
    UsageError
        The name is not one, or it is taken, or the folder exists.
    ReadOnlyError
        The folder cannot be written.
    """
    from aqe_core.errors import ReadOnlyError, UsageError

    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is not a name for a plugin.",
            fix="begin with a lower-case letter; then lower-case letters and digits, joined by single '-' or '_'.",
        )
    if name in _taken():
        raise UsageError(
            f"the plugin name {name!r} is taken.", fix="choose another; `aqe backends` lists those in use."
        )
    folder = into / f"aqe-backend-{name}"
    if folder.exists():
        raise UsageError(f"{folder} exists.", fix="choose another name, or another place with --into.")
    files = []
    try:
        for target, template in _FILES.items():
            path = folder / Template(target).substitute(_words(name))
            path.parent.mkdir(parents=True, exist_ok=True)
            text = (_TEMPLATES / template).read_text(encoding="utf-8")
            path.write_text(Template(text).substitute(_words(name)), encoding="utf-8")
            files.append(path.relative_to(folder).as_posix())
    except OSError as error:
        raise ReadOnlyError(
            f"{folder} cannot be written: {error.strerror or error}.", fix="choose another place with --into."
        ) from error
    return folder, files


def _words(name: str) -> dict[str, str]:
    identifier = name.replace("-", "_")
    return {
        "name": name,
        "identifier": identifier,
        "module": f"aqe_backend_{identifier}",
        "class_name": "Test" + "".join(part.capitalize() for part in identifier.split("_")),
    }


def _taken() -> set[str]:
    from aqe_core.plugins import KNOWN_EXTRAS, installed_sources

    return {"file", *KNOWN_EXTRAS, *(source.name for source in installed_sources())}
