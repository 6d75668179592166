from __future__ import annotations

import re
import sys
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aqe_core import config
from aqe_core.config import KEYS, Config, Setting, load
from aqe_core.errors import ConfigError, UnknownKeyError


@pytest.fixture
def project(tmp_path):
    """Write config files and load them."""

    def write(aqe=None, pyproject=None, **environ):
        for name, text in (("aqe.toml", aqe), ("pyproject.toml", pyproject)):
            if text is not None:
                (tmp_path / name).write_text(text, encoding="utf-8", newline="")
        return load(tmp_path, environ)

    return write


# -- where values come from ----------------------------------------------------------------------------------------


def test_without_files_everything_has_its_default(project):
    settings = project()
    assert settings.layers == ()
    for key, known in KEYS.items():
        if not key.endswith("*"):
            assert settings.get(key) == Setting(known.default, "default")


def test_defaults_name_the_default_backends(project):
    settings = project()
    assert {kind: settings.get(f"{kind}.backend").value for kind in config.DEFAULT_BACKENDS} == config.DEFAULT_BACKENDS


def test_aqe_toml_stands_above_pyproject_and_that_above_the_default(project):
    settings = project(
        aqe='[pattern_store]\nbackend = "native"\n',
        pyproject='[tool.aqe.pattern_store]\nbackend = "gpu"\nfallback = true\n[tool.other]\nx = 1\n',
    )
    assert settings.get("pattern_store.backend") == Setting("native", "aqe.toml:2")
    assert settings.get("pattern_store.fallback") == Setting(True, "pyproject.toml:3")
    assert settings.get("learner.backend") == Setting("numpy", "default")
    assert [layer.name for layer in settings.layers] == ["aqe.toml", "pyproject.toml"]


def test_tables_of_free_names_are_merged_over_the_files(project):
    settings = project(
        aqe="[learner.options]\nseed = 1\n",
        pyproject="[tool.aqe.learner.options]\nseed = 2\nepsilon = 0.5\n",
    )
    assert settings.under("learner.options") == {
        "seed": Setting(1, "aqe.toml:2"),
        "epsilon": Setting(0.5, "pyproject.toml:3"),
    }
    assert settings.under("analyzer.options") == {}


def test_a_prefix_is_a_whole_table_name(project):
    settings = project(aqe='[plugins]\npin = {native = "a-dist"}\n')
    assert settings.under("plugins.pi") == {}
    assert list(settings.under("plugins.pin")) == ["native"]


def test_an_option_keeps_its_shape_and_a_namespace_its_dots(project):
    settings = project(
        aqe='[learner.options]\nschedule = {start = 1, stop = [2, 3]}\n[pattern_store.namespaces]\n"team.a" = "gpu"\n'
    )
    assert settings.under("learner.options")["schedule"].value == {"start": 1, "stop": [2, 3]}
    assert settings.under("pattern_store.namespaces") == {"team.a": Setting("gpu", "aqe.toml:4")}
    assert settings.get("pattern_store.namespaces.team.a") == Setting("gpu", "aqe.toml:4")
    assert settings.get("pattern_store.namespaces.team.b") == Setting(None, "default")


def test_the_environment_is_that_of_the_process_unless_given(tmp_path, monkeypatch):
    monkeypatch.setenv("AQE_SAFE", "1")
    assert load(tmp_path).switch("AQE_SAFE") is True
    assert load(tmp_path, {}).switch("AQE_SAFE") is False


def test_a_pyproject_without_our_table_says_nothing(project):
    settings = project(pyproject="[tool.other]\nx = 1\n")
    assert [dict(layer.leaves) for layer in settings.layers] == [{}]


LINES = {
    "table": ('# a comment\n\n[storage]\npath = "x"\n', "storage.path", 4),
    "carriage returns": ('[storage]\r\n\r\npath = "x"\r\n', "storage.path", 3),
    "dotted": ('\nstorage.path = "x"\n', "storage.path", 2),
    "dotted with spaces": ('storage . "path" = "x"', "storage.path", 1),
    "quoted header": ('["storage"]\n"path" = "x"\n', "storage.path", 2),
    "escaped key": ('[storage]\n"p\\u0061th" = "x"\n', "storage.path", 2),
    "literal key": ("[storage]\n'path' = 'x'\n", "storage.path", 2),
    "inline table": ('\n\nstorage = {path = "x"}\n', "storage.path", 3),
    "array over lines": ('[ingest]\nexclude = [\n  "a",\n  "b=c",\n]\n[storage]\npath = "x"', "storage.path", 7),
    "key of an array": ('[ingest]\nexclude = [\n  "a",\n]\n', "ingest.exclude", 2),
    "array that looks like a header": (
        '[learner.options]\nx = [\n  ["storage"]\n]\ny = 1\n[storage]\npath = "x"\n',
        "learner.options.y",
        5,
    ),
    "text that looks like toml": (
        '[learner.options]\nx = """\n[storage]\npath = "no"\n"""\n[storage]\npath = "x"',
        "storage.path",
        7,
    ),
    "literal text that looks like toml": (
        "[learner.options]\nx = '''\n[storage]\npath = 1'''\n[storage]\npath = \"x\"",
        "storage.path",
        6,
    ),
    "text that ends in quotes": ('learner.options.x = """a\n""""\nstorage.path = "x"', "storage.path", 3),
    "escaped quotes": ('learner.options.x = """\\"""\n\n"""\nstorage.path = "x"', "storage.path", 4),
    "comment after": ('[storage] # path = "no"\npath = "x" # [learner]\n', "storage.path", 2),
    "equals sign in a key": ('[learner.options]\n"a=b" = 1\nc = 2\n', "learner.options.a=b", 2),
    "bracket in a key": ('[learner.options]\n"[a" = 1\nc = 2\n', "learner.options.c", 3),
    "bracket in a comment": ("[learner.options]\na = [ # [[\n1]\nc = 2\n", "learner.options.c", 4),
    "array of tables": (
        "[[learner.options.rules]]\na = 1\n[[learner.options.rules]]\na = 2\n",
        "learner.options.rules",
        1,
    ),
    "two keys of one table": ("learner.options.a = 1\nlearner.options.b = 2\n", "learner.options.b", 2),
    # U+2028 and form feed end a line for str.splitlines, not for TOML and not for editors' line numbers.
    "unicode line separator": ('# a\u2028b\n[storage]\npath = "x"\n', "storage.path", 3),
}


@pytest.mark.parametrize(("text", "key", "line"), LINES.values(), ids=LINES)
def test_a_value_knows_its_line(project, text, key, line):
    assert project(aqe=text).get(key).source == f"aqe.toml:{line}"


@pytest.mark.parametrize("header", ["[tool.aqe.storage]\npath", "[tool.aqe]\nstorage.path", "[tool]\naqe.storage.path"])
def test_a_value_in_pyproject_knows_its_line(project, header):
    text = f'[project]\nname = "p"\ndescription = """\n[tool.aqe]\n"""\n\n{header} = "x"\n'
    assert project(pyproject=text).get("storage.path") == Setting("x", "pyproject.toml:8")


# -- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "key", "line", "near"),
    [
        ('[pattern_store]\nbackned = "native"\n', "pattern_store.backned", 2, "pattern_store.backend"),
        ('[patern_store]\nbackend = "native"\n', "patern_store", 1, "pattern_store"),
        ("\n[patern_store.options]\nef = 1\n", "patern_store", 2, "pattern_store"),
        ("[learner.optoins]\nseed = 1\n", "learner.optoins", 1, "learner.options"),
        ("[learner.optoins]\n", "learner.optoins", 1, "learner.options"),
        ("\n\nstorag = 3\n", "storag", 3, "storage"),
        ('[plugins.pins]\nnative = "x"\n', "plugins.pins", 1, "plugins.pin"),
        ('[plugins]\nalow = ["x"]\n', "plugins.alow", 2, "plugins.allow"),
        ('[storage]\n[storage.namespaces]\na = "sqlite"\n', "storage.namespaces", 2, None),
    ],
)
def test_an_unknown_key_is_named_with_its_place_and_the_nearest_key(project, text, key, line, near):
    with pytest.raises(UnknownKeyError) as caught:
        project(aqe=text)
    assert str(caught.value).startswith(f"aqe.toml:{line}: unknown key {key!r}. Fix: ")
    if near:
        assert caught.value.fix == f"did you mean {near!r}?"


def test_an_unknown_key_like_none_points_to_the_list(project):
    with pytest.raises(UnknownKeyError, match=r"config\.md lists the keys"):
        project(aqe="zzz = 1\n")


def test_a_known_key_in_quotation_marks_is_not_taken_for_another(project):
    with pytest.raises(UnknownKeyError) as caught:
        project(aqe='[storage]\npath = "x"\n[learner]\n[pattern_store]\n"options.ef" = 1\n')
    assert "aqe.toml:5: unknown key 'pattern_store.options.ef'" in str(caught.value)
    with pytest.raises(UnknownKeyError, match=r"without quotation marks"):
        project(aqe='"storage.path" = "x"\n')


@pytest.mark.parametrize(
    ("text", "message", "fix"),
    [
        ("[storage]\npath = 3\n", "aqe.toml:2: storage.path is 3, but must be a string.", "write a string there."),
        ("[learner]\nfallback = 1\n", "aqe.toml:2: learner.fallback is 1, but must be a boolean.", "boolean"),
        ('[ingest]\nexclude = "x"\n', "ingest.exclude is 'x', but must be a list of strings.", "list of strings"),
        ("[ingest]\nexclude = [1]\n", "ingest.exclude is [1], but must be a list of strings.", "list of strings"),
        ("[learner.namespaces]\na = true\n", "learner.namespaces.a is True, but must be a string.", "string"),
        ('[learner.namespaces]\na.b = "x"\n', "learner.namespaces.a is {'b': 'x'}", "quotation marks around a name"),
        ("[learner.backend]\n", "aqe.toml:1: learner.backend is {}, but must be a string.", "string"),
        ('\nlearner = "native"\n', "aqe.toml:2: learner must be a table.", "set learner.backend."),
        ("[[learner]]\n", "aqe.toml:1: learner must be a table.", "set learner.backend."),
        ("ingest = 3\n", "aqe.toml:1: ingest must be a table.", "write [ingest]."),
        ("[learner]\noptions = 3\n", "aqe.toml:2: learner.options must be a table.", "write [learner.options]."),
    ],
)
def test_a_wrong_type_is_named_with_its_place(project, text, message, fix):
    with pytest.raises(ConfigError) as caught:
        project(aqe=text)
    assert type(caught.value) is ConfigError
    assert message in caught.value.message
    assert fix in caught.value.fix


def test_a_long_wrong_value_is_shortened(project):
    with pytest.raises(ConfigError) as caught:
        project(aqe=f"[storage]\npath = {list(range(10_000))}\n")
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("text", "which"), [("tool = 3\n", "tool"), ("[tool]\naqe = 3\n", "tool.aqe"), ("[[tool.aqe]]", "tool.aqe")]
)
def test_our_table_in_pyproject_must_be_one(project, text, which):
    with pytest.raises(ConfigError, match=rf"pyproject\.toml: {re.escape(which)} must be a table"):
        project(pyproject=text)


@pytest.mark.parametrize(
    "text",
    [
        "[storage\n",
        "path = \n",
        'a = "x\n',
        "a = 1\na = 2\n",
        pytest.param("a = " + "[" * 100_000, id="deep"),
        pytest.param("a = " + "1" * 5000, id="long int"),
    ],
)
def test_broken_toml_is_one_config_error(project, text):
    with pytest.raises(ConfigError, match=r"aqe\.toml is not valid TOML: "):
        project(aqe=text)


def test_the_place_of_a_syntax_error_is_named(project):
    with pytest.raises(ConfigError, match=r"line 2"):
        project(aqe="[storage]\npath == 3\n")


def test_bytes_that_are_not_utf8_are_refused(tmp_path):
    (tmp_path / "aqe.toml").write_bytes(b'[storage]\npath = "\xff"\n')
    with pytest.raises(ConfigError, match=r"aqe\.toml cannot be read: .*utf-8"):
        load(tmp_path, {})


def test_a_file_of_more_than_a_mebibyte_is_refused_and_one_of_exactly_that_is_read(tmp_path):
    head = b'[storage]\npath = "x"\n#'
    (tmp_path / "aqe.toml").write_bytes(head.ljust(2**20, b"-"))
    assert load(tmp_path, {}).get("storage.path").value == "x"
    (tmp_path / "aqe.toml").write_bytes(head.ljust(2**20 + 1, b"-"))
    with pytest.raises(ConfigError, match=r"aqe\.toml is larger than 1048576 bytes"):
        load(tmp_path, {})


def test_a_folder_named_like_the_file_is_refused(tmp_path):
    (tmp_path / "aqe.toml").mkdir()
    with pytest.raises(ConfigError, match=r"aqe\.toml cannot be read"):
        load(tmp_path, {})


def test_a_root_that_is_a_file_or_absent_has_no_settings(tmp_path):
    (tmp_path / "file").write_text("x", encoding="utf-8")
    assert load(tmp_path / "file", {}).layers == ()
    assert load(tmp_path / "absent", {}).layers == ()


# -- switches ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["1", "true", "True", "YES", " on "])
def test_a_switch_is_on(project, text):
    assert project(AQE_SAFE=text).switch("AQE_SAFE") is True


@pytest.mark.parametrize("text", ["", " ", "0", "false", "False", "No", "OFF"])
def test_a_switch_is_off(project, text):
    assert project(AQE_SAFE=text).switch("AQE_SAFE") is False
    assert project().switch("AQE_SAFE") is False


@pytest.mark.parametrize("text", ["maybe", "2", "y e s", "none"])
def test_a_switch_that_is_neither_is_refused(project, text):
    with pytest.raises(ConfigError, match=rf"AQE_SAFE is '{text}', but must be on or off\. Fix: set AQE_SAFE=1"):
        project(AQE_SAFE=text).switch("AQE_SAFE")


# -- any text ------------------------------------------------------------------------------------------------------

_MARKS = ["[", "]", "[[", "]]", "{", "}", "=", ".", ",", "#", "\n", "\r\n", " ", "\\", "\u2028"]
_QUOTES = ['"', "'", '"""', "'''"]
_WORDS = ["storage", "path", "learner", "options", "backend", '"native"', "ingest", "exclude", "1", "true", "é"]
_texts = st.one_of(st.text(), st.lists(st.sampled_from([*_MARKS, *_QUOTES, *_WORDS]), max_size=30).map("".join))


@given(text=_texts)
def test_any_text_gives_a_config_or_a_config_error(tmp_path_factory, text):
    root = tmp_path_factory.mktemp("any")
    (root / "aqe.toml").write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        settings = load(root, {})
    except ConfigError:
        return
    assert isinstance(settings, Config)
    assert all(re.fullmatch(r"aqe\.toml:\d+", each.source) for each in settings.layers[0].leaves.values())


_keys = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=6)
_values = st.recursive(
    st.one_of(st.integers(-9, 9), st.booleans(), st.text(st.characters(exclude_categories=["Cs"]), max_size=8)),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=6,
)


def _spelled(draw, value):
    """Spell a value in TOML, in one of its forms, over one or more lines."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list):
        gap = draw(st.sampled_from(["", " ", "\n", " # [x]\n", "\n\n"]))
        return "[" + ",".join(gap + _spelled(draw, item) for item in value) + gap + "]"
    if draw(st.booleans()) and "'" not in value and value.isprintable():
        return draw(st.sampled_from(["'{}'", "'''\n{}'''", "'''{}\n'''"])).format(value)
    quoted = "".join(char if char.isalnum() else f"\\U{ord(char):08X}" for char in value)
    return draw(st.sampled_from(['"{}"', '"""\n{}"""', '"""{}\n[storage]\n"""'])).format(quoted)


@given(data=st.data(), options=st.dictionaries(_keys, _values, max_size=6))
def test_every_line_number_is_that_of_the_key(data, options):
    """The file is written by the test itself, which so knows where each key stands."""
    lines, where = ["[learner.options]"], {}
    for key, value in options.items():
        lines += data.draw(st.sampled_from([[], [""], ["# = ["]]))
        where[key] = "\n".join(lines).count("\n") + 2
        spelled = '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'
        lines.append(f"{spelled} = {_spelled(data.draw, value)}")
    text = "\n".join(lines)
    assert set(tomllib.loads(text)["learner"]["options"]) == set(options)
    found = {key: setting.source for key, setting in config._leaves("f", text, ())}
    assert found == {f"learner.options.{key}": f"f:{line}" for key, line in where.items()}


def test_deep_nesting_is_refused_whatever_the_recursion_limit(project):
    deep = sys.getrecursionlimit() * 2
    with pytest.raises(ConfigError):
        project(aqe="a = " + "{a=" * deep + "1" + "}" * deep)
    with pytest.raises(ConfigError):
        project(aqe="learner" + ".a" * deep + " = 1")


def test_a_file_backend_is_relative_to_the_project(tmp_path, monkeypatch):
    (tmp_path / "aqe.toml").write_text(
        '[pattern_store]\nbackend = "file:./mine.py:Store"\nnamespaces.x = "file:y.py:S"\n'
    )
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    config = load(tmp_path, {})
    assert config.get("pattern_store.backend").value == f"file:{tmp_path / 'mine.py:Store'}"
    assert config.under("pattern_store.namespaces")["x"].value == f"file:{tmp_path / 'y.py:S'}"
