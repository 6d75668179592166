"""Killed at any moment, or written by many: nothing that was acknowledged is lost. Short forms of long runs.

AQE_KILLS (default 3) and AQE_OPERATIONS (default 2,400) make them long.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest

HERE = Path(__file__).parent
KILLS = int(os.environ.get("AQE_KILLS", "3"))
OPERATIONS = int(os.environ.get("AQE_OPERATIONS", "2400"))


def start(name, *arguments, **options):
    command = [sys.executable, HERE / name, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def finish(process):
    out, errors = process.communicate(timeout=1800)
    assert process.returncode == 0, errors
    return out.split()


def kill_group(number):
    with suppress(ProcessLookupError):  # it has ended by itself, which is noticed elsewhere
        os.killpg(number, signal.SIGKILL)


def write_until_killed(path, mode, randomness, processes=1):
    writer = start("durable_write.py", path, mode, 4, processes, start_new_session=True)
    lines = [writer.stdout.readline()]
    stop = threading.Timer(randomness.uniform(0.01, 0.3), kill_group, (writer.pid,))
    stop.start()
    rest, errors = writer.communicate()
    stop.join()
    assert writer.returncode < 0, errors  # killed, not ended by itself
    assert not errors
    return {line for line in [*lines, *rest.splitlines(keepends=True)] if line.endswith("\n")}


@pytest.mark.skipif(sys.platform == "win32", reason="a kill shows otherwise there")
@pytest.mark.parametrize("processes", [1, 3])
@pytest.mark.parametrize("mode", ["insert", "update", "delete", "snapshot", "compact", "migrate", "mixed"])
def test_killed_writers_lose_nothing_that_they_acknowledged(tmp_path, mode, processes):
    path = tmp_path / "aqe.db"
    randomness = random.Random(mode)
    acknowledged = set()
    for _ in range(KILLS):
        acknowledged |= {line.strip() for line in write_until_killed(path, mode, randomness, processes)}
        stored = finish(start("durable_verify.py", path))
        assert len(stored) == len(set(stored))
        assert acknowledged <= set(stored)
    assert len(acknowledged) >= KILLS


def test_the_verifier_notices_a_loss(tmp_path):
    """So that the test above can fail."""
    from aqe_storage_sqlite.storage import SqliteStorage

    path = tmp_path / "aqe.db"
    (number, *_) = write_until_killed(path, "insert", random.Random(1))
    with SqliteStorage(path) as storage:
        storage.remove_patterns("durable", storage.pattern_keys("durable", {"id": f"{number.strip()} a"}))
    process = start("durable_verify.py", path)
    _, errors = process.communicate()
    assert process.returncode == 1
    assert "half applied" in errors


def test_two_processes_of_eight_threads(tmp_path):
    path = tmp_path / "aqe.db"
    processes = [start("mixed_operations.py", path, name, OPERATIONS // 2) for name in ("one", "two")]
    assert sum(int(finish(process)[0]) for process in processes) == OPERATIONS // 2 // 8 * 8 * 2
    assert finish(start("durable_verify.py", path)) == []  # which asks SQLite whether the file is sound
