"""Text and tables for people: coloured on a terminal, plain and unbroken in a pipe."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table

from aqe_core.cli.invocation import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Page", "seconds"]

_UNBROKEN = 100_000


class Page:
    """Standard output. On a terminal long cells are folded at its width; in a pipe every row is one line."""

    def __init__(self) -> None:
        self._console = Console(markup=False, highlight=False, emoji=False)
        self._plain = not self._console.is_terminal
        if self._plain:
            self._console = Console(markup=False, highlight=False, emoji=False, width=_UNBROKEN)

    def say(self, text: str = "", style: str = "") -> None:
        """Print a line."""
        if self._plain:
            click.echo(printable(text))
        else:
            self._console.print(printable(text), style=style, soft_wrap=True)

    def heading(self, text: str) -> None:
        """Print a heading with an empty line above."""
        self.say()
        self.say(text, "bold cyan")

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]], *, styles: Sequence[str] = ()) -> None:
        """Print rows below a dim header.

        Parameters
        ----------
        columns : sequence of str
            Headers; one that begins with ``>`` is aligned to the right.
        rows : iterable of sequence of str
        styles : sequence of str
            Style of each row; none when absent.
        """
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        for column in columns:
            right = column.startswith(">")
            table.add_column(column.lstrip(">"), justify="right" if right else "left", overflow="fold", no_wrap=right)
        for i, row in enumerate(rows):
            table.add_row(*map(printable, row), style=styles[i] if i < len(styles) else None)
        if not self._plain:
            self._console.print(table)
            return
        with self._console.capture() as captured:
            self._console.print(table)
        for line in captured.get().splitlines():
            self.say(line.rstrip())


def seconds(value: float | None) -> str:
    """Return a duration in a unit that suits it; ``-`` for none.

    Examples
    --------
    >>> seconds(0.0123), seconds(2.5), seconds(119.7), seconds(None)
    ('12 ms', '2.50 s', '2 min 0 s', '-')
    """
    if value is None or math.isnan(value):
        return "-"
    if value < 0.0995:
        return f"{value * 1000:.0f} ms" if value >= 0.00095 else f"{value * 1000:.2f} ms"
    if value < 100:
        return f"{value:.2f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s"
