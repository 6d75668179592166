"""Write durably until killed, and acknowledge every operation on standard output.

usage: durable_write.py PATH [MODE] [CALLERS]

MODE is insert, update, delete, snapshot or mixed (default, or AQE_DURABLE_MODE); CALLERS threads write at once
(default 8). Each line is the number of an operation that the storage has said is durable:

- insert ``n`` stores the patterns ``n a``, ``n b`` and ``n c``;
- update ``n`` stores them and then changes them;
- delete ``n`` stores them and then removes them;
- snapshot ``n`` keeps an engine state under the name ``n``.

The program is started again and again on one file and goes on with new numbers; `durable_verify.py` lists what is
stored.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
from pathlib import Path

import numpy as np
from aqe_storage_sqlite.storage import SqliteStorage

from aqe_core.contracts import Pattern
from aqe_core.state import EngineState

MODES = ("insert", "update", "delete", "snapshot")
NUMBERS_A_START = 1_000_000


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
    else:
        note(storage, number, mode)
        storage.save_state(str(number), state(number), seq=number)


def note(storage: SqliteStorage, number: int, mode: str) -> None:
    """Note durably that an operation is about to happen whose traces alone would not tell."""
    storage.put_patterns("begun", [Pattern(id=str(number), name=mode, text="")])


def next_start(storage: SqliteStorage) -> int:
    """Return how often the program was started on this file before, and count this time."""
    known = storage.load_state("starts")
    starts = 0 if known is None else known[1]
    storage.save_state("starts", state(starts), seq=starts + 1)
    return starts


def main() -> None:
    """Write from several threads until killed."""
    path = Path(sys.argv[1])
    mode = sys.argv[2] if len(sys.argv) > 2 else os.environ.get("AQE_DURABLE_MODE", "mixed")
    callers = int(sys.argv[3]) if len(sys.argv) > 3 else 8
    storage = SqliteStorage(path)
    numbers = itertools.count(next_start(storage) * NUMBERS_A_START)

    def write() -> None:
        try:
            while True:
                number = next(numbers)
                operate(storage, number, MODES[number % len(MODES)] if mode == "mixed" else mode)
                os.write(1, b"%d\n" % number)  # one call, so that a kill cannot cut a line in two
        finally:
            os._exit(1)  # an error in one thread ends the program, and the kill loop notices

    for _ in range(callers):
        threading.Thread(target=write).start()


if __name__ == "__main__":
    main()
