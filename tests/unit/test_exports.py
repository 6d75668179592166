from __future__ import annotations

import importlib
import pkgutil
import re
import subprocess
import sys
import types

import pytest

import aqe_core

PACKAGES = ("aqe_core", "aqe_backend_numpy", "aqe_storage_sqlite", "aqe_ingest_tests")


# What plugin authors and the rest of the core read: whatever is public by name is also exported.
COMPLETE = r"aqe_core\.(contracts|config|errors|state|events|validate|guards|plugins|selection|binding|results)\b"


def _modules() -> list[str]:
    found = []
    for package in PACKAGES:
        root = importlib.import_module(package)
        found.append(package)
        found += [each.name for each in pkgutil.walk_packages(root.__path__, f"{package}.")]
    return [name for name in found if not name.endswith("__main__")]


def _public(module: types.ModuleType) -> list[str]:
    """Return the classes and functions that a module itself defines under a public name."""
    return [
        name
        for name, item in vars(module).items()
        if not name.startswith("_")
        and isinstance(item, (type, types.FunctionType))
        and item.__module__ == module.__name__
    ]


def _sorted_as_the_linter_sorts(names: list[str]) -> list[str]:
    def rank(name):
        return (0 if name.isupper() else 1 if name[:1].isupper() else 2, name)

    return sorted(names, key=rank)


@pytest.mark.parametrize("name", _modules())
def test_all_is_sorted_and_true(name):
    module = importlib.import_module(name)
    exported = getattr(module, "__all__", [])
    assert list(exported) == _sorted_as_the_linter_sorts(list(exported))
    assert len(set(exported)) == len(exported)
    assert [each for each in exported if not hasattr(module, each)] == []


@pytest.mark.parametrize("name", [each for each in _modules() if re.match(COMPLETE, each)])
def test_all_is_complete(name):
    module = importlib.import_module(name)
    assert set(_public(module)) <= set(getattr(module, "__all__", _public(module)))


def test_the_package_exports_what_it_says():
    for name in aqe_core.__all__:
        assert getattr(aqe_core, name) is not None
    assert set(aqe_core._HOME) | {"__version__"} == set(aqe_core.__all__)


def test_a_lazy_name_is_the_thing_itself():
    from aqe_core import errors, hookspecs, selection

    assert aqe_core.AqeError is errors.AqeError
    assert aqe_core.hookimpl is hookspecs.hookimpl
    assert aqe_core.explain is selection.explain


def test_dir_lists_every_name():
    assert set(aqe_core.__all__) <= set(dir(aqe_core))
    assert dir(aqe_core) == sorted(dir(aqe_core))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'aqe_core' has no attribute 'nonsense'"):
        aqe_core.nonsense  # noqa: B018
    with pytest.raises(ImportError):
        from aqe_core import nonsense  # noqa: F401


def _imported_by(statement: str) -> set[str]:
    """Return the modules that a fresh interpreter gains by a statement."""
    code = f"import sys; before = set(sys.modules)\n{statement}\nprint(*sorted(set(sys.modules) - before))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_importing_the_package_imports_nothing_else():
    assert _imported_by("import aqe_core") == {"aqe_core"}


def test_the_import_time_report_lists_none_of_the_heavy_modules():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import aqe_core"], capture_output=True, text=True, check=True
    )
    listed = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "aqe_core" in listed
    assert not listed & {"numpy", "structlog", "attr", "attrs", "pluggy", "click", "apsw"}
    assert "importlib.metadata" not in done.stderr


@pytest.mark.parametrize("name", ["AqeError", "explain"])
def test_a_name_brings_no_more_than_it_needs(name):
    got = _imported_by(f"import aqe_core; aqe_core.{name}")
    assert f"aqe_core.{aqe_core._HOME[name]}" in got
    assert not {each.partition(".")[0] for each in got} & {"numpy", "structlog", "pluggy", "click", "apsw"}
    assert "importlib.metadata" not in got
