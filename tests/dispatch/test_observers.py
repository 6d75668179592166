from __future__ import annotations

import logging

import pytest

from aqe_core.binding import bind
from aqe_core.errors import BrokenPluginError, ConfigError, DuplicateNameError
from aqe_core.events import Event, capture
from aqe_core.selection import select

OBSERVER = """
from aqe_core import hookimpl

AQE_API = 1
seen = []


@hookimpl
def aqe_event(event):
    seen.append(event.name)
"""
RAISING = OBSERVER.replace("seen.append(event.name)", "raise {}('boom')")


def test_an_observer_sees_what_happens_after_it_was_loaded(install, manager, source_of):
    install("a-dist", watch=OBSERVER)
    plugins = manager()
    plugins.tell(Event(name="refitted"))
    plugins.observe(["watch"])
    bind(select("analyzer", plugins._config), plugins)
    plugins.tell(Event(name="refitted"))
    assert plugins.load(source_of(plugins, "watch")).seen == ["engine-bound", "refitted"]


@pytest.mark.parametrize("error", ["RuntimeError", "SystemExit"])
def test_an_observer_that_raises_is_reported_and_stops_nobody(install, manager, source_of, error, caplog):
    install("a-dist", bad=RAISING.format(error), watch=OBSERVER)
    plugins = manager()
    plugins.observe(["bad", "watch"])
    with capture() as events, caplog.at_level(logging.INFO, logger="aqe"):
        bind(select("analyzer", plugins._config), plugins)
    assert [event.name for event in events] == ["engine-bound", "plugin-failed"]
    assert events[1].data["name"] == "bad"
    assert f"failed in its hook aqe_event: {error}: boom at a_dist_bad.py:10" in events[1].data["error"]
    assert plugins.load(source_of(plugins, "watch")).seen == ["engine-bound"]
    assert [(record.levelno, record.aqe_event) for record in caplog.records] == [
        (logging.INFO, "engine-bound"),
        (logging.WARNING, "plugin-failed"),
    ]


def test_ctrl_c_in_an_observer_passes_through(install, manager):
    install("a-dist", bad=RAISING.format("KeyboardInterrupt"))
    plugins = manager()
    plugins.observe(["bad"])
    with pytest.raises(KeyboardInterrupt):
        plugins.tell(Event(name="refitted"))


def test_an_observer_that_is_not_installed_is_refused(manager):
    with pytest.raises(ConfigError, match=r"plugins\.observers names the plugin 'nobody', which is not installed"):
        manager().observe(["nobody"])


def test_an_observer_that_is_left_out_is_passed_over(install, manager):
    install("a-dist", watch=OBSERVER)
    plugins = manager(AQE_SAFE="1")
    plugins.observe(["watch"])
    assert plugins._modules == {}


def test_an_observer_that_is_broken_or_contested_is_refused(install, manager):
    install("a-dist", bad="raise RuntimeError\n", watch=OBSERVER)
    install("b-dist", watch=OBSERVER)
    with pytest.raises(BrokenPluginError):
        manager().observe(["bad"])
    with pytest.raises(DuplicateNameError):
        manager().observe(["watch"])
