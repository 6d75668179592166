"""The examples in docstrings are run."""

from __future__ import annotations

import doctest
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = [ROOT / "aqe_core", *sorted(ROOT.glob("plugins/*/aqe_*"))]


def modules() -> list[str]:
    found = []
    for package in PACKAGES:
        for path in sorted(package.rglob("*.py")):
            if path.name != "__main__.py":
                parts = path.relative_to(package.parent).with_suffix("").parts
                found.append(".".join(parts).removesuffix(".__init__"))
    return found


@pytest.mark.parametrize("name", modules())
def test_examples(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(import_module(name), optionflags=doctest.ELLIPSIS)
    assert not result.failed, capsys.readouterr().out


def test_there_are_examples():
    with_examples = [name for name in modules() if ">>> " in (import_module(name).__doc__ or "") + source(name)]
    assert len(with_examples) > 4


def source(name: str) -> str:
    return Path(str(import_module(name).__file__)).read_text(encoding="utf-8")
