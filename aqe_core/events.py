"""What aqe decided and did, told after the fact.

Events go to the plugins' ``aqe_event`` hook, to the callables of `capture`, and as one record each to the standard
logger ``aqe`` (which this library never configures).
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["EVENTS", "Event", "capture", "publish"]

EVENTS = {
    "engine-bound": "An engine was chosen and made.",
    "fallback": "The chosen backend could not be bound and the config allowed another one.",
    "plugin-failed": "A plugin failed to load or to answer and was left out.",
    "engine-rebuilt": "An engine was rebuilt from storage, and why.",
    "state-dropped": "A kept engine state was not usable and was dropped.",
    "learning-lost": "Stored updates of a learner were damaged; what came after them was not learned again.",
    "refitted": "The embedder was fitted anew to a grown collection.",
}
"""Names of events, and what they mean."""


@attrs.frozen(kw_only=True)
class Event:
    """One thing that happened.

    Attributes
    ----------
    name : str
        A key of `EVENTS`.
    data : mapping of str to JSON value
        The particulars.
    """

    name: str = attrs.field(validator=attrs.validators.in_(EVENTS))
    data: Mapping[str, Any] = attrs.field(factory=dict)


_captures: list[list[Event]] = []


def publish(event: Event) -> None:
    """Hand an event to the captures and to the logger ``aqe`` (warning for trouble, else info)."""
    for captured in tuple(_captures):
        captured.append(event)
    is_trouble = event.name in {"fallback", "plugin-failed", "state-dropped", "learning-lost"}
    if not is_trouble and "logging" not in sys.modules:
        return  # nobody has asked for more than warnings, and a first search should not pay for the import
    import logging

    level = logging.WARNING if is_trouble else logging.INFO
    logger = logging.getLogger("aqe")
    if logger.isEnabledFor(level):
        logger.log(
            level,
            "%s: %s",
            event.name,
            ", ".join(f"{key}={value}" for key, value in event.data.items()),
            extra={"aqe_event": event.name, "aqe_data": event.data},
        )


@contextmanager
def capture() -> Iterator[list[Event]]:
    """Collect the events published inside the ``with`` block, in order.

    Examples
    --------
    >>> from aqe_core.events import Event, capture, publish
    >>> with capture() as events:
    ...     publish(Event(name="refitted", data={"patterns": 3}))
    >>> [event.name for event in events]
    ['refitted']
    """
    captured: list[Event] = []
    _captures.append(captured)
    try:
        yield captured
    finally:
        _captures[:] = [each for each in _captures if each is not captured]  # equal lists are not the same capture
