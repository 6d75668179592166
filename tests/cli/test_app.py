"""The program as a whole: verbs, help, errors, exit codes."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import click
import pytest

from aqe_core import __version__
from aqe_core.cli.app import VERBS, program


@pytest.fixture
def context():
    return click.Context(program)


@pytest.mark.parametrize("verb", VERBS)
def test_the_table_of_verbs_says_what_their_own_help_says(verb, context):
    command = program.get_command(context, verb)
    assert command.name == verb
    assert command.get_short_help_str(limit=200).rstrip(".") == VERBS[verb].rstrip(".")
    assert command.help.splitlines()[0] == VERBS[verb]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_json_and_documents_its_keys(verb, context):
    command = program.get_command(context, verb)
    assert any("--json" in parameter.opts for parameter in command.params)
    assert "JSON keys:" in command.help


def test_help_lists_the_verbs_and_imports_none(environ):
    code = (
        "import sys; from aqe_core.cli.app import program\n"
        "program.main(['--help'], standalone_mode=False)\n"
        "print(sorted(name for name in sys.modules if name.startswith(('aqe_core.cli.', 'rich', 'numpy'))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, env=environ, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "['aqe_core.cli.app']"
    for verb, summary in VERBS.items():
        assert re.search(rf"^  {verb} +{re.escape(summary.split()[0])}", done.stdout, re.MULTILINE)


def test_version_is_answered_without_click(environ):
    code = "import sys; sys.argv = ['aqe', '--version']; from aqe_core.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code],
        check=False,
        capture_output=True,
        text=True,
        env=environ,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, f"aqe {__version__}\n")
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert {name for name in imported if name.startswith("aqe_core")} == {"aqe_core", "aqe_core.cli"}
    assert not imported & {"click", "typing", "numpy", "importlib.metadata"}


def test_version_beside_other_options(aqe):
    assert aqe("--version", "--help").stdout == f"aqe {__version__}\n"


def test_no_verb_shows_help_as_wrong_use(aqe):
    result = aqe(code=2)
    assert result.stdout == ""
    assert result.stderr.startswith("Usage: aqe")


@pytest.mark.parametrize(
    ("args", "message", "fix"),
    [
        (["serch"], "there is no verb 'serch'.", "did you mean 'search'?"),
        (["xyzzy"], "there is no verb 'xyzzy'.", "`aqe --help` lists them."),
        (["--bogus"], "No such option", "`aqe --help` shows what it takes."),
        (["search"], "Missing argument 'TEXT'.", "`aqe search --help` shows what it takes."),
        (["search", "x", "-k", "0"], "Invalid value for '-k'", "`aqe search --help` shows what it takes."),
        (["rank", "-C", "nowhere"], "Invalid value for '-C'", "`aqe rank --help` shows what it takes."),
        (["explain", "colour"], "there is no kind of engine named 'colour'.", "use one of pattern_store, "),
        (["search", "  "], "the query is empty.", "e.g. aqe search"),
        (["completion", "csh"], "Invalid value for", "`aqe completion --help`"),
    ],
)
def test_wrong_use_is_one_clear_error(aqe, aqe_json, args, message, fix):
    result = aqe(*args, code=2)
    lines = result.stderr.splitlines()
    assert result.stdout == ""
    assert lines[0].startswith(f"aqe: error: {message}")
    assert lines[1].startswith(f"fix: {fix}")
    assert len(lines) == 2
    document = aqe_json(*args, code=2)
    assert set(document) == {"error"}
    assert set(document["error"]) == {"code", "message", "fix"}
    assert document["error"]["message"].startswith(message)


@pytest.mark.parametrize("verb", ["search", "rank", "analyze"])
def test_without_a_workspace(aqe, aqe_json, verb):
    args = [verb, "text"] if verb == "search" else [verb]
    assert "fix: run `aqe init` or `aqe quickstart` there." in aqe(*args, code=1).stderr
    assert aqe_json(*args, code=1)["error"]["code"] == "storage-no-workspace"


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("[pattern_store\n", "aqe.toml is not valid TOML"),
        ("[pattern_store]\nbackand = 'numpy'\n", "aqe.toml:2: unknown key 'pattern_store.backand'"),
        ("[pattern_store]\nbackend = 3\n", "aqe.toml:2: pattern_store.backend is 3"),
    ],
)
@pytest.mark.parametrize(
    "args", [["init"], ["ingest"], ["search", "x"], ["rank"], ["backends"], ["explain", "learner"], ["quickstart"]]
)
def test_a_broken_config_is_wrong_use_for_every_verb(aqe, tmp_path, text, where, args):
    (tmp_path / "aqe.toml").write_text(text)
    result = aqe(*args, code=2)
    assert result.stderr.startswith(f"aqe: error: {where}")
    assert not (tmp_path / ".aqe").exists()


def test_a_misspelt_key_names_the_right_one(aqe, tmp_path):
    (tmp_path / "aqe.toml").write_text("[pattern_store]\nbackand = 'numpy'\n")
    assert "fix: did you mean 'pattern_store.backend'?" in aqe("backends", code=2).stderr


def test_a_missing_extra_names_its_install_command(aqe, aqe_json, ingested):
    result = aqe("search", "retry", "-C", ingested, "--pattern-store", "gpu", code=1)
    assert 'fix: pip install "aqe-core[gpu]"' in result.stderr
    error = aqe_json("search", "retry", "-C", ingested, "--pattern-store", "gpu", code=1)["error"]
    assert error["code"] == "plugin-missing-extra"


def test_an_unexpected_exception_is_reported_as_a_fault(monkeypatch):
    def fail(*_):
        raise ZeroDivisionError("by design")

    monkeypatch.setattr("aqe_core.config.load", fail)
    result = click.testing.CliRunner().invoke(program, ["backends", "--json"])
    assert result.exit_code == 1
    assert json.loads(result.stdout)["error"]["code"] == "internal"
    assert "ZeroDivisionError: by design" in result.stderr


def test_an_error_of_the_system_is_one_line(aqe, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("aqe_core.config.load", fail)
    assert aqe("backends", code=1).stderr == "aqe: error: [Errno 28] No space left on device.\n"


@pytest.mark.parametrize("stop", [KeyboardInterrupt, click.Abort])
def test_interruption(aqe, aqe_json, monkeypatch, stop):
    def interrupt(*_):
        raise stop

    monkeypatch.setattr("aqe_core.config.load", interrupt)
    assert aqe("backends", code=130).stderr == "aqe: error: interrupted; nothing is half done.\n"
    assert aqe_json("backends", code=130)["error"]["code"] == "interrupted"


# -- verbs of plugins -----------------------------------------------------------------------------------------------

_COMMAND = """
import click
import aqe_core
AQE_API = 1

@click.command("{command}")
@click.argument("word")
def greet(word):
    "Greet."
    click.echo("hello " + word)
    return 1 if word == "nobody" else 0

@aqe_core.hookimpl
def aqe_cli_commands(register):
    register(greet)
"""


def test_a_plugin_adds_a_verb_of_its_name(aqe, plugin):
    plugin("greet", _COMMAND.format(command="greet"))
    assert aqe("greet", "you").stdout == "hello you\n"
    assert aqe("greet", "nobody", code=1).stdout == "hello nobody\n"


def test_a_plugin_may_not_take_another_name(aqe, plugin):
    plugin("greet", _COMMAND.format(command="search"))
    assert "registers the command 'search', but may only register 'greet'" in aqe("greet", "you", code=1).stderr


def test_a_plugin_cannot_replace_a_verb(aqe, plugin):
    plugin("rank", _COMMAND.format(command="rank"))
    assert "no workspace" in aqe("rank", code=1).stderr


def test_a_plugin_without_commands_is_no_verb(aqe):
    assert "there is no verb 'numpy'" in aqe("numpy", code=2).stderr


def test_a_broken_plugin_is_told_when_its_verb_is_called(aqe, plugin):
    plugin("greet", "raise RuntimeError('by design')")
    assert "RuntimeError: by design" in aqe("greet", code=1).stderr
    plugin("greet2", _COMMAND.format(command="greet2").replace("register(greet)", "1 / 0"))
    assert "failed in its hook aqe_cli_commands" in aqe("greet2", code=1).stderr


# -- completion -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(aqe, aqe_json, shell):
    script = aqe("completion", shell).stdout
    assert f"_AQE_COMPLETE={shell}_complete" in script
    document = aqe_json("completion", shell)
    assert set(document) == {"shell", "install", "script"}
    assert document["script"].strip() == script.strip()


def test_the_shell_gets_verbs_and_options(aqe, monkeypatch, capsys):
    monkeypatch.setenv("_AQE_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "aqe se")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert program.main([], standalone_mode=False) == 0
    assert capsys.readouterr().out == "plain,search\n"
    monkeypatch.setenv("COMP_WORDS", "aqe search --ex")
    monkeypatch.setenv("COMP_CWORD", "2")
    assert program.main([], standalone_mode=False) == 0
    assert capsys.readouterr().out == "plain,--explain\n"
