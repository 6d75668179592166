from __future__ import annotations

import sys
import types
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from aqe_core import hookimpl
from aqe_core.config import DEFAULT_BACKENDS, environment_hints
from aqe_core.contracts import EngineSpec, IngestSpec
from aqe_core.errors import (
    ApiVersionError,
    BrokenPluginError,
    ConfigError,
    ContractError,
    DuplicateNameError,
    MissingExtraError,
    PluginError,
    UnknownBackendError,
    UsageError,
)
from aqe_core.events import capture
from aqe_core.isolation import resolve
from aqe_core.plugins import (
    HOOKS,
    KNOWN_EXTRAS,
    PluginManager,
    installed_sources,
    iter_problems,
)

EMPTY = "AQE_API = 1\n"
OWN = {"lexical", "numpy", "sqlite", "tests"}


def names(found):
    return {each.spec.name for each in found}


# -- discovery -----------------------------------------------------------------------------------------------------


def test_own_plugins_are_found_like_any_other():
    found = {source.name: source for source in installed_sources()}
    assert found.keys() >= OWN
    assert {found[name].distribution for name in OWN} == {"aqe-core"}
    for kind, backend in DEFAULT_BACKENDS.items():
        assert PluginManager().find_engine(kind, backend).spec.name == backend


def test_discovery_reads_metadata_and_imports_nothing(install, manager, source_of):
    module = install("Some_Dist.x", "3.4", zeta="raise AssertionError('imported')")
    plugins = manager()
    source = source_of(plugins, "zeta")
    assert (source.module, source.distribution, source.version) == (module, "some-dist-x", "3.4")
    assert plugins.find_engine("pattern_store", "numpy").source.distribution == "aqe-core"
    assert module not in sys.modules


def test_only_the_plugin_that_claims_a_name_is_imported(install, manager, store_plugin):
    wanted = install("a-dist", wanted=store_plugin("wanted"))
    other = install("b-dist", other=store_plugin("other"))
    manager().find_engine("pattern_store", "wanted")
    assert wanted in sys.modules
    assert other not in sys.modules


@pytest.mark.parametrize("text", ["[aqe.plugins]\njust a name\n", "[aqe.plugins]\n\xff = x\n"])
def test_unreadable_metadata_hides_no_other_plugin(install, text, manager, store_plugin):
    install("a-dist", entry_points=text)
    install("b-dist", good=store_plugin("good"))
    assert {"good", *OWN} <= {source.name for source in manager().sources()}
    assert manager().find_engine("pattern_store", "good").source.distribution == "b-dist"


@pytest.mark.filterwarnings("ignore::DeprecationWarning:importlib.metadata")
def test_a_distribution_without_a_name_is_named_so(install, manager, source_of):
    install("a-dist", metadata="Metadata-Version: 2.1\n", nameless=EMPTY)
    source = source_of(manager(), "nameless")
    assert (source.distribution, source.version) == ("(unknown)", "")


def test_metadata_is_read_once(install, manager):
    plugins = manager()
    before = plugins.sources()
    install("a-dist", late=EMPTY)
    assert plugins.sources() == before


def test_sources_may_be_given(install, manager, source_of, store_plugin):
    install("a-dist", mine=store_plugin("mine"))
    plugins = PluginManager(sources=[source_of(manager(), "mine")])
    assert names(plugins.engines("pattern_store")) == {"mine"}


# -- broken plugins ------------------------------------------------------------------------------------------------

BROKEN_AT_IMPORT = {
    "syntax": ("AQE_API = = 1\n", "SyntaxError: invalid syntax"),
    "missing module": ("import no_such_module_at_all\n", "ModuleNotFoundError: No module named"),
    "exception": ("\n\nraise RuntimeError('boom')\n", "RuntimeError: boom at a_dist_bad.py:3."),
    "exit": ("raise SystemExit(3)\n", "SystemExit: 3 at a_dist_bad.py:1."),
    "panic": ("class PanicException(BaseException): ...\nraise PanicException('oops')\n", "PanicException: oops"),
    "no text": (
        "class Mute(Exception):\n    def __str__(self): raise KeyError\nraise Mute\n",
        "Mute: (it cannot be shown) at a_dist_bad.py:3.",
    ),
}


@pytest.mark.parametrize(("source", "message"), BROKEN_AT_IMPORT.values(), ids=BROKEN_AT_IMPORT)
def test_a_plugin_that_fails_at_import_is_an_error_of_its_own_and_hides_no_other(
    install, manager, source_of, store_plugin, source, message
):
    install("a-dist", bad=source)
    install("b-dist", good=store_plugin("good"))
    plugins = manager()
    with capture() as events:
        assert names(plugins.engines("pattern_store")) >= {"good", "numpy"}
    (event,) = events
    assert (event.name, event.data["name"], event.data["distribution"]) == ("plugin-failed", "bad", "a-dist")
    with pytest.raises(BrokenPluginError) as caught:
        plugins.find_engine("pattern_store", "bad")
    assert "plugin 'bad' (a-dist 1.2) cannot be imported: " in str(caught.value)
    assert message in str(caught.value)
    assert "<frozen" not in str(caught.value)
    assert caught.value.__cause__ is not None
    assert plugins.find_engine("pattern_store", "good").spec.name == "good"


def test_a_plugin_whose_module_is_missing_is_broken(install, manager):
    install("a-dist", gone=None)
    with pytest.raises(BrokenPluginError, match=r"No module named 'a_dist_gone'\. Fix: repair or uninstall"):
        manager().find_engine("pattern_store", "gone")


def test_a_broken_plugin_is_imported_and_reported_once(install, manager, source_of, tmp_path):
    install("a-dist", bad=f"with open({str(tmp_path / 'log')!r}, 'a') as log: log.write('x')\nraise RuntimeError\n")
    plugins = manager()
    with capture() as events:
        for _ in range(3):
            with pytest.raises(BrokenPluginError):
                plugins.load(source_of(plugins, "bad"))
    assert (tmp_path / "log").read_text(encoding="utf-8") == "x"
    assert len(events) == 1


@pytest.mark.parametrize(
    "source",
    [
        "raise KeyboardInterrupt\n",
        "AQE_API = 1\nfrom aqe_core import hookimpl\n@hookimpl\ndef aqe_learners(): raise KeyboardInterrupt\n",
    ],
    ids=["at import", "in a hook"],
)
def test_ctrl_c_passes_through(install, manager, source):
    install("a-dist", slow=source)
    with pytest.raises(KeyboardInterrupt):
        manager().engines("learner")


HOOK = "AQE_API = 1\nfrom aqe_core import hookimpl\nfrom aqe_core.contracts import EngineSpec\n"

BROKEN_HOOKS = {
    "raises": ("return 1 / 0", BrokenPluginError, "failed in its hook aqe_learners: ZeroDivisionError"),
    "exits": ("raise SystemExit", BrokenPluginError, "failed in its hook aqe_learners: SystemExit"),
    "fails late": ("yield 1 / 0", BrokenPluginError, "failed in its hook aqe_learners: ZeroDivisionError"),
    "an error of ours": (
        "from aqe_core.errors import UsageError\n    raise UsageError('no')",
        BrokenPluginError,
        "failed in its hook aqe_learners: UsageError: no",
    ),
    "a wrong name": (
        "return [EngineSpec(name='Bad Name', factory='m:f')]",
        BrokenPluginError,
        "ValueError: name is 'Bad Name', but must look like",
    ),
    "a wrong factory": ("return [EngineSpec(name='bad', factory='m.f')]", BrokenPluginError, "factory is 'm.f'"),
    "not a list": ("return 5", BrokenPluginError, "'int' object is not iterable"),
    "a text": ("return 'bad'", ContractError, "aqe_learners returned 'bad', not an EngineSpec."),
    "a list of anything": ("return [None]", ContractError, "aqe_learners returned None, not an EngineSpec."),
    "a foreign name": (
        "return [EngineSpec(name='numpy', factory='m:f')]",
        ContractError,
        "plugin 'bad' offers 'numpy', but may only offer 'bad' and 'bad/...'.",
    ),
    "a name that starts alike": (
        "return [EngineSpec(name='badly', factory='m:f')]",
        ContractError,
        "plugin 'bad' offers 'badly'",
    ),
}


@pytest.mark.parametrize(("body", "error", "message"), BROKEN_HOOKS.values(), ids=BROKEN_HOOKS)
def test_a_hook_that_fails_or_returns_nonsense_hides_no_other(install, manager, body, error, message):
    install("a-dist", bad=f"{HOOK}\n@hookimpl\ndef aqe_learners():\n    {body}\n")
    plugins = manager()
    with capture() as events:
        assert names(plugins.engines("learner")) == {"numpy"}
        plugins.engines("learner")
    assert [event.data["name"] for event in events] == ["bad"]
    with pytest.raises(PluginError) as caught:
        plugins.find_engine("learner", "bad")
    assert type(caught.value) is error
    assert message in str(caught.value)
    assert plugins.engines("embedder")[0].spec.name == "lexical"


@pytest.mark.parametrize("answer", ["None", "[]", "()", "iter(())"])
def test_a_hook_may_offer_nothing(install, manager, answer):
    install("a-dist", idle=f"{HOOK}\n@hookimpl\ndef aqe_learners(): return {answer}\n")
    plugins = manager()
    with capture() as events:
        assert names(plugins.engines("learner")) == {"numpy"}
    assert events == []
    with pytest.raises(UnknownBackendError, match="there is no learner named 'idle'; installed: numpy"):
        plugins.find_engine("learner", "idle")


@pytest.mark.parametrize(
    "hook", ["def aqe_no_such_hook(): ...", "def aqe_event(event, more): ...", "def aqe_learners(config): ..."]
)
def test_a_hook_that_does_not_exist_or_takes_too_much_is_refused(install, manager, store_plugin, hook):
    # Two bad hooks: one must not stay behind, registered, for the next plugin to stumble over.
    install("a-dist", bad=f"{HOOK}\n@hookimpl\ndef aqe_aaa(): ...\n@hookimpl\n{hook}\n")
    install("b-dist", good=store_plugin("good"))
    plugins = manager()
    with pytest.raises(ContractError, match=r"plugin 'bad' implements a hook that does not exist, or takes what"):
        plugins.find_engine("pattern_store", "bad")
    assert plugins.find_engine("pattern_store", "good").spec.name == "good"
    assert plugins.call("aqe_learners", plugins.find_engine("pattern_store", "good").source) == []


def test_a_hook_may_take_fewer_arguments_than_there_are(install, manager, source_of):
    install("a-dist", brief="AQE_API = 1\nfrom aqe_core import hookimpl\n@hookimpl\ndef aqe_event(): return 'told'\n")
    plugins = manager()
    assert plugins.call("aqe_event", source_of(plugins, "brief"), event=None) == ["told"]


@pytest.mark.parametrize(
    ("line", "said", "fix"),
    [
        ("", "sets no AQE_API", "set AQE_API = 1 in the plugin."),
        ("AQE_API = 2", "is for plugin API 2", "install a version of it for API 1."),
        ("AQE_API = '1'", "is for plugin API 1", "install a version"),
    ],
)
def test_a_plugin_for_another_api_is_refused(install, manager, line, said, fix):
    install("a-dist", old=line)
    with pytest.raises(ApiVersionError) as caught:
        manager().find_engine("learner", "old")
    assert caught.value.message == f"plugin 'old' (a_dist_old) {said}; this aqe has API 1."
    assert fix in caught.value.fix


def test_one_module_is_one_plugin(install, manager):
    install("a-dist", one=EMPTY, entry_points="[aqe.plugins]\none = a_dist_one\ntwo = a_dist_one\n")
    plugins = manager()
    ((source, reason),) = ((each, why) for each, why in plugins.load_all() if each.distribution == "a-dist")
    assert source.name == "two"
    assert "is the same a_dist_one as plugin 'one'" in reason


def test_load_all_tells_what_was_left_out_or_failed(install, manager, store_plugin):
    install("a-dist", bad="raise RuntimeError\n", good=store_plugin("good"))
    install("b-dist", shut=EMPTY)
    plugins = manager('[plugins]\nallow = ["A_Dist"]\n')
    problems = {source.name: reason for source, reason in plugins.load_all()}
    assert problems.keys() == {"bad", "shut"}
    assert "cannot be imported" in problems["bad"]
    assert problems["shut"] == "left out by plugins.allow (aqe.toml:2)"
    assert "a_dist_good" in sys.modules
    assert "b_dist_shut" not in sys.modules


# -- names ---------------------------------------------------------------------------------------------------------


def test_two_distributions_that_claim_one_name_are_refused_until_one_is_pinned(install, manager, store_plugin):
    install("a-dist", twin=store_plugin("twin"), single=store_plugin("single"))
    install("b-dist", twin=store_plugin("twin"))
    plugins = manager()
    with pytest.raises(DuplicateNameError) as caught:
        plugins.find_engine("pattern_store", "twin")
    assert caught.value.message == "the plugin name 'twin' is claimed by a-dist and b-dist."
    assert caught.value.fix == 'uninstall one, or pin it: [plugins.pin] twin = "a-dist"'
    assert "a_dist_twin" not in sys.modules
    assert plugins.find_engine("pattern_store", "single").source.distribution == "a-dist"
    assert plugins.find_engine("pattern_store", "numpy").spec.name == "numpy"
    for pinned in ("a-dist", "B_Dist"):
        plugins = manager(f'[plugins.pin]\ntwin = "{pinned}"\n')
        winner = plugins.find_engine("pattern_store", "twin").source.distribution
        assert winner == pinned.lower().replace("_", "-")
        listed = [each.source.distribution for each in plugins.engines("pattern_store") if each.spec.name == "twin"]
        assert listed == [winner]
        (loser,) = {"a-dist", "b-dist"} - {winner}
        assert [source.distribution for source, why in plugins.load_all() if "plugins.pin (aqe.toml:2)" in why] == [
            loser
        ]


def test_a_pin_to_a_distribution_that_does_not_offer_the_name_is_refused(install, manager, store_plugin):
    install("a-dist", lone=store_plugin("lone"))
    with pytest.raises(ConfigError, match=r"aqe\.toml:2: plugin 'lone' is pinned to 'nobody', which does not offer it"):
        manager('[plugins.pin]\nlone = "nobody"\n').find_engine("pattern_store", "lone")


def test_our_own_name_is_no_exception(install, manager, store_plugin):
    install("a-dist", numpy=store_plugin("numpy"), tests=EMPTY)
    with pytest.raises(DuplicateNameError, match="'numpy' is claimed by a-dist and aqe-core"):
        manager().find_engine("pattern_store", "numpy")
    own = manager('[plugins.pin]\nnumpy = "aqe-core"\n')
    assert own.find_engine("pattern_store", "numpy").source.distribution == "aqe-core"
    theirs = '[plugins.pin]\nnumpy = "a-dist"\n'
    assert manager(theirs).find_engine("pattern_store", "numpy").source.distribution == "a-dist"
    # The kill switch leads back to the defaults, whatever is installed or pinned.
    safe = manager(theirs, AQE_SAFE="1")
    assert safe.find_engine("pattern_store", "numpy").source.distribution == "aqe-core"


def test_a_plugin_may_offer_variants_under_its_name(install, manager):
    specs = "[EngineSpec(name=name, factory='m:f') for name in ('fam', 'fam/fast')]"
    install("a-dist", fam=f"{HOOK}\n@hookimpl\ndef aqe_learners(): return {specs}\n")
    assert manager().find_engine("learner", "fam/fast").spec.name == "fam/fast"
    with pytest.raises(UnknownBackendError, match="did you mean 'fam/fast'"):
        manager().find_engine("learner", "fam/fats")


def test_an_unknown_name_is_answered_with_the_nearest_and_the_list(install, manager, store_plugin):
    install("a-dist", annoying=store_plugin("annoying"))
    with pytest.raises(UnknownBackendError) as caught:
        manager().find_engine("pattern_store", "nunpy")
    assert caught.value.message == "there is no pattern store named 'nunpy'; installed: annoying, numpy."
    assert caught.value.fix == "did you mean 'numpy'?"
    with pytest.raises(UnknownBackendError, match=r"`aqe backends` lists them"):
        manager().find_engine("pattern_store", "zzz")
    with pytest.raises(UnknownBackendError, match=r"installed: none\."):
        PluginManager(sources=[]).find_engine("pattern_store", "numpy")


@pytest.mark.parametrize("name", [None, 3, b"numpy"])
def test_a_name_is_a_text(name):
    with pytest.raises(UsageError, match="but must be a name"):
        PluginManager().find_engine("pattern_store", name)


@pytest.mark.parametrize(("name", "command"), [*KNOWN_EXTRAS.items(), ("native/hnsw", KNOWN_EXTRAS["native"])])
def test_a_known_extra_names_its_install_command(name, command):
    own = [source for source in installed_sources() if source.distribution == "aqe-core"]
    with pytest.raises(MissingExtraError) as caught:
        PluginManager(sources=own).find_engine("pattern_store", name)
    assert (caught.value.message, caught.value.fix) == (f"the pattern store {name!r} is not installed.", command)


def test_a_known_extra_that_is_installed_but_does_not_offer_the_kind_is_unknown(install, manager, store_plugin):
    install("a-dist", hnswlib=store_plugin("hnswlib"))
    with pytest.raises(UnknownBackendError, match="there is no learner named 'hnswlib'"):
        manager().find_engine("learner", "hnswlib")


@pytest.mark.parametrize(
    ("requires", "install_", "needs", "fix"),
    [
        ("('numpy', 'no_such_module')", "''", "no_such_module", "pip install no_such_module"),
        ("('no_such.part', 'numpy.linalg')", "'get it'", "no_such.part", "get it"),
        ("('',)", "'get it'", "", "get it"),
    ],
)
def test_a_missing_requirement_names_the_install_command(install, manager, requires, install_, needs, fix):
    spec = f"EngineSpec(name='needy', factory='m:f', requires={requires}, install={install_})"
    install("a-dist", needy=f"{HOOK}\n@hookimpl\ndef aqe_learners(): return [{spec}]\n")
    with pytest.raises(MissingExtraError) as caught:
        manager().find_engine("learner", "needy")
    assert caught.value.message == f"the learner 'needy' needs {needs}, not installed."
    assert caught.value.fix == fix
    assert "needy" in names(manager().engines("learner"))


# -- who may be loaded ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "environ", "reason"),
    [
        ("", {"AQE_SAFE": "1"}, "AQE_SAFE"),
        ("", {"AQE_PLUGINS": "other, another"}, "AQE_PLUGINS"),
        ("", {"AQE_PLUGINS": ""}, "AQE_PLUGINS"),
        ('[plugins]\nallow = ["b-dist"]\n', {}, "plugins.allow (aqe.toml:2)"),
        ("[plugins]\nallow = []\n", {"AQE_SAFE": "off"}, "plugins.allow (aqe.toml:2)"),
    ],
)
def test_a_plugin_that_is_left_out_is_not_imported_and_says_why(install, manager, store_plugin, text, environ, reason):
    module = install("a-dist", third=store_plugin("third"))
    plugins = manager(text, **environ)
    assert names(plugins.engines("pattern_store")) == {"numpy"}
    assert plugins.formats()
    with pytest.raises(UnknownBackendError) as caught:
        plugins.find_engine("pattern_store", "third")
    assert caught.value.message == f"the pattern store 'third' is installed but left out by {reason}."
    for backend, kind in ((backend, kind) for kind, backend in DEFAULT_BACKENDS.items()):
        assert plugins.find_engine(kind, backend).source.distribution == "aqe-core"
    assert module not in sys.modules


@pytest.mark.parametrize(
    ("text", "environ"),
    [
        ("", {}),
        ("", {"AQE_PLUGINS": "other , third"}),
        ('[plugins]\nallow = ["A.dist"]\n', {}),
        ('[plugins]\nallow = ["a-dist"]\n', {"AQE_PLUGINS": "third", "AQE_SAFE": "False"}),
    ],
)
def test_a_plugin_that_is_allowed_is_found(install, manager, store_plugin, text, environ):
    install("a-dist", third=store_plugin("third"))
    assert manager(text, **environ).find_engine("pattern_store", "third").source.distribution == "a-dist"


def test_a_garbled_switch_is_refused(manager):
    with pytest.raises(ConfigError, match="AQE_SAFE is 'maybe'"):
        manager(AQE_SAFE="maybe")


# -- in process ----------------------------------------------------------------------------------------------------


class InProcess:
    AQE_API = 1

    @hookimpl
    def aqe_learners(self):
        return [EngineSpec(name="mine", factory="m:f")]


def test_a_program_registers_its_own_plugin(manager):
    plugins = manager(AQE_SAFE="1")
    plugins.register(InProcess(), "mine")
    found = plugins.find_engine("learner", "mine")
    assert (found.source.distribution, found.source.module) == ("(in process)", "InProcess")
    module = types.ModuleType("a_module")
    module.AQE_API = 1
    plugins.register(module, "module")
    assert {"mine", "module"} <= {source.name for source in plugins.sources()}


def test_a_registered_plugin_is_checked_like_an_installed_one(manager):
    plugins = manager()
    with pytest.raises(DuplicateNameError, match=r"a plugin named 'numpy' is there already\. Fix: register it under"):
        plugins.register(InProcess(), "numpy")
    with pytest.raises(ApiVersionError):
        plugins.register(object(), "plain")
    plugin = InProcess()
    plugins.register(plugin, "mine")
    with pytest.raises(ContractError, match="is the same InProcess as plugin 'mine'"):
        plugins.register(plugin, "again")
    with pytest.raises(DuplicateNameError):
        plugins.register(InProcess(), "mine")


# -- formats -------------------------------------------------------------------------------------------------------

FORMAT = """
from aqe_core import hookimpl
from aqe_core.contracts import IngestSpec
AQE_API = 1

@hookimpl
def aqe_ingest_formats():
    return [IngestSpec(name="odd", suffixes=(".odd",), recognizer="m:f", reader="m:f")]
"""


def test_formats_are_those_of_all_plugins_our_own_first(install, manager):
    install("a-dist", aaa=FORMAT)
    found = manager().formats()
    names = [each.spec.name for each in found]
    assert names[:3] == ["python-tests", "junit-xml", "patterns-jsonl"]
    assert names[-1] == "odd"
    assert all(isinstance(each.spec, IngestSpec) for each in found)
    assert found[-1].source.name == "aaa"


@pytest.mark.parametrize("answer", ["1 / 0", "[3]", "5"])
def test_a_plugin_with_broken_formats_hides_no_other(install, manager, answer):
    source = f"from aqe_core import hookimpl\nAQE_API = 1\n@hookimpl\ndef aqe_ingest_formats(): return {answer}\n"
    install("a-dist", aaa=source)
    install("b-dist", bbb=FORMAT)
    with capture() as events:
        assert "odd" in names(manager().formats())
    assert [event.data["name"] for event in events] == ["aaa"]


def test_a_contested_plugin_reads_no_files_until_one_is_pinned(install, manager):
    install("a-dist", tests=FORMAT)
    with capture() as events:
        assert manager().formats() == []
    assert {event.data["distribution"] for event in events} == {"a-dist", "aqe-core"}
    assert all("claimed by a-dist and aqe-core" in event.data["error"] for event in events)
    assert names(manager('[plugins.pin]\ntests = "a-dist"\n').formats()) == {"odd"}


def together(function):
    """Call a function in four threads at the same time; return what they return."""
    barrier = Barrier(4)

    def run(_):
        barrier.wait()
        return function()

    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(run, range(4)))


def test_a_plugin_that_threads_load_together_is_accepted_once(install, manager, store_plugin):
    install("a-dist", slow=store_plugin("slow", "import time; time.sleep(0.1)"))
    plugins = manager()
    with capture() as events:
        found = together(lambda: plugins.find_engine("pattern_store", "slow"))
    assert {each.spec.name for each in found} == {"slow"}
    assert [event for event in events if event.name == "plugin-failed"] == []


def test_a_broken_plugin_that_threads_load_together_is_told_once(install, manager):
    install("a-dist", slow="import time; time.sleep(0.1); raise ValueError('broken')")
    plugins = manager()

    def load():
        with pytest.raises(BrokenPluginError, match="broken"):
            plugins.find_engine("pattern_store", "slow")

    with capture() as events:
        together(load)
    assert [event.name for event in events].count("plugin-failed") == 1


# -- engines from a file -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["mine.py", "my-store.py", "my store.v2.py", "söre.py"])
def test_a_class_in_a_file_is_an_engine(tmp_path, manager, store_plugin, monkeypatch, file):
    monkeypatch.chdir(tmp_path)
    (tmp_path / file).write_text(store_plugin("x"), encoding="utf-8")
    found = manager().find_engine("pattern_store", f"file:./{file}:Store")
    assert (found.source.distribution, found.source.module) == ("(local file)", file)
    assert found.spec.capabilities.checked is False
    assert resolve(found.spec.factory, found.source)(dim=2, metric="dot").dim == 2
    again = manager().find_engine("pattern_store", f"file:{tmp_path / file}:Store")
    assert again.spec.factory == found.spec.factory


def test_a_file_that_threads_import_together_runs_once(tmp_path, manager, store_plugin):
    path = tmp_path / "slow.py"
    path.write_text("import time; time.sleep(0.1)\n" + store_plugin("x"), encoding="utf-8")
    plugins = manager()
    found = together(lambda: plugins.find_engine("pattern_store", f"file:{path}:Store"))
    assert len({resolve(each.spec.factory, each.source) for each in found}) == 1


def test_a_class_in_a_file_may_declare_its_capabilities(tmp_path, manager):
    text = (
        "from aqe_core.contracts import StoreCapabilities\nclass S:\n    capabilities = StoreCapabilities(exact=True)\n"
    )
    (tmp_path / "s.py").write_text(text, encoding="utf-8")
    assert manager().find_engine("pattern_store", f"file:{tmp_path / 's.py'}:S").spec.capabilities.exact is True
    assert manager().find_engine("storage", f"file:{tmp_path / 's.py'}:S").spec.capabilities is None


@pytest.mark.parametrize(
    "name", ["file:", "file:x.py", "file:x.py:", "file:x.txt:Store", "file:x.py:a b", "file:x.py:1a"]
)
def test_a_name_that_does_not_look_like_a_file_and_class_is_refused(manager, name):
    with pytest.raises(ConfigError, match=r"does not look like 'file:PATH\.py:CLASS'"):
        manager().find_engine("pattern_store", name)


def test_a_file_that_is_missing_or_broken_or_lacks_the_class_is_refused(tmp_path, manager):
    with pytest.raises(UnknownBackendError, match=r"there is no file .*gone\.py"):
        manager().find_engine("pattern_store", f"file:{tmp_path / 'gone.py'}:Store")
    path = tmp_path / "bad.py"
    for text in ("raise SystemExit(1)\n", "x = = 1\n"):
        path.write_text(text, encoding="utf-8")
        for _ in range(2):
            with pytest.raises(BrokenPluginError, match=r"plugin 'file' \(\(local file\)\) cannot be imported"):
                manager().find_engine("pattern_store", f"file:{path}:Store")
    path.write_text("Store = 3\n", encoding="utf-8")
    for name in ("Store", "Absent"):
        with pytest.raises(ContractError, match=f"has no class or function '{name}'"):
            manager().find_engine("pattern_store", f"file:{path}:{name}")
    path = tmp_path / "slow.py"
    path.write_text("raise KeyboardInterrupt\n", encoding="utf-8")
    with pytest.raises(KeyboardInterrupt):
        manager().find_engine("pattern_store", f"file:{path}:Store")


@pytest.mark.parametrize(("environ", "loaded"), [({"AQE_SAFE": "1"}, False), ({"AQE_PLUGINS": "x"}, False), ({}, True)])
def test_a_file_is_a_third_party_too(tmp_path, manager, environ, loaded):
    (tmp_path / "mine.py").write_text("class Store: ...\n", encoding="utf-8")
    name = f"file:{tmp_path / 'mine.py'}:Store"
    plugins = manager("[plugins]\nallow = []\n", **environ)  # an allow list is about distributions
    if loaded:
        assert plugins.find_engine("pattern_store", name).spec.name == "file"
    else:
        with pytest.raises(UnknownBackendError, match=f"left out by {next(iter(environ))}"):
            plugins.find_engine("pattern_store", name)


# -- tracing and problems ------------------------------------------------------------------------------------------


def test_hook_calls_are_traced_on_request(install, manager, capsys):
    install("a-dist", idle=f"{HOOK}\n@hookimpl\ndef aqe_learners(): return ['some answer']\n")
    manager().engines("learner")
    assert capsys.readouterr().err == ""
    plugins = manager(AQE_TRACE_HOOKS="1")
    plugins.engines("learner")
    err = capsys.readouterr().err
    assert "aqe: aqe_learners of idle (a-dist) -> ['some answer']\n" in err
    assert "aqe: aqe_learners of numpy (aqe-core) -> [EngineSpec(name='numpy'" in err


def test_problems_are_listed_each_once(install, manager, store_plugin):
    install("a-dist", bad="raise RuntimeError\n", twin=store_plugin("twin"), fine=store_plugin("fine"))
    install("b-dist", twin=store_plugin("twin"), odd=FORMAT.replace("[IngestSpec", "[3, IngestSpec"), shut=EMPTY)
    plugins = manager('[plugins]\nallow = ["a-dist", "b-dist"]\n', AQE_PLUGINS="bad,twin,fine,odd")
    found = list(iter_problems(plugins))
    assert [name for name, _ in found] == ["bad", "odd", "twin"]
    assert [type(error) for _, error in found] == [BrokenPluginError, ContractError, DuplicateNameError]
    assert (
        list(
            iter_problems(
                PluginManager(
                    sources=[s for s in installed_sources() if s.name in OWN and s.distribution == "aqe-core"]
                )
            )
        )
        == []
    )


def test_every_kind_has_a_hook():
    from aqe_core import hookspecs
    from aqe_core.contracts import KINDS

    assert set(HOOKS) == set(KINDS)
    assert all(hasattr(hookspecs, hook) for hook in HOOKS.values())


def test_resolve_follows_dots_and_isolates(install, manager, source_of):
    install("a-dist", deep="AQE_API = 1\nclass A:\n    class B:\n        x = 3\n")
    source = source_of(manager(), "deep")
    assert resolve("a_dist_deep:A.B.x", source) == 3
    for target in ("a_dist_deep:A.C", "no_such_module:x"):
        with pytest.raises(BrokenPluginError, match=rf"cannot provide {target}: \w+: .*'[\. F]"):
            resolve(target, source)


def test_misspelt_variables_are_hinted_at():
    environ = {"AQE_PATERN_STORE": "x", "AQE_LEARNER": "x", "AQE_ZZZ": "x", "OTHER_SAFE": "1", "AQE_SAVE": "1"}
    assert environment_hints(environ) == [
        "environment variable AQE_PATERN_STORE is not read; did you mean AQE_PATTERN_STORE?",
        "environment variable AQE_SAVE is not read; did you mean AQE_SAFE?",
    ]
