"""Control tasks with published dynamics, vectorized over copies: what the policies are tested and measured on."""

from aqe_backend_numpy.environments.cartpole import CartPole
from aqe_backend_numpy.environments.ordering import Cycle, Ordering
from aqe_backend_numpy.environments.pendulum import Pendulum

__all__ = ["CartPole", "Cycle", "Ordering", "Pendulum"]
