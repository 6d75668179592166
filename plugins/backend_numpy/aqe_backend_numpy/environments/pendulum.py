"""Pendulum: swing a pendulum up and hold it there with too weak a motor."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_backend_numpy.environments._task import Task

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Pendulum"]

MAX_SPEED = 8.0
MAX_TORQUE = 2.0
TAU_S = 0.05
GRAVITY = 10.0


class Pendulum(Task):
    """The torque-limited pendulum with the figures of Gymnasium's ``Pendulum-v1``.

    A rod of 1 kg and 1 m turns by ``3 g / (2 l) sin(angle) + 3 / (m l^2) torque`` per second squared, integrated by the
    semi-implicit Euler method with a step of 50 ms; speeds are cut at 8 rad/s, torques at 2 N m. Observations are
    cosine and sine of the angle (0 is upright) and the speed. A step pays
    ``-(angle^2 + 0.1 speed^2 + 0.001 torque^2)``. It never terminates, and is truncated after 200 steps. Parameters as
    `Task`.
    """

    name = "pendulum"
    observation_dim = 3
    action_dim = 1
    variables = 2
    limit = 200
    action_limit = MAX_TORQUE

    def observe(self) -> NDArray[np.float32]:
        """Return the observations of now, shape (n_envs, 3)."""
        angle, speed = self._state
        return np.stack((np.cos(angle), np.sin(angle), speed), axis=1).astype(np.float32)

    def _begin(self, where: Any, n: int) -> None:
        self._state[0, where] = self._rng.uniform(-math.pi, math.pi, n)
        self._state[1, where] = self._rng.uniform(-1.0, 1.0, n)

    def _advance(self, actions: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        angle, speed = self._state
        torque = np.clip(actions[:, 0], -MAX_TORQUE, MAX_TORQUE)
        upright = (angle + math.pi) % (2 * math.pi) - math.pi
        cost = upright**2 + 0.1 * speed**2 + 0.001 * torque**2
        turned = speed + (3 * GRAVITY / 2 * np.sin(angle) + 3.0 * torque) * TAU_S
        np.clip(turned, -MAX_SPEED, MAX_SPEED, out=speed)
        angle += speed * TAU_S
        return -cost, np.zeros(self.n_envs, np.bool_)
