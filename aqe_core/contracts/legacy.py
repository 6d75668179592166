"""The contract for taking over what agentic-qe, the ancestor, has stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import ArrayLike

    from aqe_core.contracts.records import Pattern
    from aqe_core.state import EngineState

__all__ = ["LEGACY_NAMESPACE", "Legacy", "TakesOver"]

LEGACY_NAMESPACE = "agentic-qe"
"""The set of patterns that old projects go to, unless another is named."""


@runtime_checkable
class TakesOver(Protocol):
    """What a storage offers beyond `Storage` to take over projects of agentic-qe 2.8."""

    def find_old(self, place: Path) -> dict[str, str]:
        """Return the kinds of the database files at a place by name: sqlite, aqe, redb, empty, unknown, unreadable.

        Raises
        ------
        NotFoundError
            There are none.
        """
        ...

    def take_over(
        self, place: Path, *, namespace: str = ..., progress: Callable[[str, int, int], None] | None = None
    ) -> dict[str, Any]:
        """Take over a project or one of its database files, without changing it.

        Every row is converted, kept in the archive as it was, or counted as skipped with the reason. Interrupted
        anywhere, a second call goes on; a file that was taken over before adds nothing.

        Parameters
        ----------
        place : Path
            The project's folder, or one file.
        namespace : str
            Where its patterns go.
        progress : callable, optional
            Called as ``progress(file, tables done, tables)``.

        Returns
        -------
        dict
            ``files``: by name, ``kind``, ``problems`` and ``tables``: by name, ``rows`` (the sum of the next three),
            ``converted``, ``archived``, ``skipped`` and ``reasons`` with numbers of rows. ``q_values``: by agent,
            ``stored``, ``lost`` (of the stored ones), ``rebuilt``, and ``verified``, whether the rebuilt ones went
            through what the agent had saved (None: it saved nothing).

        Raises
        ------
        NotFoundError
            There is no database at that place.
        StorageBusyError
            A program keeps writing one of the files.
        """
        ...

    def legacy(self, *, namespace: str = ...) -> Legacy:
        """Return what was taken over, to be asked."""
        ...


@runtime_checkable
class Legacy(Protocol):
    """The data of old projects.

    Rows are dicts with the ``file``, ``table`` and ``row`` they come from. Times are seconds since 1970, ``now_s`` the
    time for which to decide what has expired (the present one if absent).
    """

    def report(self) -> dict[str, Any]:
        """Return what was taken over, as `TakesOver.take_over` does, with files by their absolute paths."""
        ...

    def count_patterns(self) -> int:
        """Return the number of patterns."""
        ...

    def find_patterns(self, ids: Sequence[str]) -> list[Pattern | None]:
        """Return patterns by id, in that order; None where there is none."""
        ...

    def search_patterns(self, vector: ArrayLike, k: int = 10) -> list[tuple[str, float]]:
        """Return ids and cosine similarities of the patterns whose old embeddings are nearest.

        Embeddings of another length take no part, those of length zero have similarity 0. Computed in float64; best
        first, of equal ones by id. O(n dim).
        """
        ...

    def search_experiences(self, vector: ArrayLike, k: int = 10) -> list[tuple[str, float]]:
        """Return task ids and cosine similarities of experiences likewise."""
        ...

    def agents(self) -> list[str]:
        """Return the names of all agents with experiences or Q-values."""
        ...

    def experiences(self, agent: str | None = None, *, origin: str | None = None) -> Iterator[dict[str, Any]]:
        """Yield experiences: agent, task, type, state, action, reward, next_state, done, at_s, origin, extra.

        ``origin`` is ``engine``, ``tool``, ``captured`` or ``other``.
        """
        ...

    def q_values(self, agent: str) -> list[dict[str, Any]]:
        """Return an agent's Q-values, one item for each file that has some.

        ``stored``: by state, by action: value, visits, lost. ``rebuilt``: the value by state, by action.
        ``explanation``: in words, what to make of the two.
        """
        ...

    def learner_state(self, agent: str, which: str = "rebuilt", *, file: str | None = None) -> EngineState:
        """Return an agent's Q-table, ``rebuilt`` or ``stored``, in the form that a Q-learning learner imports.

        Raises
        ------
        NotFoundError
            There is none.
        InputError
            Several files have one, and none is named.
        """
        ...

    def partitions(self, *, now_s: float | None = None) -> dict[str, tuple[int, int]]:
        """Return by partition how many entries there are, and how many of them are live."""
        ...

    def entries(
        self, partition: str | None = None, *, now_s: float | None = None, include_expired: bool = False
    ) -> Iterator[dict[str, Any]]:
        """Yield live entries: partition, key, value, owner, access, team, swarm, created_s, expires_s, extra."""
        ...

    def entry(self, key: str, partition: str = "default", *, now_s: float | None = None) -> dict[str, Any] | None:
        """Return the newest live entry of a key; None if there is none."""
        ...

    def metrics(self, series: str | None = None, name: str | None = None) -> Iterator[dict[str, Any]]:
        """Yield measured values: series (the name of a table), name, value, at_s, labels."""
        ...

    def archive(self, table: str | None = None) -> Iterator[dict[str, Any]]:
        """Yield rows that have no table of ours: data, as it was; a blob is ``{"$blob": base64}``."""
        ...
