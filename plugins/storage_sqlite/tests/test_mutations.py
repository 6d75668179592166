"""Mutated copies of a file: nothing crashes, nothing hangs, and no wrong answer goes unnoticed.

``AQE_TEST_MUTATIONS=10000 pytest plugins/storage_sqlite/tests/test_mutations.py`` is the long run.
"""

from __future__ import annotations

import os
import random
import time

import apsw
import numpy as np
import pytest
from aqe_storage_sqlite.maintenance import SqliteMaintenance
from aqe_storage_sqlite.storage import SqliteStorage

from aqe_core.contracts import Pattern, Run, TestResult
from aqe_core.errors import AqeError
from aqe_core.state import EngineState

COUNT = int(os.environ.get("AQE_TEST_MUTATIONS", "300"))
LONGEST_S = 5.0
"""Of the processor's time: a busy machine may stop a process for seconds."""
TEXTS = ["", "assert retry(3)", "x" * 700, "é" * 3000]


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """The bytes of a small file with something of everything, and what is read from it."""
    path = tmp_path_factory.mktemp("original") / "aqe.db"
    rng = np.random.default_rng(7)
    with SqliteStorage(path, durability="normal") as storage:
        patterns = [
            Pattern(
                id=f"t{i}", name=f"test_{i}", text=TEXTS[i % 4], metadata={"n": i}, markers=("m",), line=i, origin="a"
            )
            for i in range(60)
        ]
        keys = storage.put_patterns("n", patterns).keys
        storage.put_vectors("n", keys, rng.random((60, 24), dtype=np.float32), "f")
        for number in range(6):
            run = Run(id=f"r{number}", source=f"s{number}", started_s=1000.0 + number)
            results = [TestResult(test=f"T{i}", outcome="failed", duration_s=i / 7, message="m" * i) for i in range(40)]
            storage.put_run(run, results)
        storage.save_state("learner", EngineState(kind="k", manifest={"a": 1}, arrays={"q": rng.random(700)}), seq=3)
        storage.remove_patterns("n", keys[:9])
        storage.append_points("cpu", np.arange(1500.0), rng.random(1500))
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA journal_mode = WAL").fetchall()
    connection.close()
    return path.read_bytes(), answers(path)


def answers(path):
    """Return everything that can be read, part by part; an error of ours in its place."""
    found = {}

    def ask(name, question):
        try:
            found[name] = question()
        except AqeError as error:
            found[name] = error

    try:
        storage = SqliteStorage(path, read_only=True)
    except AqeError as error:
        return error
    with storage:
        ask("patterns", lambda: [p.to_dict() for batch in storage.iter_patterns("n") for p in batch])
        ask("vectors", lambda: [a.tobytes() for a in storage.load_vectors("n", "f")])
        ask("results", lambda: [a.tobytes() if isinstance(a, np.ndarray) else a for a in table(storage)])
        ask("origins", lambda: storage.origins("n"))
        ask("runs", lambda: storage.known_runs([f"r{i}" for i in range(8)]))
        ask("state", lambda: state(storage))
        ask("changes", lambda: [np.asarray(part).tobytes() for part in storage.changes_since("n", 5) or ()])
        ask("points", lambda: [a.tobytes() for a in storage.points("cpu")])
        ask("words", lambda: storage.search_text("n", "retry test", 5))
    return found


def table(storage):
    results = storage.results()
    return [results.tests, results.test, results.run, results.outcome, results.duration_s]


def state(storage):
    kept = storage.load_state("learner")
    if kept is None:
        return None  # says that it has to be made again
    return kept[1], kept[0].manifest, {name: array.tobytes() for name, array in kept[0].arrays.items()}


def mutated(data, rng):
    """Return a copy that is cut off, or has bits flipped, parts swapped, or numbers that lie."""
    copy = bytearray(data)
    kind = rng.choice(("truncate", "flip", "splice", "lie", "zero"))
    if kind == "truncate":
        return kind, bytes(copy[: rng.randrange(len(copy))])
    if kind == "flip":
        for _ in range(rng.choice((1, 1, 1, 3, 40))):
            copy[rng.randrange(len(copy))] ^= 1 << rng.randrange(8)
    elif kind == "splice":
        size = rng.choice((1, 4, 64, 512, 4096))
        source, target = (rng.randrange(len(copy) - size) // size * size for _ in range(2))
        copy[target : target + size] = copy[source : source + size]
    elif kind == "zero":
        start = rng.randrange(len(copy))
        copy[start : start + rng.choice((1, 16, 4096))] = b""
    else:
        where = rng.choice((rng.randrange(100), rng.randrange(len(copy) // 4096) * 4096 + rng.randrange(40)))
        number = rng.choice((0, 1, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, rng.getrandbits(32)))
        copy[where : where + 4] = number.to_bytes(4, "big")
    return kind, bytes(copy)


# What a lost cache looks like: it is made again from the rest.
REMADE = {"state": None, "changes": []}


def differences(right, found):
    """Return the parts that give another answer, and no error."""
    if isinstance(found, AqeError):
        return []
    return [
        name
        for name, answer in found.items()
        if not isinstance(answer, AqeError)
        and answer != right[name]
        and not (name in REMADE and answer == REMADE[name])
    ]


def test_no_damage_goes_unnoticed(original, tmp_path):
    data, right = original
    rng = random.Random(20)
    silent, slow, only_verify = [], [], 0
    path = tmp_path / "aqe.db"
    for number in range(COUNT):
        for left in tmp_path.iterdir():
            if left.is_file():
                left.unlink()
        kind, copy = mutated(data, rng)
        path.write_bytes(copy)
        start_s = time.process_time()
        wrong = differences(right, answers(path))
        report = SqliteMaintenance(path).verify()
        if time.process_time() - start_s > LONGEST_S:
            slow.append((number, kind))
        only_verify += bool(wrong)
        if wrong and report.ok:
            silent.append((number, kind, wrong))
        if copy == data:
            assert report.ok
    assert not silent
    assert only_verify > COUNT // 200, "the mutations do not reach what only verify sees"
    assert not slow


def test_what_repair_leaves_is_right(original, tmp_path):
    data, right = original
    rng = random.Random(21)
    by_id = {pattern["id"]: pattern for pattern in right["patterns"]}
    saved = unchanged = 0
    refused = []
    for number in range(COUNT // 3):
        folder = tmp_path / str(number)
        folder.mkdir()
        path = folder / "aqe.db"
        kind, copy = mutated(data, rng)
        path.write_bytes(copy)
        start_s = time.process_time()
        try:
            done = SqliteMaintenance(path).repair()
        except AqeError as error:
            refused.append((kind, len(copy), error.code))
            unchanged += path.read_bytes() == copy
            continue
        assert time.process_time() - start_s < LONGEST_S
        assert SqliteMaintenance(path).verify().ok
        if done.damaged is not None:
            assert done.damaged.read_bytes() == copy
        found = answers(path)
        for pattern in found["patterns"]:
            saved += 1
            assert pattern == by_id.get(pattern["id"], pattern), (number, kind)
        lost = by_id.keys() - {pattern["id"] for pattern in found["patterns"]}
        assert not lost or done.lost, (number, kind)
    assert saved > 5 * COUNT
    assert unchanged == len(refused) < COUNT // 10, refused


@pytest.mark.parametrize("name", ["aqe.db-wal"])
def test_a_damaged_log_is_noticed(tmp_path, name):
    path = tmp_path / "aqe.db"
    storage = SqliteStorage(path, durability="normal")
    storage.put_patterns("n", [Pattern(id="a", name="a", text="x")])
    storage.put_patterns("n", [Pattern(id="b", name="b", text="y")])
    copy = tmp_path / "copy"
    copy.mkdir()
    log = bytearray((tmp_path / name).read_bytes())
    (copy / "aqe.db").write_bytes(path.read_bytes())
    storage.close()
    rng = random.Random(5)
    noticed = 0
    for _ in range(20):
        damaged = bytearray(log)
        damaged[32 + rng.randrange(len(log) - 32)] ^= 16
        (copy / name).write_bytes(damaged)
        (copy / "aqe.db-shm").unlink(missing_ok=True)
        report = SqliteMaintenance(copy / "aqe.db").verify()
        noticed += not report.ok
    assert noticed == 20
