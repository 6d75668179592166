"""``exp`` and ``log`` as JavaScript engines compute them, to the last bit, on every machine.

V8 carries the algorithms of Sun's fdlibm; the C library under Python rounds some arguments differently. Each is a
reduction of the argument and a fixed polynomial, in the one order of operations that fdlibm (e_exp.c, e_log.c, 1993)
prescribes. Only finite arguments, and positive ones for `log`, come up here.
"""

from __future__ import annotations

import math

__all__ = ["exp", "log"]

_LN2_HIGH = 6.93147180369123816490e-01  # its last 21 bits are zero, so that small multiples are exact
_LN2_LOW = 1.90821492927058770002e-10
_PER_LN2 = 1.44269504088896338700e00
_EXP = (
    1.66666666666666019037e-01,
    -2.77777777770155933842e-03,
    6.61375632143793436117e-05,
    -1.65339022054652515390e-06,
    4.13813679705723846039e-08,
)
_LOG = (
    6.666666666666735130e-01,
    3.999999999940941908e-01,
    2.857142874366239149e-01,
    2.222219843214978396e-01,
    1.818357216161805012e-01,
    1.531383769920937332e-01,
    1.479819860510658591e-01,
)
_HALF_LN2 = 0.34657380104064941  # the first double with a greater high word than ln 2 / 2
_THREE_HALVES_LN2 = 1.0397205352783203  # the first with the high word of 3/2 ln 2
_TINY = 2.0**-28
_OVERFLOW, _UNDERFLOW = 7.09782712893383973096e02, -7.45133219101941108420e02


def exp(x: float) -> float:
    """Return e to the power of a finite number.

    Examples
    --------
    >>> exp(0.0), exp(1.0), exp(-1000.0), exp(1000.0)
    (1.0, 2.718281828459045, 0.0, inf)
    """
    if x > _OVERFLOW:
        return math.inf
    if x < _UNDERFLOW:
        return 0.0
    if x == 1.0:
        return math.e  # V8's own exception; fdlibm is off by one bit here
    size = abs(x)
    if size < _TINY:
        return 1.0 + x
    power, high, low = 0, x, 0.0
    if size >= _HALF_LN2:
        sign = math.copysign(1.0, x)
        power = int(sign) if size < _THREE_HALVES_LN2 else int(_PER_LN2 * x + 0.5 * sign)
        high, low = x - power * _LN2_HIGH, power * _LN2_LOW
    x = high - low
    t = x * x
    c = x - t * (_EXP[0] + t * (_EXP[1] + t * (_EXP[2] + t * (_EXP[3] + t * _EXP[4]))))
    if power == 0:
        return 1.0 - ((x * c) / (c - 2.0) - x)
    return math.ldexp(1.0 - ((low - (x * c) / (2.0 - c)) - high), power)


def log(x: float) -> float:
    """Return the natural logarithm of a positive finite number.

    Examples
    --------
    >>> log(1.0), log(2.0), log(0.001)
    (0.0, 0.6931471805599453, -6.907755278982137)
    """
    fraction, power = math.frexp(x)
    fraction, power = 2.0 * fraction, power - 1  # in 1 .. 2
    # The high words of the mantissa, without the exponent, decide which branch is taken.
    word = int((fraction - 1.0) * 2.0**20)
    if word + 0x95F64 >= 0x100000:  # above about the root of 2
        fraction, power = 0.5 * fraction, power + 1
    f = fraction - 1.0
    if ((2 + word) & 0xFFFFF) < 3:  # |f| < 2**-20
        if f == 0.0:
            return power * _LN2_HIGH + power * _LN2_LOW
        r = f * f * (0.5 - 0.33333333333333333 * f)
        return f - r if power == 0 else power * _LN2_HIGH - ((r - power * _LN2_LOW) - f)
    s = f / (2.0 + f)
    z = s * s
    w = z * z
    odd = w * (_LOG[1] + w * (_LOG[3] + w * _LOG[5]))
    even = z * (_LOG[0] + w * (_LOG[2] + w * (_LOG[4] + w * _LOG[6])))
    r = even + odd
    if (word - 0x6147A) | (0x6B851 - word) > 0:
        half = 0.5 * f * f
        if power == 0:
            return f - (half - s * (half + r))
        return power * _LN2_HIGH - ((half - (s * (half + r) + power * _LN2_LOW)) - f)
    if power == 0:
        return f - s * (f - r)
    return power * _LN2_HIGH - ((s * (f - r) - power * _LN2_LOW) - f)
