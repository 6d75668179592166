"""``aqe init``: make a workspace."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from aqe_core.cli.invocation import FOLDER, Invocation, takes

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["command", "commented_config"]


@click.command("init")
@click.argument("path", type=FOLDER, default=".")
@click.option("--config", "with_config", is_flag=True, help="Also write a commented aqe.toml if there is none.")
@takes(project=False, namespace=False)
def command(call: Invocation, *, with_config: bool) -> None:
    """Make a workspace.

    Makes the data file (.aqe/aqe.db unless the config says otherwise) in PATH, by default the current folder. A
    workspace that is there already is left as it is.

    JSON keys: project, workspace, created, config, config_created.
    """
    file = call.project / "aqe.toml"
    write_config = with_config and not file.exists()
    if write_config:
        _write(file)
    from aqe_core.config import load

    existed = (call.project / load(call.project).get("storage.path").value).exists()
    with call.open(create=True) as ws:
        workspace = ws.storage.path
    data = {
        "project": str(call.project),
        "workspace": str(workspace),
        "created": not existed,
        "config": str(file) if file.exists() else None,
        "config_created": write_config,
    }

    def draw() -> None:
        click.echo(f"{'left as it is' if existed else 'made'}: {workspace}")
        if with_config:
            click.echo(f"{'made' if write_config else 'left as it is'}: {file}")
        click.echo(f"next: aqe ingest{call.here()}")

    call.emit(data, draw)


def _write(file: Path) -> None:
    from aqe_core.errors import ReadOnlyError

    try:
        file.write_text(commented_config(), encoding="utf-8")
    except OSError as error:
        raise ReadOnlyError(
            f"{file} cannot be written: {error.strerror or error}.", fix="make the folder writable."
        ) from error


def commented_config() -> str:
    """Return an ``aqe.toml`` that shows every key with its default, all of it commented out."""
    import json

    from aqe_core.config import KEYS

    lines = ["# Settings of aqe. Every line shows a default or an example; remove its first '#' to change it."]
    table = ""
    for key, known in KEYS.items():
        section, _, name = key.partition(".")
        if section != table:
            lines += ["", f"[{section}]"]
            table = section
        example = known.default
        if example is None:
            example = ["..."] if known.type == "list of strings" else "..."
        lines += [f"# # {known.doc}", f"# {name.replace('*', 'NAME')} = {json.dumps(example)}"]
    return "\n".join(lines) + "\n"
