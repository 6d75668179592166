"""The list of backends, and every way in which one can be unusable."""

from __future__ import annotations

import re

STORE = """
import aqe_core
from aqe_core.contracts import EngineSpec, StoreCapabilities
AQE_API = {api}

@aqe_core.hookimpl
def aqe_pattern_stores():
    return [EngineSpec(name="{name}", factory="somewhere:Store", capabilities=StoreCapabilities(), requires={requires},
                       install="pip install it")]
"""


def store(name, api=1, requires=()):
    return STORE.format(name=name, api=api, requires=requires)


def row(document, section, name):
    return next(each for each in document[section] if each["name"] == name)


def test_first_party_backends_are_ready(aqe, aqe_json):
    text = aqe("backends").stdout
    assert re.search(r"^pattern store +\* numpy +aqe-core \S+ +ready +cosine/dot/l2, exact", text, re.MULTILINE)
    assert re.search(r'^gpu +pip install "aqe-core\[gpu\]"$', text, re.MULTILINE)
    assert re.search(r"^junit-xml +\.xml", text, re.MULTILINE)
    assert "Plugins that are not used" not in text
    document = aqe_json("backends")
    assert document["ok"] is True
    assert {(each["kind"], each["name"]) for each in document["backends"] if each["selected"]} >= {
        ("pattern_store", "numpy"),
        ("storage", "sqlite"),
        ("embedder", "lexical"),
    }
    assert row(document, "backends", "numpy")["capabilities"]["metrics"] == ["cosine", "dot", "l2"]
    assert row(document, "extras", "gpu") == {"name": "gpu", "install": 'pip install "aqe-core[gpu]"'}


def test_lines_have_no_trailing_blanks(aqe):
    assert not [line for line in aqe("backends").stdout.splitlines() if line != line.rstrip()]


def test_a_third_party_backend_is_listed_and_can_be_selected(aqe_json, plugin, tmp_path):
    plugin("mine", store("mine"))
    (tmp_path / "aqe.toml").write_text('[pattern_store]\nbackend = "mine"\n')
    found = row(aqe_json("backends"), "backends", "mine")
    assert (found["status"], found["selected"], found["distribution"]) == ("ready", True, "aqe-backend-test")


def test_a_backend_whose_requirements_are_missing(aqe, aqe_json, plugin):
    plugin("mine", store("mine", requires=("no_such_module",)))
    found = row(aqe_json("backends"), "backends", "mine")
    assert (found["status"], found["note"]) == ("missing", "pip install it")
    assert "missing: pip install it" in aqe("backends").stdout


def test_broken_plugins_are_a_problem_and_hide_nobody(aqe, aqe_json, plugin):
    plugin("old", store("old", api=0))
    plugin("raises", "1 / 0")
    plugin("absent", None)
    plugin("wrong", store("other"))
    plugin("good", store("good"))
    document = aqe_json("backends", code=1)
    assert document["ok"] is False
    notes = {each["name"]: each["note"] for each in document["plugins"] if each["status"] == "broken"}
    assert set(notes) == {"old", "raises", "absent", "wrong"}
    assert "is for plugin API 0" in notes["old"]
    assert "ZeroDivisionError" in notes["raises"]
    assert "ModuleNotFoundError" in notes["absent"]
    assert "may only offer 'wrong'" in notes["wrong"]
    assert row(document, "backends", "good")["status"] == "ready"
    text = aqe("backends", code=1).stdout
    assert "Plugins that are not used" in text
    assert re.search(r"^raises +aqe-backend-test 1.0 +broken +plugin 'raises'", text, re.MULTILINE)


def test_a_name_claimed_twice(aqe_json, plugin, tmp_path):
    plugin("mine", store("mine"), "one")
    plugin("mine", store("mine"), "two")
    document = aqe_json("backends", code=1)
    assert [each["status"] for each in document["plugins"] if each["name"] == "mine"] == ["claimed twice"] * 2
    assert [each["status"] for each in document["backends"] if each["name"] == "mine"] == ["claimed twice"] * 2
    (tmp_path / "aqe.toml").write_text('[plugins.pin]\nmine = "two"\n')
    document = aqe_json("backends")
    assert {each["distribution"]: each["status"] for each in document["plugins"] if each["name"] == "mine"} == {
        "one": "left out", "two": "ready",
    }  # fmt: skip


def test_left_out(aqe_json, plugin, monkeypatch):
    plugin("mine", "1 / 0")
    monkeypatch.setenv("AQE_SAFE", "1")
    found = row(aqe_json("backends"), "plugins", "mine")
    assert (found["status"], found["note"]) == ("left out", "left out by AQE_SAFE")
