"""The project that ``aqe new-plugin`` writes."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest

from aqe_core.testing import run_checks
from aqe_core.testing.installed import maker

# Read here: the tests themselves run without variables of this prefix.
ROUND_TRIP = os.environ.get("AQE_TEST_ROUND_TRIP") == "1"
WHEEL = Path(os.environ.get("AQE_TEST_WHEEL", "")).resolve()


@pytest.fixture
def demo(aqe, plugin, tmp_path, monkeypatch):
    """The project ``demo-one``, known in this process as if it were installed."""
    aqe("new-plugin", "demo-one")
    folder = tmp_path / "aqe-backend-demo-one"
    monkeypatch.syspath_prepend(folder)
    plugin("demo-one", None, distribution="aqe-backend-demo-one", module="aqe_backend_demo_one")
    yield folder
    sys.modules.pop("aqe_backend_demo_one", None)


def test_what_is_written(aqe, aqe_json, tmp_path):
    document = aqe_json("new-plugin", "demo")
    files = ["pyproject.toml", "README.md", "aqe_backend_demo.py", "tests/test_demo.py"]
    assert document["files"] == files
    assert (document["distribution"], document["module"]) == ("aqe-backend-demo", "aqe_backend_demo")
    folder = tmp_path / document["folder"]
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()) == sorted(files)
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["aqe.plugins"] == {"demo": "aqe_backend_demo"}
    assert project["name"] == "aqe-backend-demo"
    for file in files:
        assert "$" not in (folder / file).read_text()
    test = (folder / "tests" / "test_demo.py").read_text().strip()
    assert len(test.splitlines()) == 5
    assert ast.parse(test)
    assert "aqe check demo" in document["next"]


def test_it_says_what_to_type_next(aqe, tmp_path):
    (tmp_path / "my plugins").mkdir()
    text = aqe("new-plugin", "demo", "--into", "my plugins").stdout
    assert "made: my plugins/aqe-backend-demo/pyproject.toml\n" in text
    assert "  pip install -e 'my plugins/aqe-backend-demo[test]' " in text
    assert "  aqe check demo " in text


@pytest.mark.parametrize("name", ["Demo", "1x", "-x", "x-", "a--b", "a b", "", "é", "a/b", "../x", "x\n"])
def test_refused_names(aqe, tmp_path, name):
    result = aqe("new-plugin", "--", name, code=2)
    assert "is not a name for a plugin." in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["numpy", "lexical", "sqlite", "tests", "native", "gpu", "sqlite-vec", "file"])
def test_taken_names(aqe, tmp_path, name):
    assert f"the plugin name '{name}' is taken." in aqe("new-plugin", name, code=2).stderr
    assert not list(tmp_path.iterdir())


def test_an_existing_folder_is_left_alone(aqe, tmp_path):
    folder = tmp_path / "aqe-backend-demo"
    folder.mkdir()
    assert "aqe-backend-demo exists." in aqe("new-plugin", "demo", code=2).stderr
    assert not list(folder.iterdir())
    assert "Invalid value for '--into'" in aqe("new-plugin", "demo", "--into", "absent", code=2).stderr


def test_where_nothing_can_be_written(aqe, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert "aqe-backend-demo cannot be written: Permission denied." in aqe("new-plugin", "demo", code=1).stderr


def test_it_is_listed_selected_and_used(demo, aqe, aqe_json, tmp_path, project):
    found = next(each for each in aqe_json("backends")["backends"] if each["name"] == "demo-one")
    assert (found["kind"], found["status"]) == ("pattern_store", "ready")
    (project / "aqe.toml").write_text('[pattern_store]\nbackend = "demo-one"\n')
    chosen = aqe_json("explain", "pattern-store", "-C", project)
    assert (chosen["backend"], chosen["distribution"]) == ("demo-one", "aqe-backend-demo-one")
    assert "pattern store  demo-one" in aqe("quickstart", project).stdout
    hits = aqe_json("search", "retry timeout", "-C", project, "--where", "class_name=TestParser")["hits"]
    assert [hit["class_name"] for hit in hits] == ["TestParser"]


@pytest.mark.filterwarnings("error")
def test_it_passes_the_kit(demo):
    make, capabilities = maker("pattern_store", "demo-one")
    assert capabilities.exact
    report = run_checks("pattern_store", make, capabilities)
    assert report.ok, str(report)
    assert report["exact_scan"].status == "passed"


@pytest.mark.skipif(not ROUND_TRIP, reason="installs from a package index; set AQE_TEST_ROUND_TRIP=1")
def test_round_trip_in_a_fresh_environment(aqe, tmp_path):
    assert WHEEL.is_file(), "AQE_TEST_WHEEL names the wheel of aqe-core"
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*args, **options):
        done = subprocess.run(
            [python, *map(str, args)],
            check=False,
            capture_output=True,
            text=True,
            env=environment,
            cwd=tmp_path,
            **options,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("-m", "pip", "install", "--quiet", WHEEL)
    run("-m", "aqe_core", "new-plugin", "demo")
    run("-m", "pip", "install", "--quiet", f"{tmp_path / 'aqe-backend-demo'}[test]")
    backends = json.loads(run("-m", "aqe_core", "backends", "--json"))
    assert backends["ok"]
    assert ("demo", "ready") in {(each["name"], each["status"]) for each in backends["backends"]}
    (tmp_path / "aqe.toml").write_text('[pattern_store]\nbackend = "demo"\n')
    chosen = json.loads(run("-m", "aqe_core", "explain", "pattern-store", "--json"))
    assert (chosen["backend"], chosen["source"], chosen["version"]) == ("demo", "aqe.toml:2", "0.1.0")
    assert json.loads(run("-m", "aqe_core", "check", "demo", "--json"))["ok"]
    assert " passed" in run("-m", "pytest", "-q", tmp_path / "aqe-backend-demo")
