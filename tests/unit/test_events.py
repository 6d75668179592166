from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from aqe_core.events import EVENTS, Event, capture, publish


def test_a_capture_has_the_events_of_its_block_in_order():
    publish(Event(name="refitted"))
    with capture() as events:
        publish(Event(name="engine-rebuilt", data={"why": "x"}))
        publish(Event(name="refitted", data={"patterns": 3}))
    publish(Event(name="refitted"))
    assert [(event.name, dict(event.data)) for event in events] == [
        ("engine-rebuilt", {"why": "x"}),
        ("refitted", {"patterns": 3}),
    ]


def test_captures_nest():
    with capture() as outer:
        with capture() as inner:
            pass
        # Both lists were empty, so equal, when the inner one ended; the outer one must be the one that goes on.
        publish(Event(name="refitted"))
    assert (len(outer), len(inner)) == (1, 0)
    with capture() as outer, capture() as inner:
        publish(Event(name="refitted"))
    assert len(outer) == len(inner) == 1


def test_a_capture_ends_with_an_exception():
    with pytest.raises(KeyError), capture() as events:
        raise KeyError
    publish(Event(name="refitted"))
    assert events == []


def test_an_event_has_one_of_the_documented_names():
    with pytest.raises(ValueError, match="nonsense"):
        Event(name="nonsense")


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_is_one_record_of_the_logger(caplog, name):
    with caplog.at_level(logging.INFO, logger="aqe"):
        publish(Event(name=name, data={"to": "numpy"}))
    (record,) = caplog.records
    assert (record.name, record.getMessage()) == ("aqe", f"{name}: to=numpy")
    assert (record.aqe_event, record.aqe_data) == (name, {"to": "numpy"})
    trouble = name in {"fallback", "plugin-failed", "state-dropped", "learning-lost"}
    assert record.levelno == (logging.WARNING if trouble else logging.INFO)


def test_a_level_that_is_off_gets_no_record(caplog):
    with caplog.at_level(logging.WARNING, logger="aqe"):
        publish(Event(name="refitted"))
    assert caplog.records == []


def test_logging_is_never_configured():
    code = (
        "import logging, aqe_core; from aqe_core.events import *; from aqe_core.events import publish;"
        "publish(Event(name='refitted'));"
        "print(logging.getLogger().handlers, logging.getLogger('aqe').handlers, logging.getLogger('aqe').level)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (out.stdout.strip(), out.stderr) == ("[] [] 0", "")


def test_logging_is_imported_for_trouble_only_where_nobody_has_imported_it():
    code = (
        "import sys; from aqe_core.events import Event, publish\n"
        "for name in ('refitted', 'fallback'):\n"
        "    publish(Event(name=name)); print('logging' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["False", "True"]
