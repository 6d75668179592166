"""CartPole: keep a pole upright on a cart by pushing the cart left or right."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from aqe_backend_numpy.environments._task import Task

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CartPole"]

GRAVITY = 9.8
POLE_MASS = 0.1
TOTAL_MASS = 1.0 + POLE_MASS
HALF_LENGTH = 0.5
POLE_MASS_LENGTH = POLE_MASS * HALF_LENGTH
FORCE = 10.0
TAU_S = 0.02
MAX_POSITION = 2.4
MAX_ANGLE = 12 * 2 * math.pi / 360


class CartPole(Task):
    """The cart and pole of Barto, Sutton and Anderson (1983), with the figures of Gymnasium's ``CartPole-v1``.

    Friction-free equations of motion as corrected by Florian (2007), integrated by Euler's method with a step of 20 ms.
    Observations are position, velocity, angle and angular velocity; action 1 pushes right, 0 left, with 10 N. Each step
    pays 1. It terminates beyond 2.4 m or 12 degrees, and is truncated after 500 steps. Parameters as `Task`.
    """

    name = "cartpole"
    observation_dim = 4
    n_actions = 2
    variables = 4
    limit = 500

    def observe(self) -> NDArray[np.float32]:
        """Return the observations of now, shape (n_envs, 4)."""
        return self._state.T.astype(np.float32, order="C")

    def _begin(self, where: Any, n: int) -> None:
        self._state[:, where] = self._rng.uniform(-0.05, 0.05, (4, n))

    def _advance(self, actions: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        position, velocity, angle, spin = self._state
        force = np.where(actions, FORCE, -FORCE)
        cosine = np.cos(angle)
        sine = np.sin(angle)
        push = (force + POLE_MASS_LENGTH * np.square(spin) * sine) / TOTAL_MASS
        turning = (GRAVITY * sine - cosine * push) / (
            HALF_LENGTH * (4.0 / 3.0 - POLE_MASS * np.square(cosine) / TOTAL_MASS)
        )
        pushing = push - POLE_MASS_LENGTH * turning * cosine / TOTAL_MASS
        position += TAU_S * velocity
        velocity += TAU_S * pushing
        angle += TAU_S * spin
        spin += TAU_S * turning
        terminated = np.abs(position) > MAX_POSITION
        terminated |= np.abs(angle) > MAX_ANGLE
        return np.ones(self.n_envs), terminated
