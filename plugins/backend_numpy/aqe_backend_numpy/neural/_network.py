"""A multilayer perceptron whose parameters lie in one flat vector, and Adam over that vector."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Adam", "Mlp", "size_of"]


def size_of(sizes: Sequence[int]) -> int:
    """Return the number of parameters of a perceptron with layers of these widths."""
    return sum((fan_in + 1) * fan_out for fan_in, fan_out in pairwise(sizes))


class Mlp:
    """A perceptron with tanh after each layer but the last.

    Parameters
    ----------
    sizes : sequence of int
        Widths: input, hidden layers, output.
    parameters, gradient : array of float, shape (size_of(sizes),)
        Looked at, not copied: the network follows whoever changes ``parameters``, and `backward` fills ``gradient``.
    """

    def __init__(self, sizes: Sequence[int], parameters: NDArray[Any], gradient: NDArray[Any]) -> None:
        self.weights: list[NDArray[Any]] = []
        self.biases: list[NDArray[Any]] = []
        self._slopes: list[tuple[NDArray[Any], NDArray[Any]]] = []
        start = 0
        for fan_in, fan_out in pairwise(sizes):
            middle, end = start + fan_in * fan_out, start + (fan_in + 1) * fan_out
            self.weights.append(parameters[start:middle].reshape(fan_in, fan_out))
            self.biases.append(parameters[middle:end])
            self._slopes.append((gradient[start:middle].reshape(fan_in, fan_out), gradient[middle:end]))
            start = end
        self._inputs: list[NDArray[Any]] = []

    def initialize(self, rng: np.random.Generator, last_gain: float) -> None:
        """Draw orthogonal weights (Saxe, McClelland and Ganguli 2014) and zero the biases.

        The gain is the square root of 2 in hidden layers and ``last_gain`` in the last.
        """
        for number, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            gain = last_gain if number == len(self.weights) - 1 else math.sqrt(2.0)
            tall = rng.standard_normal((max(weight.shape), min(weight.shape)))
            q, r = np.linalg.qr(tall)
            q *= np.sign(np.diag(r))  # makes the draw uniform over orthogonal matrices
            weight[:] = gain * (q if weight.shape[0] >= weight.shape[1] else q.T)
            bias[:] = 0.0

    def output(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Return the outputs, shape (n, last width)."""
        last = len(self.weights) - 1
        for number, weight in enumerate(self.weights):
            rows = rows.dot(weight)
            rows += self.biases[number]
            if number < last:
                np.tanh(rows, out=rows)
        return rows

    def forward(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Return the outputs, and keep what `backward` needs."""
        self._inputs = [rows]
        last = len(self.weights) - 1
        for number, weight in enumerate(self.weights):
            rows = rows.dot(weight)
            rows += self.biases[number]
            if number < last:
                np.tanh(rows, out=rows)
                self._inputs.append(rows)
        return rows

    def backward(self, slope: NDArray[Any]) -> None:
        """Fill the gradient, given that of the loss by the outputs of the last `forward`. Overwrites those buffers."""
        for number in range(len(self.weights) - 1, -1, -1):
            inputs = self._inputs[number]
            weight_slope, bias_slope = self._slopes[number]
            np.dot(inputs.T, slope, out=weight_slope)
            slope.sum(axis=0, out=bias_slope)
            if number:
                slope = slope.dot(self.weights[number].T)
                np.multiply(inputs, inputs, out=inputs)
                np.subtract(1.0, inputs, out=inputs)  # the derivative of tanh, from its value
                slope *= inputs


class Adam:
    """Adam (Kingma and Ba 2015) over one flat vector, with decay rates 0.9 and 0.999.

    Attributes
    ----------
    first, second : array of float
        Running means of the gradient and of its square.
    count : int
        Number of steps taken.
    """

    def __init__(self, size: int, dtype: Any, epsilon: float = 1e-5) -> None:
        self.first = np.zeros(size, dtype)
        self.second = np.zeros(size, dtype)
        self.count = 0
        self._epsilon = epsilon
        self._spare = np.empty(size, dtype)

    def step(self, parameters: NDArray[Any], gradient: NDArray[Any], rate: float) -> None:
        """Move the parameters against the gradient, which is overwritten."""
        self.count += 1
        spare = self._spare
        self.first *= 0.9
        np.multiply(gradient, 0.1, out=spare)
        self.first += spare
        self.second *= 0.999
        gradient *= gradient
        gradient *= 0.001
        self.second += gradient
        np.sqrt(self.second, out=spare)
        spare /= math.sqrt(1.0 - 0.999**self.count)
        spare += self._epsilon
        np.divide(self.first, spare, out=spare)
        spare *= rate / (1.0 - 0.9**self.count)
        parameters -= spare
