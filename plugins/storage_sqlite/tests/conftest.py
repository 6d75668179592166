from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import apsw
import pytest
from aqe_storage_sqlite.storage import SqliteStorage

NOBODY = 65534


@pytest.fixture
def path(tmp_path):
    return tmp_path / "aqe.db"


@pytest.fixture
def storage(path):
    with SqliteStorage(path, durability="normal") as opened:
        yield opened


@pytest.fixture
def run_python():
    """Start Python on some code; what is still running in the end is killed."""
    started = []

    def start(code, *arguments, **options):
        process = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def check_sound():
    """Ask SQLite whether a file is sound."""

    def check(path):
        connection = apsw.Connection(str(path))
        try:
            assert connection.execute("PRAGMA integrity_check").get == "ok"
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        finally:
            connection.close()

    return check


@pytest.fixture
def shared_folder():
    """A folder that a user without rights can reach (pytest's own cannot be entered by others)."""
    folder = Path(tempfile.mkdtemp(prefix="aqe-test-"))
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


@pytest.fixture
def without_rights():
    """Run a block as a user that file modes apply to: they do not to root."""
    if sys.platform == "win32":
        pytest.skip("file modes do not protect here")

    @contextmanager
    def dropped():
        user = os.geteuid()
        if user == 0:
            os.seteuid(NOBODY)
        try:
            yield
        finally:
            os.seteuid(user)

    return dropped
