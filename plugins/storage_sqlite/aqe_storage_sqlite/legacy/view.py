"""What was taken over, to be asked."""

from __future__ import annotations

import json
import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_core.errors import InputError, NotFoundError
from aqe_core.validate import as_k
from aqe_storage_sqlite import patterns as pattern_table
from aqe_storage_sqlite import states as state_table
from aqe_storage_sqlite.encoding import as_text
from aqe_storage_sqlite.legacy import agents, tables

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import apsw
    from numpy.typing import ArrayLike, NDArray

    from aqe_core.contracts.records import Pattern
    from aqe_core.state import EngineState
    from aqe_storage_sqlite.database import Database

__all__ = ["LegacyView"]

_PAGE = 1000
_CLOSE = 1e-9  # no two orders of adding up differ by as much in a cosine

_EXPLANATIONS = {
    None: "learned again from the engine's experiences as one run; it saved no table to compare with.",
    True: "learned again from the engine's experiences; on the way they were, to the last bit, the table it saved.",
    False: "learned again from the engine's experiences as one run; the table it saved does not lie on the way, so the "
    "engine learned in several runs, and these values are an estimate.",
}
_LOST = "{lost} of {stored} stored values are 0: the ancestor looked them up under a key that its learners do not have."


class LegacyView:
    """The data of old projects; fulfils `aqe_core.contracts.Legacy`, where the methods are described."""

    def __init__(self, database: Database, namespace: str) -> None:
        self._database = database
        self._namespace = as_text(namespace, "namespace")

    def report(self) -> dict[str, Any]:
        """Return what was taken over: files by path, with their tables and counts, and Q-values by agent."""
        with self._database.read() as connection:
            files: list[Any] = connection.execute("SELECT id, path, kind FROM legacy_files ORDER BY path").fetchall()
            return {
                "files": {
                    path: {
                        "kind": kind,
                        "tables": tables.counts_of(connection, number),
                        "problems": tables.problems_of(connection, number),
                    }
                    for number, path, kind in files
                },
                "q_values": agents.summary(connection, {number for number, _, _ in files}),
            }

    # -- patterns ---------------------------------------------------------------------------------------------------

    def count_patterns(self) -> int:
        """Return the number of patterns."""
        with self._database.read() as connection:
            return pattern_table.count(connection, self._namespace)

    def find_patterns(self, ids: Sequence[str]) -> list[Pattern | None]:
        """Return patterns by id, in that order; None where there is none."""
        with self._database.read() as connection:
            found = pattern_table.by_id(connection, self._namespace, ids)
        return [found.get(id_) for id_ in ids]

    def search_patterns(self, vector: ArrayLike, k: int = 10) -> list[tuple[str, float]]:
        """Return ids and cosine similarities of the patterns whose old embeddings are nearest."""
        return self._search("pattern", vector, k)

    def search_experiences(self, vector: ArrayLike, k: int = 10) -> list[tuple[str, float]]:
        """Return task ids and cosine similarities of the experiences whose old embeddings are nearest."""
        return self._search("experience", vector, k)

    def _search(self, kind: str, vector: ArrayLike, k: int) -> list[tuple[str, float]]:
        try:
            query = np.asarray(vector, np.float64)
        except (TypeError, ValueError) as error:
            raise InputError(f"the vector is not numeric ({error}).", fix="pass a list of numbers.") from None
        if query.ndim != 1 or not np.isfinite(query).all():
            raise InputError("the vector must be one row of finite numbers.", fix="pass a list of numbers.")
        ids, vectors = self._of_dimension(kind, query.size)
        count = min(as_k(k), len(ids))
        if not count:
            return []
        rough = _cosines(vectors, query)
        least = np.partition(rough, -count)[-count] - _CLOSE
        near = [(ids[row], _cosine(vectors[row], query)) for row in np.flatnonzero(rough >= least).tolist()]
        return sorted(near, key=lambda match: (-match[1], match[0]))[:count]

    def _of_dimension(self, kind: str, dim: int) -> tuple[list[str], NDArray[np.float64]]:
        with self._database.read() as connection:
            found: list[Any] = connection.execute(
                "SELECT source, row, kind, id, data, crc32 FROM legacy_embeddings WHERE kind = ? AND length(data) = ?",
                (kind, 4 * dim),
            ).fetchall()
        for *row, crc32 in found:
            tables.require_right("legacy_embeddings", row, crc32)
        rows = np.frombuffer(b"".join(row[4] for row in found), "<f4").astype(np.float64)
        return [row[3] for row in found], rows.reshape(len(found), dim)

    # -- experiences and values -------------------------------------------------------------------------------------

    def agents(self) -> list[str]:
        """Return the names of all agents with experiences or Q-values."""
        with self._database.read() as connection:
            rows: list[Any] = connection.execute(
                "SELECT agent FROM experiences UNION SELECT agent FROM q_values ORDER BY agent"
            ).fetchall()
        return [agent for (agent,) in rows]

    def experiences(self, agent: str | None = None, *, origin: str | None = None) -> Iterator[dict[str, Any]]:
        """Yield experiences in the order of their tables and rows."""
        condition, values = _all_of(agent=agent, origin=origin)
        return self._rows("experiences", condition, values, json_fields=("state", "action", "next_state", "extra"))

    def q_values(self, agent: str) -> list[dict[str, Any]]:
        """Return an agent's Q-values, those stored and those rebuilt, one item for each file that has some."""
        with self._database.read() as connection:
            found: list[Any] = connection.execute(
                "SELECT f.id, f.path, a.stored, a.lost, a.verified FROM legacy_agents AS a "
                "JOIN legacy_files AS f ON f.id = a.file WHERE a.agent = ? ORDER BY f.path",
                (agent,),
            ).fetchall()
            values = []
            for file, path, stored, lost, verified in found:
                rebuilt = _values(_state(connection, agent, "rebuilt", path))
                values.append(
                    {
                        "file": path,
                        "stored": _stored(connection, file, agent),
                        "rebuilt": rebuilt,
                        "explanation": _explanation(stored, lost, verified, rebuilt=bool(rebuilt)),
                    }
                )
        return values

    def learner_state(self, agent: str, which: str = "rebuilt", *, file: str | None = None) -> EngineState:
        """Return an agent's Q-table in the form that a Q-learning learner imports."""
        with self._database.read() as connection:
            paths = [
                path
                for (path,) in connection.execute(
                    "SELECT f.path FROM legacy_agents AS a JOIN legacy_files AS f ON f.id = a.file "
                    "WHERE a.agent = ? ORDER BY f.path",
                    (agent,),
                )
                if file is None or path == file
            ]
            states = [state for path in paths if (state := _state(connection, agent, which, path)) is not None]
        if not states:
            raise NotFoundError(
                f"there are no {which} Q-values of agent {agent!r}.",
                fix="agents() lists the agents, q_values() their values.",
            )
        if len(states) > 1:
            raise InputError(
                f"{len(states)} files have {which} Q-values of agent {agent!r}.", fix=f"pass file=, one of {paths}."
            )
        return states[0]

    # -- everything else --------------------------------------------------------------------------------------------

    def partitions(self, *, now_s: float | None = None) -> dict[str, tuple[int, int]]:
        """Return by partition how many entries there are, and how many of them are live."""
        with self._database.read() as connection:
            rows: list[Any] = connection.execute(
                "SELECT partition, count(*), sum(expires_s IS NULL OR expires_s > ?) FROM entries "
                "GROUP BY partition ORDER BY partition",
                (_now(now_s),),
            ).fetchall()
        return {partition: (count, live) for partition, count, live in rows}

    def entries(
        self, partition: str | None = None, *, now_s: float | None = None, include_expired: bool = False
    ) -> Iterator[dict[str, Any]]:
        """Yield entries, without those that have expired, in the order of their tables and rows."""
        condition, values = _all_of(partition=partition)
        if not include_expired:
            condition += " AND (expires_s IS NULL OR expires_s > ?)"
            values.append(_now(now_s))
        return self._rows("entries", condition, values, json_fields=("value", "extra"))

    def entry(self, key: str, partition: str = "default", *, now_s: float | None = None) -> dict[str, Any] | None:
        """Return the newest live entry of a key; None if there is none."""
        live = "partition = ? AND key = ? AND (expires_s IS NULL OR expires_s > ?)"
        found = self._rows("entries", live, [partition, key, _now(now_s)], json_fields=("value", "extra"))
        return max(found, key=lambda entry: entry["created_s"] or 0.0, default=None)

    def metrics(self, series: str | None = None, name: str | None = None) -> Iterator[dict[str, Any]]:
        """Yield measured values in the order of their tables and rows; ``series`` is the name of a table."""
        condition, values = _all_of(series=series, name=name)
        return self._rows("metrics", condition, values, json_fields=("labels",))

    def archive(self, table: str | None = None) -> Iterator[dict[str, Any]]:
        """Yield rows that have no table of ours, as they were, with the file and table that they come from."""
        condition, values = ("1", []) if table is None else ("t.name = ?", [table])
        return self._rows("archive", condition, values, json_fields=("data",))

    def _rows(
        self, table: str, condition: str, values: list[Any], *, json_fields: Sequence[str]
    ) -> Iterator[dict[str, Any]]:
        """Yield rows in pages, so that no snapshot is held while the caller works."""
        last = (0, -math.inf)
        sql = (
            f"SELECT r.*, f.path AS file, t.name AS table_name FROM {table} AS r "  # noqa: S608  # names of ours
            "JOIN legacy_tables AS t ON t.id = r.source JOIN legacy_files AS f ON f.id = t.file "
            f"WHERE (r.source, r.row) > (?, ?) AND {condition} ORDER BY r.source, r.row LIMIT {_PAGE}"
        )
        while True:
            with self._database.read() as connection:
                cursor = connection.execute(sql, (*last, *values))
                page = [dict(zip((name for name, *_ in cursor.description), row, strict=True)) for row in cursor]
            for row in page:
                crc32 = row.pop("crc32")
                tables.require_right(table, list(row.values())[:-2], crc32)  # without file and table_name
                last = row.pop("source"), row["row"]
                row["table"] = row.pop("table_name")
                yield {name: _decoded(value) if name in json_fields else value for name, value in row.items()}
            if len(page) < _PAGE:
                return


def _decoded(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def _all_of(**wanted: str | None) -> tuple[str, list[Any]]:
    """Return a condition that all given columns have the given values."""
    given = {column: value for column, value in wanted.items() if value is not None}
    return " AND ".join((*(f"r.{column} = ?" for column in given), "1")), list(given.values())


def _now(now_s: float | None) -> float:
    return time.time() if now_s is None else now_s


def _stored(connection: apsw.Connection, file: int, agent: str) -> dict[str, dict[str, dict[str, Any]]]:
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for *row, crc32 in connection.execute(
        "SELECT source, row, agent, state, action, value, visits, lost, extra, crc32 FROM q_values WHERE agent = ? "
        "AND source IN (SELECT id FROM legacy_tables WHERE file = ?) ORDER BY source, row",
        (agent, file),
    ):
        tables.require_right("q_values", row, crc32)
        state, action, value, visits, lost = row[3:8]
        found.setdefault(state, {})[action] = {"value": value, "visits": visits, "lost": bool(lost)}
    return found


def _state(connection: apsw.Connection, agent: str, which: str, path: str) -> EngineState | None:
    encoded = state_table.fetch(connection, agents.state_name(agent, which, path))
    return None if encoded is None else state_table.decode(encoded)


def _values(state: EngineState | None) -> dict[str, dict[str, float]]:
    """Return a learner's state as value by action, by state."""
    found: dict[str, dict[str, float]] = {}
    if state is not None:
        states, actions = state.manifest["states"], state.manifest["actions"]
        pairs = zip(*(state.arrays[name].tolist() for name in ("rows", "columns", "values")), strict=True)
        for row, column, value in pairs:
            found.setdefault(states[row], {})[actions[column]] = value
    return found


def _explanation(stored: int, lost: int, verified: int | None, *, rebuilt: bool) -> str:
    parts = [_LOST.format(lost=lost, stored=stored)] if lost else ["the stored values are what was learned."]
    if rebuilt:
        parts.append("The rebuilt ones were " + _EXPLANATIONS[None if verified is None else bool(verified)])
    return " ".join(parts)


def _cosines(vectors: NDArray[np.float64], query: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the cosines of rows with a query, 0 for zero vectors; the order of adding up is not defined."""
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors)) * math.sqrt(math.fsum(query * query))
    products = vectors @ query
    cosines: NDArray[np.float64] = np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)
    return cosines


def _cosine(vector: NDArray[np.float64], query: NDArray[np.float64]) -> float:
    """Return a cosine with sums that are rounded once, so that equal vectors have equal scores."""
    length = math.sqrt(math.fsum(vector * vector)) * math.sqrt(math.fsum(query * query))
    return math.fsum(vector * query) / length if length else 0.0
