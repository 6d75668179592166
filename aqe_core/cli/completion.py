"""``aqe completion``: print the shell's completion script."""

from __future__ import annotations

import click

from aqe_core.cli.invocation import Invocation, takes

__all__ = ["command"]

_SHELLS = {
    "bash": 'eval "$(aqe completion bash)"  # in ~/.bashrc',
    "fish": "aqe completion fish > ~/.config/fish/completions/aqe.fish",
    "zsh": 'eval "$(aqe completion zsh)"  # in ~/.zshrc',
}


@click.command("completion")
@click.argument("shell", type=click.Choice(list(_SHELLS)))
@takes(project=False, namespace=False)
def command(call: Invocation, *, shell: str) -> None:
    """Print the shell's completion script.

    Put this into the shell's start-up file: eval "$(aqe completion bash)"; likewise for zsh. For fish, write the output
    to ~/.config/fish/completions/aqe.fish.

    JSON keys: shell, install, script.
    """
    from click.shell_completion import get_completion_class

    from aqe_core.cli.app import COMPLETION_VARIABLE, program

    kind = get_completion_class(shell)
    assert kind is not None  # click.Choice has seen to it
    script = kind(program, {}, "aqe", COMPLETION_VARIABLE).source()
    call.emit({"shell": shell, "install": _SHELLS[shell], "script": script}, lambda: click.echo(script))
