"""The monitor's figures, by hand and over a run that converges."""

from __future__ import annotations

import math

import pytest
from aqe_backend_numpy.learner import make_learner
from aqe_backend_numpy.monitoring import Monitor

from aqe_core.errors import InputError, NonFiniteError


def test_by_hand():
    monitor = Monitor(make_learner(learning_rate=0.5, epsilon=0.5), window=2)
    assert math.isnan(monitor.stats().mean_td_error)
    assert math.isnan(monitor.stats().mean_return)
    for reward in (8.0, 2.0, 1.0):
        monitor.update("s", "a", reward, "end", done=True)
    # Values 0, 4, 3, 2: errors 8, -2, -2, of which the last two count.
    stats = monitor.stats()
    assert (stats.updates, stats.episodes, stats.pairs, stats.epsilon) == (3, 3, 1, 0.5)
    assert (stats.mean_td_error, stats.mean_abs_td_error, stats.mean_return) == (-2.0, 2.0, 1.5)
    monitor.act("s", ["a", "b"])
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert monitor.stats().mean_entropy == pytest.approx(entropy)
    assert monitor.stats().mean_relative_entropy == pytest.approx(entropy / math.log(2))
    monitor.act("s", ["a"])
    assert monitor.stats().mean_entropy == pytest.approx(entropy / 2)


def test_returns_of_episodes_that_were_cut_off():
    monitor = Monitor(make_learner())
    for reward, truncated in ((1.0, False), (2.0, True), (5.0, False)):
        monitor.update("s", "a", reward, "s", truncated=truncated)
    assert (monitor.stats().episodes, monitor.stats().mean_return) == (1, 3.0)


@pytest.mark.parametrize("algorithm", ["q-learning", "actor-critic"])
def test_a_run_that_converges(algorithm):
    monitor = Monitor(make_learner(algorithm=algorithm, learning_rate=0.2, epsilon=0.0), window=200)
    seen = []
    for i in range(2000):
        action = monitor.act("s", ["good", "bad"])
        monitor.update("s", action, 1.0 if action == "good" else 0.0, "end", done=True)
        if i in {199, 1999}:
            seen.append(monitor.stats())
    assert seen[1].mean_abs_td_error < 0.5 * seen[0].mean_abs_td_error
    assert seen[1].mean_entropy <= seen[0].mean_entropy
    assert seen[1].mean_return > 0.9


def test_what_the_learner_refuses_is_not_counted():
    monitor = Monitor(make_learner())
    with pytest.raises(NonFiniteError):
        monitor.update("s", "a", math.nan, "t")
    assert monitor.stats().updates == 0
    for window in (0, 1.5):
        with pytest.raises(InputError):
            Monitor(make_learner(), window=window)
