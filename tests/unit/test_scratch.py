"""Scratch folders: removed in the end, and after a kill by the next who makes one."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading

import pytest

from aqe_core import legacy, scratch

HOLD = """
import sys, tempfile
from aqe_core.scratch import scratch_folder
tempfile.tempdir = sys.argv[1]
with scratch_folder() as folder:
    (folder / "big").write_text("x")
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_folder_is_removed_in_the_end(place):
    with scratch.scratch_folder() as folder:
        assert list(folder.iterdir()) == []
        assert place in folder.parents
        (folder / "file").write_text("x")
    assert list(place.iterdir()) == []


def test_a_folder_is_removed_after_an_error(place):
    with pytest.raises(ValueError, match="mine"), scratch.scratch_folder():
        raise ValueError("mine")
    assert list(place.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="a kill shows otherwise there")
def test_what_a_killed_process_left_is_removed_and_what_is_in_use_is_not(place):
    command = [sys.executable, "-c", HOLD, str(place)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        held = process.stdout.readline().strip()
        with scratch.scratch_folder():
            assert os.listdir(held) == ["big"]  # noqa: PTH208  # a name
        process.kill()
    assert os.path.isdir(held)  # noqa: PTH112  # a name
    with scratch.scratch_folder():
        assert not os.path.exists(held)  # noqa: PTH110  # a name
    assert list(place.iterdir()) == []


def test_a_folder_in_the_making_is_left_alone_for_an_hour(place):
    half = place / "aqe-scratch-half"
    half.mkdir()
    with scratch.scratch_folder():
        assert half.is_dir()
    os.utime(half, (0, 0))
    with scratch.scratch_folder():
        assert not half.exists()


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="files have no owner there")
def test_folders_of_others_are_left_alone(place, monkeypatch):
    theirs = place / "aqe-scratch-theirs"
    theirs.mkdir()
    os.utime(theirs, (0, 0))
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with scratch.scratch_folder():
        assert theirs.is_dir()


def test_many_at_once_leave_each_other_alone(place):
    failures = []

    def use():
        try:
            for _ in range(40):
                with scratch.scratch_folder() as folder:
                    (folder / "file").write_text("mine")
                    assert (folder / "file").read_text() == "mine"
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=use) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert list(place.iterdir()) == []


def test_a_scratch_storage_does_not_wait_for_the_disk(place):
    """It is gone with the power in any case, and each of a thousand commits would wait for milliseconds."""
    with legacy.scratch() as storage:
        assert storage.info()["durability"] == "normal"
    assert list(place.iterdir()) == []
