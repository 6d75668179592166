"""Mixed operations from eight threads, each of which knows what must be stored under its own ids.

usage: mixed_operations.py PATH NAME OPERATIONS

Run several at once on one file, each with a NAME of its own. Prints the number of operations done; an error, or an
answer that is not what was stored, ends it with 1.
"""

from __future__ import annotations

import random
import sys
import threading
from pathlib import Path

import numpy as np
from aqe_storage_sqlite.storage import SqliteStorage

from aqe_core.contracts import Pattern, Run, TestResult

THREADS = 8
KINDS = ("put", "change", "remove", "read", "vector", "run")


class Worker:
    """One thread's operations, and a model of what they stored."""

    def __init__(self, storage: SqliteStorage, name: str) -> None:
        self.storage = storage
        self.name = name
        self.random = random.Random(name)
        self.texts: dict[str, str] = {}
        self.keys: dict[str, int] = {}
        self.runs: list[str] = []
        self.failure: BaseException | None = None

    def work(self, operations: int) -> None:
        """Do operations, then compare everything."""
        try:
            for number in range(operations):
                kind = self.random.choice(KINDS) if self.texts else "put"
                getattr(self, kind)(number)
            self.compare(list(self.texts))
            assert self.storage.known_runs(self.runs) == set(self.runs), "a run is lost"
        except BaseException as error:
            self.failure = error
            raise

    def put(self, number: int) -> None:
        self.write(f"{self.name} {number}", f"text {number}")

    def change(self, number: int) -> None:
        self.write(self.any_id(), f"changed {number}")

    def write(self, id_: str, text: str) -> None:
        report = self.storage.put_patterns("n", [Pattern(id=id_, name="n", text=text)])
        self.texts[id_], self.keys[id_] = text, int(report.keys[0])

    def remove(self, _: int) -> None:
        id_ = self.any_id()
        assert self.storage.remove_patterns("n", [self.keys.pop(id_)]) == 1, "removed before"
        del self.texts[id_]
        assert self.storage.find_patterns("n", [id_]) == [None], "removed, and still there"

    def read(self, _: int) -> None:
        self.compare([self.any_id()])

    def vector(self, number: int) -> None:
        key = self.keys[self.any_id()]
        self.storage.put_vectors("n", [key], np.full((1, 8), number), "f")
        keys, vectors = self.storage.load_vectors("n", "f", [key])
        assert keys.tolist() == [key], "the vector is lost"
        assert (vectors == number).all(), "another vector"

    def run(self, number: int) -> None:
        id_ = f"{self.name} {number}"
        assert self.storage.put_run(Run(id=id_, source="s"), [TestResult(test=self.name, outcome="passed")])
        self.runs.append(id_)

    def compare(self, ids: list[str]) -> None:
        found = self.storage.find_patterns("n", ids)
        texts = [None if each is None else each.text for each in found]
        assert texts == [self.texts[id_] for id_ in ids], "a pattern is lost, or an older one came back"

    def any_id(self) -> str:
        return self.random.choice(list(self.texts))


def main() -> None:
    """Run the threads."""
    path, name, operations = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    with SqliteStorage(path, timeout_s=60) as storage:
        workers = [Worker(storage, f"{name} {number}") for number in range(THREADS)]
        threads = [threading.Thread(target=worker.work, args=(operations // THREADS,)) for worker in workers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if any(worker.failure for worker in workers):
        sys.exit(1)
    sys.stdout.write(f"{operations // THREADS * THREADS}\n")


if __name__ == "__main__":
    main()
