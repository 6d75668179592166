from __future__ import annotations

import gc

import numpy as np
import pytest

import aqe_core
from aqe_core import binding, guards
from aqe_core.binding import bind
from aqe_core.errors import (
    BrokenPluginError,
    CapabilityError,
    ConfigError,
    ContractError,
    DimensionError,
    InputError,
    UnknownBackendError,
    UsageError,
)
from aqe_core.events import capture
from aqe_core.selection import select

HEAD = """
from aqe_core import hookimpl
from aqe_core.contracts import *
from aqe_core.contracts import EngineSpec

AQE_API = 1

"""


def offering(hook, name, capabilities, body, factory="make"):
    """Return the source of a plugin that offers one engine, made by ``factory``."""
    spec = f"EngineSpec(name={name!r}, factory=__name__ + ':{factory}', capabilities={capabilities})"
    return f"{HEAD}\n{body}\n\n@hookimpl\ndef {hook}():\n    return [{spec}]\n"


@pytest.fixture
def bound(manager):
    """Bind a backend in a project: ``bound("pattern_store", "name", text_of_aqe_toml, dim=2, ...)``."""

    def call(kind, name, text="", *, options=None, **required):
        plugins = manager(text)
        if kind == "pattern_store":
            required = {"dim": 2, "metric": "dot", **required}
        if kind == "learner":
            required = {"algorithm": "q-learning", **required}
        return bind(select(kind, plugins._config, explicit=name), plugins, required, **(options or {}))

    return call


# -- the default ---------------------------------------------------------------------------------------------------


def test_an_engine_that_checks_itself_is_bound_without_anything_around_it():
    assert type(aqe_core.open_store("numpy", dim=3)).__module__.startswith("aqe_backend_numpy")
    assert type(aqe_core.open_learner("numpy")).__module__.startswith("aqe_backend_numpy")
    assert type(aqe_core.open_analyzer("numpy")).__module__.startswith("aqe_backend_numpy")
    assert type(aqe_core.open_embedder("lexical")).__module__.startswith("aqe_backend_numpy")


def test_the_default_of_each_kind_needs_no_name():
    engines = [aqe_core.open_store(dim=3), aqe_core.open_learner(), aqe_core.open_analyzer(), aqe_core.open_embedder()]
    assert [aqe_core.explain(engine).backend for engine in engines] == ["numpy", "numpy", "numpy", "lexical"]
    assert {aqe_core.explain(engine).distribution for engine in engines} == {"aqe-core"}
    assert engines[0].metric == "cosine"
    assert engines[1].algorithm == "q-learning"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: aqe_core.open_store("numpy", dim=0), DimensionError, "dim is 0, but must be in 1 .. 65536."),
        (lambda: aqe_core.open_store("numpy", dim=65537), DimensionError, "dim is 65537"),
        (lambda: aqe_core.open_store("numpy", dim=None), DimensionError, "dim is None"),
        (lambda: aqe_core.open_store("numpy", dim=2, metric="l1"), InputError, "metric is 'l1'"),
        (lambda: aqe_core.open_store("numpi", dim=2), UnknownBackendError, "did you mean 'numpy'"),
        (lambda: aqe_core.open_store("numpy", dim=2, ef=3), ConfigError, "'numpy' has no option 'ef'."),
        (lambda: aqe_core.open_store(3, dim=2), UsageError, "the backend is 3"),
        (
            lambda: aqe_core.open_learner("numpy", algorithm="dqn"),
            CapabilityError,
            "has no algorithm 'dqn', only actor-critic, ",
        ),
        (lambda: aqe_core.open_learner("numpy", algorithm="qlearning"), CapabilityError, "did you mean 'q-learning'?"),
        (lambda: aqe_core.open_quantizer("numpy", scheme="int9", dim=2), CapabilityError, "did you mean 'int8'?"),
        (lambda: aqe_core.open_learner("numpy", algorithm=["sarsa"]), CapabilityError, "no algorithm ['sarsa']"),
        (lambda: aqe_core.open_learner(learning_rte=1), ConfigError, "did you mean 'learning_rate'?"),
        (lambda: aqe_core.open_learner(epsilon=7), InputError, "epsilon"),
        (lambda: aqe_core.open_analyzer(x=1), ConfigError, "has no option 'x'. Fix: it takes: no options."),
        (lambda: aqe_core.open_embedder("numpy"), UnknownBackendError, "no embedder named 'numpy'"),
    ],
)
def test_a_wrong_request_is_one_clear_error(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error
    assert message in str(caught.value)


# -- an engine of one's own ----------------------------------------------------------------------------------------


def test_an_unchecked_engine_is_bound_behind_a_guard(install, bound, store_plugin):
    install("a-dist", version="3.1", third=store_plugin("third"))
    with capture() as events:
        store, selection = bound("pattern_store", "third", options={"factor": 2.0})
    assert isinstance(store, guards.GuardedStore)
    store.add([7], [[1.0, 2.0]])
    assert store.search([1.0, 1.0], k=1).scores.tolist() == [6.0]
    assert aqe_core.explain(store) is selection
    assert (selection.distribution, selection.version) == ("a-dist", "3.1")
    (event,) = events
    assert event.name == "engine-bound"
    assert event.data == {
        "kind": "pattern_store",
        "namespace": "default",
        "backend": "third",
        "distribution": "a-dist",
        "version": "3.1",
        "reason": "STATIC",
        "source": "explicit argument",
    }


def test_each_kind_has_its_guard(install, bound):
    learner = "from aqe_core.testing.backend_learner import DictLearner as make"
    analyzer = "from aqe_core.testing.backends import PlainAnalyzer as make"
    install(
        "a-dist",
        slow=offering("aqe_learners", "slow", "LearnerCapabilities()", learner),
        plain=offering("aqe_analyzers", "plain", "AnalyzerCapabilities()", analyzer),
        exact=offering("aqe_analyzers", "exact", "AnalyzerCapabilities(checked=True)", analyzer),
    )
    assert isinstance(bound("learner", "slow")[0], guards.GuardedLearner)
    assert isinstance(bound("analyzer", "plain")[0], guards.GuardedAnalyzer)
    assert type(bound("analyzer", "exact")[0]).__name__ == "PlainAnalyzer"


def test_an_engine_from_a_file_is_bound_like_any_other(tmp_path, store_plugin):
    path = tmp_path / "mine.py"
    path.write_text(store_plugin("x"), encoding="utf-8")
    store = aqe_core.open_store(f"file:{path}:Store", dim=2, metric="dot", factor=3.0)
    store.add([1], [[1.0, 0.0]])
    assert store.search([1.0, 0.0], k=1).scores.tolist() == [3.0]
    assert aqe_core.explain(store).distribution == "(local file)"
    with pytest.raises(ConfigError, match="did you mean 'factor'"):
        aqe_core.open_store(f"file:{path}:Store", dim=2, faktor=1)


def test_options_come_from_the_config_and_below_the_caller(install, bound, store_plugin):
    install("a-dist", third=store_plugin("third"))
    text = '[pattern_store]\nbackend = "third"\noptions = {factor = 5.0, limit = 1}\n'
    store, _ = bound("pattern_store", "third", text, options={"limit": 2})
    assert (store._engine.factor, store._engine.limit) == (5.0, 2)
    assert bound("pattern_store", "numpy", text)[1].options == {}


def test_an_option_that_says_again_what_is_asked_for_is_fine_and_another_is_refused(bound):
    text = '[learner.options]\nalgorithm = "sarsa"\nseed = 3\n'
    learner, _ = bound("learner", None, text, algorithm="sarsa")
    assert (learner.algorithm, learner.get_params()["seed"]) == ("sarsa", 3)
    with pytest.raises(ConfigError, match="option 'algorithm' of the learner 'numpy' is 'sarsa', but 'q-learning' is"):
        bound("learner", None, text)


def test_binding_leaves_its_arguments_as_they_were(manager):
    plugins = manager()
    required = {"dim": np.int64(3), "metric": "dot"}
    bind(select("pattern_store", plugins._config), plugins, required)
    assert required == {"dim": 3, "metric": "dot"}
    assert type(required["dim"]) is np.int64


# -- capabilities --------------------------------------------------------------------------------------------------

LEARNER = "from aqe_core.testing.backend_learner import DictLearner\n"


@pytest.mark.parametrize(
    ("hook", "kind", "capabilities"),
    [
        ("aqe_pattern_stores", "pattern_store", "None"),
        ("aqe_pattern_stores", "pattern_store", "LearnerCapabilities()"),
        ("aqe_learners", "learner", "{'checked': True}"),
        ("aqe_analyzers", "analyzer", "StoreCapabilities()"),
        ("aqe_embedders", "embedder", "None"),
        ("aqe_text_indexes", "text_index", "EmbedderCapabilities()"),
        ("aqe_storages", "storage", "StoreCapabilities()"),
    ],
)
def test_capabilities_of_another_kind_are_refused(install, bound, hook, kind, capabilities):
    install("a-dist", odd=offering(hook, "odd", capabilities, "raise_at_use = None"))
    with pytest.raises(ContractError, match=r"the spec of 'odd' declares the capabilities .*, but must declare"):
        bound(kind, "odd")


@pytest.mark.parametrize(
    ("capabilities", "required", "error", "message"),
    [
        ("StoreCapabilities(max_dim=8)", {"dim": 9}, DimensionError, "dim is 9, but must be in 1 .. 8."),
        ("StoreCapabilities(metrics='l2')", {}, CapabilityError, "does not compute the metric 'dot', only l2."),
    ],
)
def test_what_the_capabilities_exclude_is_refused_before_anything_is_made(
    install, bound, capabilities, required, error, message
):
    body = "def make(**_): raise AssertionError('made')"
    install("a-dist", small=offering("aqe_pattern_stores", "small", capabilities, body))
    with pytest.raises(error, match=message):
        bound("pattern_store", "small", **required)


# -- factories -----------------------------------------------------------------------------------------------------

STORE = "from aqe_core.testing.backends import BruteForceStore\n"
CHECKED = "StoreCapabilities(checked=True)"

FACTORIES = {
    "raises": ("def make(dim, metric): return 1 / 0", BrokenPluginError, "failed to make its pattern store: ZeroDiv"),
    "exits": ("def make(dim, metric): raise SystemExit(3)", BrokenPluginError, "SystemExit: 3 at a_dist_odd.py:"),
    "takes no metric": ("def make(dim): ...", ContractError, "does not take metric."),
    "takes nothing by name": ("def make(*args): ...", ContractError, "does not take dim, metric."),
    "takes dim by place": ("def make(dim, /, metric): ...", ContractError, "does not take dim."),
    "is missing": ("", BrokenPluginError, "cannot provide a_dist_odd:make: AttributeError"),
    "is no function": ("make = 3", BrokenPluginError, "'int' object is not callable"),
    "needs an option": (
        "def make(dim, metric, *, url): ...",
        ConfigError,
        "the pattern store 'odd' needs the option 'url'.",
    ),
    "returns nothing": ("def make(dim, metric): ...", ContractError, "made a NoneType without dim."),
    "refuses in our words": (
        "from aqe_core.errors import InputError\ndef make(dim, metric): raise InputError('no such url.')",
        InputError,
        "no such url.",
    ),
}


@pytest.mark.parametrize(("body", "error", "message"), FACTORIES.values(), ids=FACTORIES)
def test_a_factory_that_fails_is_one_clear_error(install, bound, body, error, message):
    install("a-dist", odd=offering("aqe_pattern_stores", "odd", CHECKED, body))
    with capture() as events, pytest.raises(error) as caught:
        bound("pattern_store", "odd")
    assert type(caught.value) is error
    assert message in str(caught.value)
    assert events == []


def test_ctrl_c_in_a_factory_passes_through(install, bound):
    install(
        "a-dist", odd=offering("aqe_pattern_stores", "odd", CHECKED, "def make(dim, metric): raise KeyboardInterrupt")
    )
    with pytest.raises(KeyboardInterrupt):
        bound("pattern_store", "odd")


def test_an_option_that_is_needed_may_be_given(install, bound):
    body = f"""{STORE}
def make(dim, metric, *, url):
    store = BruteForceStore(dim=dim, metric=metric)
    store.url = url
    return store"""
    install("a-dist", odd=offering("aqe_pattern_stores", "odd", CHECKED, body))
    assert bound("pattern_store", "odd", options={"url": "x"})[0].url == "x"
    with pytest.raises(ConfigError, match=r"pass it, or set pattern_store\.options\.url\."):
        bound("pattern_store", "odd")


# Native callables often have no signature that Python can read.
NO_SIGNATURE = f"""{STORE}
class Native:
    @property
    def __signature__(self):
        raise ValueError('none')

    def __call__(self, **given):
        self.given = given
        return BruteForceStore(dim=given['dim'], metric=given['metric'])

make = Native()"""

ANY_OPTION = f"""{STORE}
def make(**given):
    make.given = given
    return BruteForceStore(dim=given['dim'], metric=given['metric'])"""


@pytest.mark.parametrize("body", [NO_SIGNATURE, ANY_OPTION], ids=["no signature", "any option"])
def test_a_factory_whose_options_cannot_be_known_gets_them_all(install, bound, body):
    import sys

    module = install("a-dist", odd=offering("aqe_pattern_stores", "odd", CHECKED, body))
    store, _ = bound("pattern_store", "odd", options={"anything": 1, "dim": 2})
    assert store.dim == 2
    assert sys.modules[module].make.given == {"dim": 2, "metric": "dot", "anything": 1}


# -- contracts -----------------------------------------------------------------------------------------------------

VIOLATIONS = {
    "a method is missing": ("remove = property()", "made a Store without remove."),
    "a length is missing": ("__len__ = property()", "made a Store without __len__."),
    "a parameter is missing": ("def search(self, queries, k=10): ...", "search() does not take 'among'."),
    "a parameter has another name": ("def add(self, ids, vectors): ...", "add() does not take 'keys'."),
    "another dim": ("dim = 3", "was asked for dim=2 but made dim=3."),
    "another metric": ("metric = 'l2'", "was asked for metric='dot' but made metric='l2'."),
}


@pytest.mark.parametrize(("line", "message"), VIOLATIONS.values(), ids=VIOLATIONS)
def test_a_product_that_does_not_fulfil_the_contract_is_refused(install, bound, line, message):
    body = f"""{STORE}
class Store(BruteForceStore):
    def __init__(self, *, dim, metric):
        pass
    dim, metric = 2, 'dot'
    {line}
make = Store"""
    capabilities = "StoreCapabilities(checked=True, filtered=True)"
    install("a-dist", odd=offering("aqe_pattern_stores", "odd", capabilities, body))
    with pytest.raises(ContractError) as caught:
        bound("pattern_store", "odd")
    assert caught.value.message.replace("'odd': ", "'odd' ") == f"a_dist_odd:make of plugin 'odd' {message}"
    assert caught.value.fix == "see aqe_core.contracts.PatternStore, and run: aqe check odd"


def test_a_product_whose_attribute_fails_is_broken(install, bound):
    body = f"{STORE}class make(BruteForceStore):\n    @property\n    def keys(self): return 1 / 0\n"
    install("a-dist", odd=offering("aqe_pattern_stores", "odd", CHECKED, body))
    with pytest.raises(BrokenPluginError, match="failed to make its pattern store: ZeroDivisionError"):
        bound("pattern_store", "odd")


def test_a_learner_of_another_algorithm_is_refused(install, bound):
    body = f"{LEARNER}def make(algorithm): return DictLearner(algorithm='sarsa')"
    install("a-dist", odd=offering("aqe_learners", "odd", "LearnerCapabilities()", body))
    with pytest.raises(ContractError, match="was asked for algorithm='q-learning' but made algorithm='sarsa'"):
        bound("learner", "odd")


def test_a_guard_that_cannot_be_made_is_the_plugins_fault(install, bound):
    body = f"{LEARNER}class make(DictLearner):\n    def get_params(self): return None"
    install("a-dist", odd=offering("aqe_learners", "odd", "LearnerCapabilities()", body))
    with pytest.raises(BrokenPluginError, match="failed to make its learner: AttributeError"):
        bound("learner", "odd")


def test_an_engine_need_not_filter_and_may_hide_its_signatures(install, bound):
    body = f"""{STORE}
import functools
class make(BruteForceStore):
    def search(self, queries, k=10): return super().search(queries, k)
    def add(self, *args): return super().add(*args)
    remove = type('Native', (), {{'__call__': lambda self, keys: 0, '__signature__': 'unreadable'}})()
"""
    install("a-dist", odd=offering("aqe_pattern_stores", "odd", CHECKED, body))
    assert len(bound("pattern_store", "odd")[0]) == 0


# -- explaining ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "known"),
    [
        ("__hash__ = None", True),
        ("__eq__ = lambda self, other: True\n    __hash__ = lambda self: 1", True),
        ("__slots__ = ('__weakref__',)", True),
        ("__slots__ = ()", False),
    ],
)
def test_an_engine_is_explained_by_identity(install, bound, line, known):
    body = f"""
class make:
    {line}
    def describe(self, values, *, quantiles=()): ...
    def describe_groups(self, values, groups, n_groups): ...
    def flakiness(self, failed, groups, n_groups): ...
"""
    install("a-dist", odd=offering("aqe_analyzers", "odd", "AnalyzerCapabilities(checked=True)", body))
    one, first = bound("analyzer", "odd")
    two, second = bound("analyzer", "odd")
    if known:
        assert binding.selection_of(one) is first
        assert binding.selection_of(two) is second
        assert first is not second
    else:
        with pytest.raises(UsageError, match=r"this make was not made by aqe, or its class has __slots__"):
            binding.selection_of(one)
    with pytest.raises(UsageError):
        binding.selection_of(type(one)())


def test_an_engine_that_is_gone_is_forgotten():
    gc.collect()
    before = len(binding._selections)
    store = aqe_core.open_store("numpy", dim=2)
    assert len(binding._selections) == before + 1
    del store
    gc.collect()
    assert len(binding._selections) == before


# -- falling back --------------------------------------------------------------------------------------------------

FALLBACK = '[pattern_store]\nbackend = "odd"\nfallback = true\noptions = {}\n'


@pytest.mark.parametrize(
    ("body", "capabilities", "said"),
    [
        ("raise RuntimeError('boom')", CHECKED, "RuntimeError: boom"),
        ("def make(dim, metric): return 1 / 0", CHECKED, "ZeroDivisionError"),
        ("def make(dim, metric): ...", CHECKED, "made a NoneType without dim"),
        ("", "None", "declares the capabilities None"),
    ],
)
def test_with_leave_of_the_config_the_default_stands_in_and_says_so(install, bound, body, capabilities, said):
    install("a-dist", odd=offering("aqe_pattern_stores", "odd", capabilities, body))
    with capture() as events:
        store, selection = bound("pattern_store", None, FALLBACK)
    assert type(store).__module__.startswith("aqe_backend_numpy")
    assert (selection.backend, selection.reason, selection.distribution) == ("numpy", "ERROR", "aqe-core")
    assert selection.rungs[0].name == "fallback"
    assert (selection.rungs[0].value, selection.rungs[0].reason) == ("numpy", "ERROR")
    assert selection.source.startswith("odd could not be bound: ")
    assert said in selection.source
    assert next(rung for rung in selection.rungs if rung.name == "aqe.toml").value == "odd"
    (fallback,) = (event for event in events if event.name == "fallback")
    assert (fallback.data["kind"], fallback.data["from"], fallback.data["to"]) == ("pattern_store", "odd", "numpy")
    assert said in fallback.data["error"]
    assert events[-1].name == "engine-bound"
    assert (events[-1].data["backend"], events[-1].data["reason"]) == ("numpy", "ERROR")
    assert aqe_core.explain(store) is selection


def test_options_of_the_other_backend_do_not_reach_the_default(bound):
    text = '[pattern_store]\nbackend = "gpu"\nfallback = true\noptions = {ef = 3}\n'
    assert bound("pattern_store", None, text)[1].options == {}


def test_without_leave_there_is_no_fallback(install, bound):
    install("a-dist", odd="raise RuntimeError('boom')")
    with capture() as events, pytest.raises(BrokenPluginError, match="boom"):
        bound("pattern_store", None, FALLBACK.replace("true", "false"))
    assert [event.name for event in events] == ["plugin-failed"]


@pytest.mark.parametrize(
    ("capabilities", "body", "required", "error"),
    [
        ("StoreCapabilities(metrics='l2')", "", {}, CapabilityError),
        (CHECKED, "", {"dim": 0}, InputError),
        (CHECKED, "def make(dim, metric, url): ...", {}, ConfigError),
    ],
)
def test_what_the_caller_asked_wrongly_is_never_papered_over(install, bound, capabilities, body, required, error):
    install("a-dist", odd=offering("aqe_pattern_stores", "odd", capabilities, body))
    with capture() as events, pytest.raises(error):
        bound("pattern_store", None, FALLBACK, **required)
    assert events == []


def test_the_default_has_no_fallback(install, bound, store_plugin):
    install("a-dist", numpy=store_plugin("numpy"))
    with pytest.raises(aqe_core.AqeError, match="claimed by a-dist and aqe-core"):
        bound("pattern_store", None, "[pattern_store]\nfallback = true\n")


def test_a_misspelt_prescribed_argument_is_recognized():
    with pytest.raises(ConfigError, match=r"no option 'metrik'.*did you mean 'metric'"):
        aqe_core.open_store("numpy", dim=3, metrik="dot")
