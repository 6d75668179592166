"""Write durably until killed, and acknowledge every operation on standard output.

usage: durable_write.py PATH [MODE] [CALLERS] [PROCESSES]

MODE is one of the following or mixed (default, or AQE_DURABLE_MODE); CALLERS threads (default 8) of each of PROCESSES
processes (default 1) write at once. Each line is the number of an operation that the storage has said is durable:

- insert ``n`` stores the patterns ``n a``, ``n b`` and ``n c``;
- update ``n`` stores them and then changes them;
- delete ``n`` stores them and then removes them;
- snapshot ``n`` keeps an engine state under the name ``n``;
- compact ``n`` stores them, stores and removes others, and gives the space back;
- migrate ``n`` takes them and an entry ``n`` over from a database of agentic-qe.

The program is started again and again on one file and goes on with new numbers; `durable_verify.py` lists what is
stored. It belongs to one process group with its other processes, which is what to kill.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import threading
import traceback
from pathlib import Path

import apsw
import numpy as np
from aqe_storage_sqlite.storage import SqliteStorage

from aqe_core.contracts import Pattern
from aqe_core.state import EngineState

MODES = ("insert", "update", "delete", "snapshot", "compact", "migrate")
NUMBERS_A_START = 1_000_000
TIMEOUT_S = 60.0


def patterns(number: int, text: str) -> list[Pattern]:
    """Return the patterns of an operation."""
    return [Pattern(id=f"{number} {letter}", name="n", text=text) for letter in "abc"]


def state(number: int) -> EngineState:
    """Return an engine state that says its number in every place."""
    return EngineState(kind="durable", manifest={"number": number}, arrays={"a": np.full(1_000, number)})


def operate(storage: SqliteStorage, number: int, mode: str) -> None:
    """Do one operation; the last call of it is the one that is acknowledged."""
    if mode == "insert":
        storage.put_patterns("durable", patterns(number, "whole"))
    elif mode == "update":
        storage.put_patterns("durable", patterns(number, "old"))
        storage.put_patterns("durable", patterns(number, "new"))
    elif mode == "delete":
        keys = storage.put_patterns("durable", patterns(number, "doomed")).keys
        note(storage, number, mode)
        storage.remove_patterns("durable", keys)
    elif mode == "compact":
        storage.put_patterns("durable", patterns(number, "whole"))
        storage.remove_patterns("space", storage.put_patterns("space", patterns(number, "x" * 10_000)).keys)
        SqliteStorage.maintenance(storage.path, timeout_s=TIMEOUT_S).compact()
    elif mode == "migrate":
        old = make_old(storage.path, number)
        storage.take_over(old, namespace="durable")
        shutil.rmtree(old)
    else:
        note(storage, number, mode)
        storage.save_state(str(number), state(number), seq=0)


def note(storage: SqliteStorage, number: int, mode: str) -> None:
    """Note durably that an operation is about to happen whose traces alone would not tell."""
    storage.put_patterns("begun", [Pattern(id=str(number), name=mode, text="")])


def make_old(path: Path, number: int) -> Path:
    """Return a project folder of agentic-qe with an entry and, in a later table, the patterns of an operation."""
    folder = path.with_name(f"{path.name}.old") / str(number)
    folder.mkdir(parents=True)
    old = apsw.Connection(str(folder / "memory.db"))
    old.execute(
        "CREATE TABLE memory_entries (key TEXT, partition TEXT, value TEXT, created_at INTEGER, expires_at INTEGER);"
        "CREATE TABLE patterns (id TEXT PRIMARY KEY, pattern TEXT, confidence REAL, embedding BLOB)"
    ).fetchall()
    with old:
        rows = [(pattern.id, "whole") for pattern in patterns(number, "")]
        old.executemany("INSERT INTO patterns VALUES (?, ?, 1.0, NULL)", rows)
        old.execute("INSERT INTO memory_entries VALUES (?, 'durable', 'true', 1, NULL)", (str(number),))
    old.close()
    return folder


def next_start(storage: SqliteStorage) -> int:
    """Return how often the program was started on this file before, and count this time."""
    known = storage.load_state("starts")
    starts = 0 if known is None else known[1]
    storage.save_state("starts", state(starts), seq=starts + 1)
    return starts


def write(path: Path, mode: str, callers: int, numbers: itertools.count[int]) -> None:
    """Write from several threads until killed."""
    storage = SqliteStorage(path, timeout_s=TIMEOUT_S)

    def work() -> None:
        try:
            while True:
                number = next(numbers)
                operate(storage, number, MODES[number // 8 % len(MODES)] if mode == "mixed" else mode)
                os.write(1, b"%d\n" % number)  # one call, so that a kill cannot cut a line in two
        except BaseException:
            traceback.print_exc()
            os._exit(1)  # an error in one thread ends the program, and the kill loop notices

    threads = [threading.Thread(target=work) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main() -> None:
    """Start the other processes, or be one of them, and write."""
    path = Path(sys.argv[1])
    mode = sys.argv[2] if len(sys.argv) > 2 else os.environ.get("AQE_DURABLE_MODE", "mixed")
    callers = int(sys.argv[3]) if len(sys.argv) > 3 else 8
    processes = int(sys.argv[4]) if len(sys.argv) > 4 else 1
    if len(sys.argv) > 5:  # one of the others
        first = int(sys.argv[5])
    else:
        with SqliteStorage(path, timeout_s=TIMEOUT_S) as storage:
            first = next_start(storage) * NUMBERS_A_START
        for number in range(1, processes):
            command = [sys.executable, __file__, str(path), mode, str(callers), str(processes), str(first + number)]
            subprocess.Popen(command)  # ourselves
    write(path, mode, callers, itertools.count(first, processes))


if __name__ == "__main__":
    main()
