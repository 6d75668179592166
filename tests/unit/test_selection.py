from __future__ import annotations

import pytest

import aqe_core
from aqe_core.config import DEFAULT_BACKENDS, load
from aqe_core.contracts.specs import KINDS
from aqe_core.errors import ConfigError, UsageError
from aqe_core.selection import REASONS, Rung, Selection, explain, select

LADDER = ["argument", "environment", "guard", "flag", "aqe.toml", "pyproject.toml", "default"]


@pytest.fixture
def config(tmp_path):
    def write(aqe=None, pyproject=None, **environ):
        for name, text in (("aqe.toml", aqe), ("pyproject.toml", pyproject)):
            if text is not None:
                (tmp_path / name).write_text(text, encoding="utf-8")
        return load(tmp_path, environ)

    return write


def rung(selection: Selection, name: str) -> Rung:
    (found,) = (each for each in selection.rungs if each.name == name)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_when_nothing_is_said_the_default_is_used_and_each_rung_says_why_not(config, kind):
    selection = select(kind, config())
    assert (selection.backend, selection.reason, selection.source) == (DEFAULT_BACKENDS[kind], "DEFAULT", "built in")
    assert [each.name for each in selection.rungs] == LADDER
    for each in selection.rungs[:-1]:
        assert (each.value, each.reason) == (None, "DISABLED")
        assert each.source
    assert rung(selection, "environment").source == f"AQE_{kind.upper()} is not set"
    assert rung(selection, "aqe.toml").source == "no such file"
    assert (selection.distribution, selection.version, selection.fallback, selection.options) == ("", "", False, {})


BOTH = {"aqe": '[learner]\nbackend = "toml"\n', "pyproject": '[tool.aqe.learner]\nbackend = "pyp"\n'}


@pytest.mark.parametrize(
    ("given", "explicit", "backend", "reason", "source"),
    [
        ({**BOTH, "AQE_LEARNER": "env", "AQE_SAFE": "1"}, "arg", "arg", "STATIC", "explicit argument"),
        ({**BOTH, "AQE_LEARNER": "env", "AQE_SAFE": "1"}, None, "numpy", "STATIC", "kill switch AQE_SAFE"),
        ({**BOTH, "AQE_LEARNER": " env "}, None, "env", "STATIC", "AQE_LEARNER"),
        ({**BOTH, "AQE_LEARNER": " ", "AQE_ANALYZER": "x"}, None, "toml", "STATIC", "aqe.toml:2"),
        ({"pyproject": BOTH["pyproject"], "aqe": ""}, None, "pyp", "STATIC", "pyproject.toml:2"),
    ],
)
def test_the_highest_rung_that_speaks_decides(config, given, explicit, backend, reason, source):
    selection = select("learner", config(**given), explicit=explicit)
    assert (selection.backend, selection.reason, selection.source) == (backend, reason, source)
    assert selection.reason in REASONS


def test_every_rung_is_shown_also_below_the_one_that_decides(config):
    selection = select("learner", config(**BOTH, AQE_LEARNER="env"), explicit="arg")
    assert [each.value for each in selection.rungs] == ["arg", "env", None, None, "toml", "pyp", "numpy"]
    silent = select("learner", config(aqe="", pyproject=""))
    assert rung(silent, "aqe.toml").source == "does not set learner.backend"


def test_a_namespace_has_its_own_choice(config):
    settings = config(
        aqe='[learner]\nbackend = "general"\n[learner.namespaces]\nteam = "special"\n"a.b" = "dotted"\n',
        pyproject='[tool.aqe.learner]\nnamespaces = {other = "lower", team = "hidden"}\n',
    )
    team = select("learner", settings, namespace="team")
    assert (team.backend, team.reason, team.source) == ("special", "TARGETING_MATCH", "aqe.toml:4")
    assert rung(team, "pyproject.toml").value == "hidden"
    assert select("learner", settings, namespace="a.b").backend == "dotted"
    assert select("learner", settings).backend == "general"
    # A file as a whole stands above the other: its general choice hides the other's special one.
    other = select("learner", settings, namespace="other")
    assert (other.backend, other.reason) == ("general", "STATIC")
    assert rung(other, "pyproject.toml").reason == "TARGETING_MATCH"


@pytest.mark.parametrize(
    ("given", "explicit", "options"),
    [
        ({}, None, {"seed": 1}),
        ({}, "numpy", {"seed": 1}),
        ({}, "native", {}),
        ({"AQE_LEARNER": "native"}, None, {}),
        ({"AQE_SAFE": "1"}, None, {"seed": 1}),
    ],
)
def test_options_without_a_backend_are_those_of_the_default(config, given, explicit, options):
    settings = config(aqe="[learner.options]\nseed = 1\n", **given)
    assert select("learner", settings, explicit=explicit).options == options


def test_options_go_to_the_backend_of_the_config_only(config):
    settings = config(
        aqe='[learner]\nbackend = "native"\noptions = {depth = 2}\nnamespaces = {small = "numpy", big = "native"}\n'
    )
    assert select("learner", settings).options == {"depth": 2}
    assert select("learner", settings, explicit="native").options == {"depth": 2}
    assert select("learner", settings, namespace="big").options == {"depth": 2}
    assert select("learner", settings, namespace="small").options == {}
    assert select("learner", settings, explicit="numpy").options == {}


def test_options_beside_another_backend_in_the_lower_file_are_not_mixed_in(config):
    pyproject = '[tool.aqe.learner]\nbackend = "native"\noptions = {depth = 2, seed = 9}\n'
    overridden = config(aqe='[learner]\nbackend = "numpy"\noptions = {seed = 1}\n', pyproject=pyproject)
    assert select("learner", overridden).options == {"seed": 1}
    refined = config(aqe="[learner]\noptions = {seed = 1}\n", pyproject=pyproject)
    assert select("learner", refined).options == {"depth": 2, "seed": 1}


def test_a_fallback_is_opt_in_and_never_for_the_storage(config):
    assert select("learner", config(aqe="[learner]\nfallback = true\n")).fallback is True
    assert select("analyzer", config()).fallback is False
    assert select("storage", config()).fallback is False


def test_there_is_no_other_kind(config):
    with pytest.raises(UsageError, match=r"no kind of engine named 'store'\. Fix: use one of pattern_store, learner"):
        select("store", config())


def test_a_kill_switch_that_is_neither_on_nor_off_is_refused(config):
    with pytest.raises(ConfigError, match="AQE_SAFE"):
        select("learner", config(AQE_SAFE="maybe"))


def test_a_selection_prints_as_plain_values(config):
    import json

    printed = json.loads(json.dumps(select("learner", config(**BOTH)).to_dict()))
    assert printed["backend"] == "toml"
    assert [each["name"] for each in printed["rungs"]] == LADDER


def test_explain_a_kind_reads_the_project(tmp_path, monkeypatch):
    for variable in ("AQE_SAFE", "AQE_LEARNER"):
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / "aqe.toml").write_text('[learner.namespaces]\nteam = "native"\n', encoding="utf-8")
    assert explain("learner", "team", path=str(tmp_path)).backend == "native"
    assert explain("learner", path=str(tmp_path)).backend == "numpy"
    monkeypatch.chdir(tmp_path)
    assert explain("learner", "team").source == "aqe.toml:2"
    monkeypatch.setenv("AQE_LEARNER", "gpu")
    assert explain("learner", "team").source == "AQE_LEARNER"
    with pytest.raises(UsageError):
        explain("nonsense")


def test_explain_an_engine_says_how_it_came_to_be():
    store = aqe_core.open_store("numpy", dim=3)
    selection = aqe_core.explain(store)
    assert (selection.kind, selection.backend, selection.source) == ("pattern_store", "numpy", "explicit argument")
    assert selection.distribution == "aqe-core"
    assert selection.version
    with pytest.raises(UsageError, match="was not made by aqe"):
        aqe_core.explain(object())
