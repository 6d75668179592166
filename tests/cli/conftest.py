"""A small project, and the program run on it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from aqe_core.cli.app import program
from aqe_core.isolation import PluginSource
from aqe_core.plugins import installed_sources

ROOT = Path(__file__).parents[2]

TESTS = '''
import pytest

def test_retry_is_capped_after_a_timeout():
    """Retry is capped.

    More about it.
    """
    assert True

@pytest.mark.slow
def test_login_rejects_a_wrong_password():
    assert True

class TestParser:
    def test_parser_keeps_the_order_of_keys(self):
        assert True
'''


def junit(day: int, *, fails: bool) -> str:
    failure = '<failure message="boom">boom</failure>' if fails else ""
    return (
        f'<testsuites><testsuite name="pytest" timestamp="2024-01-{day:02}T00:00:00">'
        f'<testcase classname="tests.test_a" name="test_login_rejects_a_wrong_password" time="0.5">{failure}</testcase>'
        '<testcase classname="tests.test_a.TestParser" name="test_parser_keeps_the_order_of_keys" time="1.5"/>'
        "</testsuite></testsuites>"
    )


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """No test sees the environment, the terminal or the workspace of another."""
    for name in [name for name in os.environ if name.startswith("AQE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def project(tmp_path):
    """A project with three tests and no results."""
    folder = tmp_path / "project"
    (folder / "tests").mkdir(parents=True)
    (folder / "tests" / "test_a.py").write_text(TESTS, encoding="utf-8")
    return folder


@pytest.fixture
def results(project):
    """Three runs of the project, of which the first and the last fail."""
    files = []
    for day, fails in ((1, True), (2, False), (3, True)):
        file = project / f"run{day}.xml"
        file.write_text(junit(day, fails=fails), encoding="utf-8")
        files.append(file)
    return files


@pytest.fixture
def aqe():
    """Run the program in this process: ``aqe("search", "text", code=0)`` returns the result."""

    def run(*args, code=0, stdin=None):
        result = CliRunner().invoke(program, [str(each) for each in args], input=stdin)
        assert result.exit_code == code, f"exit code {result.exit_code}\n{result.stdout}\n{result.stderr}"
        assert "Traceback" not in result.stderr
        assert "\x1b" not in result.stdout
        return result

    return run


@pytest.fixture
def aqe_json(aqe):
    """Run the program with ``--json`` and return the document."""

    def run(*args, **options):
        result = aqe(*args, "--json", **options)
        assert result.stderr == ""
        return json.loads(result.stdout)

    return run


@pytest.fixture
def ingested(aqe, project, results):
    """The project with everything in its workspace."""
    aqe("ingest", "-C", project)
    return project


@pytest.fixture
def environ():
    """The environment for a process that imports what this one imports."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


@pytest.fixture
def process(environ, tmp_path):
    """Run the program in a process of its own."""

    def run(*args, **options):
        return subprocess.run(
            [sys.executable, "-m", "aqe_core", *map(str, args)],
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
            env=environ,
            **{"cwd": tmp_path, **options},
        )

    return run


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Install a plugin for this process: ``plugin("name", source_code)`` returns its source."""
    known = installed_sources()
    monkeypatch.setattr("aqe_core.plugins.installed_sources", lambda: list(known))
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)

    def install(name, code, distribution="aqe-backend-test", module=None):
        module = module or f"fake_{name.replace('-', '_')}_{len(known)}"
        if code is not None:
            (folder / f"{module}.py").write_text(code, encoding="utf-8")
        monkeypatch.delitem(sys.modules, module, raising=False)
        source = PluginSource(name, module, distribution, "1.0")
        known.append(source)
        return source

    yield install
    for source in known:
        if source.module.startswith("fake_"):
            sys.modules.pop(source.module, None)
