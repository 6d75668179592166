"""What is drawn on a terminal and in a pipe."""

from __future__ import annotations

import io
import sys

from aqe_core import __version__, cli
from aqe_core.cli.draw import Page
from aqe_core.cli.invocation import progress

ROWS = [("1", "test_" + "x" * 90), ("22", "short[red]")]


def test_in_a_pipe_a_row_is_a_line_without_codes(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    page = Page()
    page.heading("Heading")
    page.table([">n", "name"], ROWS, styles=["red"])
    page.say("[bold]said[/bold]", "bold")
    assert capsys.readouterr().out.splitlines() == [
        "",
        "Heading",
        " n  name",
        " 1  test_" + "x" * 90,
        "22  short[red]",
        "[bold]said[/bold]",
    ]


def test_on_a_terminal_long_cells_are_folded_and_nothing_is_lost(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "40")
    page = Page()
    page.heading("Heading")
    page.table([">n", "name"], ROWS, styles=["red"])
    out = capsys.readouterr().out
    assert "\x1b[" in out
    assert out.count("x") == 90
    assert "short[red]" in out


def test_progress_is_drawn_on_a_terminal_only(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with progress() as show:
        assert show is None
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with progress() as show:
        show("reading", 0, 3)
        show("reading", 2, 3)
        show("embedding", 1, 7)
    assert "reading" in terminal.getvalue()
    assert "3/3" in terminal.getvalue()
    assert "1/7" in terminal.getvalue()


def test_main_returns_the_exit_code(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["aqe", "serch"])
    assert cli.main() == 2
    monkeypatch.setattr(sys, "argv", ["aqe", "--help"])
    assert cli.main() == 0
    assert "quickstart" in capsys.readouterr().out


def test_main_answers_version(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["aqe", "--version"])
    assert (cli.main(), capsys.readouterr().out) == (0, f"aqe {__version__}\n")


def test_main_interrupted_while_it_is_still_importing(monkeypatch):
    class Interrupting:
        def __getattr__(self, name):
            raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["aqe", "rank"])
    monkeypatch.setitem(sys.modules, "aqe_core.cli.app", Interrupting())
    assert cli.main() == 130
