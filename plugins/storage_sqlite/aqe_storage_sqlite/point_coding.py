"""Points as bytes: integers where the numbers are short decimals, differences where these are smaller, byte planes.

A column (times or values) of a block of n numbers becomes n integers: the numbers times a power of ten where that
gives them back exactly (as in ALP: Afroozeh, Kuffo, Boncz, 2023), else their bits. Of these, or of their differences
if those span less, the least is taken away (frame of reference), and the low bytes that are left are kept in planes:
all lowest bytes, then all second ones, which is what compressors like. All integers are taken modulo 2**64, so that
nothing can overflow. Every bit comes back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["HEADER", "decode", "encode", "is_known"]

HEADER = np.dtype([("exponent", "i1"), ("order", "u1"), ("width", "u1"), ("first", "<u8"), ("least", "<u8")])
"""What precedes the planes of a column: the power of ten (-1: bits), 0 for the integers or 1 for their differences,
bytes per number, the first integer (where order is 1), and what was taken away."""

_BITS = -1
_MAX_EXPONENT = 9  # nanoseconds
_NEGATIVE_ZERO = np.iinfo(np.int64).min  # the bits of -0.0
_EXACT = 2.0**53  # up to here every integer is a float
_WIDTHS = np.uint64(1) << np.arange(0, 64, 8, dtype=np.uint64)


def is_known(headers: NDArray[np.void]) -> bool:
    """Say whether these are headers that `encode` can have written."""
    return bool(
        np.all(
            (headers["exponent"] >= _BITS)
            & (headers["exponent"] <= _MAX_EXPONENT)
            & (headers["order"] <= 1)
            & (headers["width"] <= 8)
        )
    )


def encode(numbers: NDArray[np.float64]) -> tuple[NDArray[np.void], list[bytes]]:
    """Return the headers and planes of columns, one per row of a C-contiguous array of finite numbers. O(size)."""
    rows, n = numbers.shape
    headers = np.zeros(rows, HEADER)
    integers = _to_integers(numbers, headers)
    headers["least"], headers["width"] = _range(integers)
    if n > 1:
        first = integers[:, 0].view("<u8")
        steps = np.empty_like(integers)
        np.subtract(integers[:, 1:], integers[:, :-1], out=steps[:, 1:])
        steps[:, 0] = steps[:, 1]  # one of them, so that it changes no range
        least, width = _range(steps)
        smaller = width < headers["width"]
        for name, better in (("order", 1), ("first", first), ("least", least), ("width", width)):
            headers[name] = np.where(smaller, better, headers[name])
        steps[:, 0] = least.view(np.int64)  # the first number stands in the header
        if smaller.any():
            integers = steps if smaller.all() else np.where(smaller[:, None], steps, integers)
    return headers, _to_planes(integers.view(np.uint64) - headers["least"][:, None], headers["width"])


def _to_integers(numbers: NDArray[np.float64], headers: NDArray[np.void]) -> NDArray[np.int64]:
    """Return the integers of each row, and note the exponents."""
    bits = numbers.view(np.int64)
    integers: NDArray[np.int64] | None = None
    headers["exponent"] = _BITS
    largest = np.maximum(numbers.max(axis=1), -numbers.min(axis=1))
    sample = np.ascontiguousarray(numbers[:, :: max(1, numbers.shape[1] // 16)])
    pending = (bits != _NEGATIVE_ZERO).all(axis=1)  # no integer gives that back
    for exponent in range(_MAX_EXPONENT + 1):
        fits = pending & (largest < _EXACT / 10.0**exponent)
        fits[fits] = _scaled(sample[fits], exponent)[1]  # most that does not fit shows in a few numbers
        (chosen,) = np.nonzero(fits)
        if chosen.size:
            scaled, exact = _scaled(numbers if chosen.size == len(numbers) else numbers[chosen], exponent)
            if exact.sum() == len(numbers):  # as usual: then no row is copied
                headers["exponent"] = exponent
                return scaled.astype(np.int64)
            integers = bits.copy() if integers is None else integers
            integers[chosen[exact]] = scaled[exact]
            headers["exponent"][chosen[exact]] = exponent
            pending[chosen[exact]] = False
        if not pending.any():
            break
    return bits if integers is None else integers


def _scaled(numbers: NDArray[np.float64], exponent: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the nearest integers, and which rows they give back to the last bit (which -0.0 is not)."""
    scaled = np.rint(numbers * 10.0**exponent if exponent else numbers)
    return scaled, (_unscaled(scaled, exponent).view(np.int64) == numbers.view(np.int64)).all(axis=1)


def _unscaled(integers: NDArray[Any], exponent: int) -> NDArray[Any]:
    """Return the numbers; a division of exact ones gives the float nearest to the decimal."""
    return integers / 10.0**exponent if exponent else integers


def _range(integers: NDArray[np.int64]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Return the least of each row, and how many bytes the rest needs without it."""
    least = integers.min(axis=1).view(np.uint64)
    span = integers.max(axis=1).view(np.uint64) - least
    return least, (span[:, None] >= _WIDTHS).sum(axis=1)


def _to_planes(rest: NDArray[np.uint64], widths: NDArray[np.uint8]) -> list[bytes]:
    rows, n = rest.shape
    as_bytes = rest.astype("<u8", copy=False).view(np.uint8).reshape(rows, n, 8)
    planes = [b""] * rows
    for width in np.unique(widths).tolist():
        (chosen,) = np.nonzero(widths == width)
        part = as_bytes if chosen.size == rows else as_bytes[chosen]
        data = np.ascontiguousarray(part[:, :, :width].transpose(0, 2, 1)).tobytes()
        for position, row in enumerate(chosen.tolist()):
            planes[row] = data[position * width * n : (position + 1) * width * n]
    return planes


def decode(headers: NDArray[np.void], planes: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the numbers of columns that have one width: planes of shape (rows, width, n) give (rows, n)."""
    rows, width, n = planes.shape
    integers = np.zeros((rows, n), np.uint64)
    for position in range(width):
        integers |= planes[:, position].astype(np.uint64) << np.uint64(8 * position)
    integers += headers["least"][:, None]
    stepped = headers["order"] == 1
    if stepped.any():
        integers[stepped, 0] = headers["first"][stepped]
        integers[stepped] = np.cumsum(integers[stepped], axis=1, dtype=np.uint64)
    signed = integers.view(np.int64)
    numbers = np.empty((rows, n), np.float64)
    for exponent in np.unique(headers["exponent"]).tolist():
        chosen = headers["exponent"] == exponent
        numbers[chosen] = signed[chosen].view(np.float64) if exponent == _BITS else _unscaled(signed[chosen], exponent)
    return numbers
