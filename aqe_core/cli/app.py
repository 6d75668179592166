"""The program: its verbs, loaded when they run, and what every error looks like."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from aqe_core import __version__
from aqe_core.errors import AqeError, ConfigError, ContractError, InputError, UsageError
from aqe_core.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence


__all__ = ["COMPLETION_VARIABLE", "VERBS", "Program", "program"]

VERBS = {
    "quickstart": "From a project to search, ranking and analysis of its tests, in one go.",
    "init": "Make a workspace.",
    "ingest": "Take test sources and result files into the workspace.",
    "migrate": "Take over the databases of an agentic-qe project.",
    "search": "Find the test patterns that fit a text best.",
    "rank": "Order tests by what running them first is expected to find.",
    "analyze": "Show the slowest and the flakiest tests.",
    "backends": "List every backend and plugin, and what is wrong with it.",
    "explain": "Say which backend is used, and why.",
    "doctor": "Examine the installation and the workspace.",
    "verify": "Examine the data file: structure, checksums, journal.",
    "backup": "Make a verified copy of the data file, while it is in use.",
    "restore": "Put a backup in place of the data file.",
    "repair": "Save what can be read of a damaged data file.",
    "compact": "Give the space of what was removed back.",
    "export": "Write everything as open files: JSON Lines or Parquet.",
    "import": "Make the data file from an export.",
    "bench": "Measure on this machine, beside peers in alternating rounds.",
    "check": "Run the conformance kit on a backend.",
    "new-plugin": "Write the project of a new backend.",
    "completion": "Print the shell's completion script.",
}
"""Verbs and their summaries. A verb lives in the module of its name; `--help` imports none of them."""

_EXIT_CODES = "Exit codes: 0 done, 1 found problems, 2 wrong use, 130 interrupted."
COMPLETION_VARIABLE = "_AQE_COMPLETE"
"""Environment variable through which a shell asks for completions."""

_INTERRUPTED = "interrupted; nothing is half done."


class Program(click.Group):
    """The verbs of aqe, and those of plugins. Every error becomes one line on standard error, or one JSON document."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Without a verb, show what there is; that nothing was done is still wrong use."""
        if not args and not ctx.resilient_parsing:
            click.echo(ctx.get_help(), err=True)
            ctx.exit(2)
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """Return aqe's own verbs; those of plugins are found when they are called."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # same
        """Import a verb, of aqe or of the plugin of that name."""
        if cmd_name in VERBS:
            command: click.Command = import_module(f"aqe_core.cli.{cmd_name.replace('-', '_')}").command
            return command
        return _of_plugin(cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb, or name the nearest one."""
        name = args[0]
        command = self.get_command(ctx, name)
        if command is None:
            fix = did_you_mean(name, VERBS, "`aqe --help` lists them.")
            raise UsageError(f"there is no verb {name!r}.", fix=fix)
        return name, command, args[1:]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  # same
        """List the verbs without importing them."""
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))

    def main(  # type: ignore[override]  # overloads of click that differ in the return type only
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> int:
        """Run and exit; return the exit code instead when not ``standalone_mode``."""
        del prog_name, complete_var, windows_expand_args
        code = self._run(list(sys.argv[1:] if args is None else args), extra)
        if standalone_mode:
            sys.exit(code)
        return code

    def _run(self, args: list[str], extra: dict[str, Any]) -> int:
        _open_streams()
        instruction = os.environ.get(COMPLETION_VARIABLE)
        if instruction:
            from click.shell_completion import shell_complete

            return shell_complete(self, {}, "aqe", COMPLETION_VARIABLE, instruction)
        as_json = "--json" in args
        try:
            with self.make_context("aqe", args, **extra) as ctx:
                code = self.invoke(ctx)
            sys.stdout.flush()
        except click.exceptions.Exit as stop:
            return stop.exit_code
        except AqeError as error:
            _report(error.to_dict(), as_json=as_json)
            return 2 if isinstance(error, (UsageError, ConfigError, InputError)) else 1
        except click.ClickException as error:
            _report(_as_dict(error), as_json=as_json)
            return 2 if isinstance(error, click.UsageError) else 1
        except (KeyboardInterrupt, click.Abort):
            _report({"code": "interrupted", "message": _INTERRUPTED, "fix": ""}, as_json=as_json)
            return 130
        except BrokenPipeError:
            # The reader has left. Point the stream elsewhere, or the interpreter complains when it flushes at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 141
        except OSError as error:
            _report({"code": "os", "message": f"{error}.", "fix": ""}, as_json=as_json)
            return 1
        except Exception as error:
            import traceback

            traceback.print_exc()
            what = f"{type(error).__name__}: {error}"
            fix = "this is a fault of aqe or of a plugin; report it with the traceback."
            _report({"code": "internal", "message": what, "fix": fix}, as_json=as_json)
            return 1
        return code if isinstance(code, int) else 0


def _open_streams() -> None:
    """Give a program that was started with closed output streams some that lead nowhere."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115  # open until the end


@click.command(
    cls=Program,
    subcommand_metavar="VERB ...",
    epilog=f"{_EXIT_CODES} `aqe VERB --help` tells more; every verb prints JSON with --json.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="aqe", message="%(prog)s %(version)s")
def program() -> None:
    """Remember test patterns, learn which tests pay, judge test metrics."""


def _of_plugin(name: str) -> click.Command | None:
    """Return the command that the plugin of that name registers under its own name."""
    from aqe_core.cli.invocation import find_project
    from aqe_core.config import load
    from aqe_core.plugins import PluginManager

    manager = PluginManager(load(find_project()))
    found: list[click.Command] = []
    for source in manager.claimants(name):
        manager.call("aqe_cli_commands", source, register=found.append)
    for command in found:
        if command.name != name:
            raise ContractError(
                f"plugin {name!r} registers the command {command.name!r}, but may only register {name!r}.",
                fix="make it a subcommand: register a click.Group.",
            )
    return found[0] if found else None


def _report(error: dict[str, str], *, as_json: bool) -> None:
    if as_json:
        import json

        click.echo(json.dumps({"error": error}, indent=2))
        return
    from aqe_core.cli.invocation import printable

    click.echo(f"aqe: error: {printable(error['message'])}", err=True)
    if error["fix"]:
        click.echo(f"fix: {printable(error['fix'])}", err=True)


def _as_dict(error: click.ClickException) -> dict[str, str]:
    """Return a click error as ours is printed; its usage line becomes the fix."""
    context = getattr(error, "ctx", None)
    fix = f"`{context.command_path} --help` shows what it takes." if context is not None else ""
    return {"code": "usage", "message": error.format_message(), "fix": fix}
