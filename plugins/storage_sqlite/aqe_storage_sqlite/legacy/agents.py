"""The agents of an old file: the Q-values it stores, those learned anew, and both as states that a learner imports."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from aqe_storage_sqlite import states as state_table
from aqe_storage_sqlite.legacy.javascript import action_key, parse_json, state_key
from aqe_storage_sqlite.legacy.rebuild import Step, learner_state, rebuild

if TYPE_CHECKING:
    from collections.abc import Collection

    import apsw

__all__ = ["finish", "state_name", "summary"]

_OF_FILE = "source IN (SELECT id FROM legacy_tables WHERE file = ?)"


def state_name(agent: str, which: str, path: str) -> str:
    """Return the name of an agent's state; ``which`` is ``stored`` or ``rebuilt``."""
    return f"agentic-qe/{agent}/{which}@{path}"


def finish(connection: apsw.Connection, file: int, path: str) -> None:
    """Make learner states of a file's Q-values and experiences, and count them, for each agent."""
    stored, lost = _stored(connection, file)
    steps = _steps(connection, file)
    saved = _saved(connection, file)
    connection.execute("DELETE FROM legacy_agents WHERE file = ?", (file,))
    for agent in sorted({*stored, *steps}):
        values = {state: {action: pair[0] for action, pair in row.items()} for state, row in stored[agent].items()}
        visits = {state: {action: pair[1] for action, pair in row.items()} for state, row in stored[agent].items()}
        learned = rebuild(steps[agent], saved.get(agent))
        n_stored, n_rebuilt = sum(map(len, values.values())), sum(map(len, learned.values.values()))
        for which, count, state in (
            ("stored", n_stored, learner_state(values, visits)),
            ("rebuilt", n_rebuilt, learner_state(learned.values, learned.visits)),
        ):
            if count:
                state_table.save(connection, state_name(agent, which, path), state_table.encode(state, 0))
        connection.execute(
            "INSERT INTO legacy_agents (file, agent, stored, lost, rebuilt, verified) VALUES (?, ?, ?, ?, ?, ?)",
            (file, agent, n_stored, lost[agent], n_rebuilt, learned.verified),
        )


def summary(connection: apsw.Connection, files: Collection[int]) -> dict[str, dict[str, Any]]:
    """Return the counts by agent, over several files."""
    found: dict[str, dict[str, Any]] = {}
    for file in sorted(files):
        for agent, stored, lost, rebuilt, verified in connection.execute(
            "SELECT agent, stored, lost, rebuilt, verified FROM legacy_agents WHERE file = ?", (file,)
        ):
            counts = found.setdefault(agent, {"stored": 0, "lost": 0, "rebuilt": 0, "verified": None})
            counts["stored"] += stored
            counts["lost"] += lost
            counts["rebuilt"] += rebuilt
            if verified is not None:
                counts["verified"] = bool(verified) and counts["verified"] is not False
    return dict(sorted(found.items()))


def _stored(
    connection: apsw.Connection, file: int
) -> tuple[dict[str, dict[str, dict[str, tuple[float, int]]]], dict[str, int]]:
    stored: dict[str, dict[str, dict[str, tuple[float, int]]]] = defaultdict(lambda: defaultdict(dict))
    lost: dict[str, int] = defaultdict(int)
    for agent, state, action, value, visits, is_lost in connection.execute(
        f"SELECT agent, state, action, value, visits, lost FROM q_values WHERE {_OF_FILE} ORDER BY source, row",  # noqa: S608  # ours
        (file,),
    ):
        stored[agent][state][action] = (value, visits)
        lost[agent] += is_lost
    return stored, lost


def _steps(connection: apsw.Connection, file: int) -> dict[str, list[Step]]:
    steps: dict[str, list[Step]] = defaultdict(list)
    for agent, state, action, reward, next_state in connection.execute(
        "SELECT agent, state, action, reward, next_state FROM experiences "  # noqa: S608  # ours
        f"WHERE {_OF_FILE} AND origin = 'engine' ORDER BY source, row",
        (file,),
    ):
        keys = state_key(json.loads(state)), action_key(json.loads(action)), state_key(json.loads(next_state))
        steps[agent].append(Step(keys[0], keys[1], reward, keys[2]))
    return steps


def _saved(connection: apsw.Connection, file: int) -> dict[str, dict[str, dict[str, float]]]:
    """Return the tables that engines saved among the entries, by agent."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for (text,) in connection.execute(
        f"SELECT value FROM entries WHERE {_OF_FILE} AND partition = 'learning' "  # noqa: S608  # ours
        "AND key GLOB 'phase2/learning/*/state'",
        (file,),
    ):
        entry = parse_json(text)
        if isinstance(entry, dict) and isinstance(entry.get("agentId"), str) and _is_table(entry.get("qTable")):
            found[entry["agentId"]] = entry["qTable"]
    return found


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(row, dict) and all(isinstance(number, (int, float)) for number in row.values())
        for row in value.values()
    )
