"""Policies and replays that are wrong in one known way each (see `aqe_core.testing.faulty`).

They borrow what is right from the built-in ones, through the door that users take.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from aqe_core.errors import AqeError
from aqe_core.testing.faulty import Borrowed, wrong

if TYPE_CHECKING:
    from aqe_core.state import EngineState

_POLICIES = {"vector_policies": ("ppo",)}
_REPLAY = {"replay": True}


@wrong("vector_policy_protocol", **_POLICIES)
class ActsInArrays(Borrowed):
    """Returns an array of one action for one observation."""

    def act(self, observations: Any, **options: Any) -> Any:
        """Choose."""
        return np.asarray(self.inner.act(observations, **options))[None]


@wrong("vector_policy_seed", **_POLICIES)
class AlwaysSeedZero(Borrowed):
    """Does not use its seed."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "seed": 0})


@wrong("vector_policy_resume", **_POLICIES)
class ForgetsMoments(Borrowed):
    """Restores everything but the optimizer's moments."""

    def import_state(self, state: EngineState) -> None:
        """Import."""
        arrays = {**state.arrays, "second": np.zeros_like(state.arrays["second"])}
        self.inner.import_state(attrs.evolve(state, arrays=arrays))


@wrong("vector_policy_masks", **_POLICIES)
class IgnoresMasks(Borrowed):
    """Takes any action."""

    def act(self, observations: Any, *, explore: bool = True, mask: Any = None) -> Any:
        """Choose."""
        del mask
        return self.inner.act(observations, explore=explore)


@wrong("vector_policy_ends", **_POLICIES)
class TakesTruncatedForTerminated(Borrowed):
    """Never bootstraps at the end of an episode."""

    def update(
        self, seen: Any, actions: Any, rewards: Any, terminated: Any, truncated: Any, after: Any, masks: Any = None
    ) -> Any:
        """Learn."""
        over = np.asarray(terminated) | np.asarray(truncated)
        return self.inner.update(seen, actions, rewards, over, truncated, after, masks)


@wrong("vector_policy_learns", **_POLICIES)
class ClimbsDown(Borrowed):
    """Learns what pays least."""

    def update(self, seen: Any, actions: Any, rewards: Any, *rest: Any) -> Any:
        """Learn."""
        return self.inner.update(seen, actions, -np.asarray(rewards), *rest)


@wrong("vector_policy_bad_input", **_POLICIES)
class RepairsObservations(Borrowed):
    """Takes NaN for zero."""

    def act(self, observations: Any, **options: Any) -> Any:
        """Choose."""
        return self.inner.act(np.nan_to_num(observations), **options)


@wrong("replay_rows", **_REPLAY)
class DrawsUnwritten(Borrowed):
    """Begins with a row of zeros that nobody added."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.inner.add([0.0], 9, 0.0, [0.0], False)


@wrong("replay_wraps", **_REPLAY)
class KeepsTheOldest(Borrowed):
    """Drops what comes when it is full."""

    def add_batch(self, *columns: Any) -> None:
        """Add."""
        room = self.inner.capacity - len(self.inner)
        self.inner.add_batch(*(column[:room] for column in columns))


@wrong("replay_batch_equals_singles", **_REPLAY)
class AddsBackwards(Borrowed):
    """Adds a batch from its end."""

    def add_batch(self, *columns: Any) -> None:
        """Add."""
        self.inner.add_batch(*(column[::-1] for column in columns))


@wrong("replay_n_step", **_REPLAY)
class StepsOverTruncation(Borrowed):
    """Takes steps together across the end of a truncated episode."""

    def add_batch(self, *columns: Any) -> None:
        """Add."""
        self.inner.add_batch(*columns[:5])


@wrong("replay_priorities", **_REPLAY)
class TakesErrorsSigned(Borrowed):
    """Gives negative errors no priority."""

    def update_priorities(self, indices: Any, errors: Any) -> None:
        """Update."""
        self.inner.update_priorities(indices, np.maximum(errors, 0.0))


@wrong("replay_resume", **_REPLAY)
class ForgetsItsGenerator(Borrowed):
    """Goes on with a generator of its own."""

    def import_state(self, state: EngineState) -> None:
        """Import."""
        arrays = {**state.arrays, "generator": self.inner.export_state().arrays["generator"]}
        self.inner.import_state(attrs.evolve(state, arrays=arrays))


@wrong("replay_bad_input", **_REPLAY)
class AddsUntilBad(Borrowed):
    """Adds the first row of a batch before it looks at the others."""

    def add_batch(self, *columns: Any) -> None:
        """Add."""
        try:
            self.inner.add_batch(*columns)
        except AqeError:
            self.inner.add_batch(*(column[:1] for column in columns))
            raise
