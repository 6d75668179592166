"""Pattern stores of other libraries under the contract of aqe, each a plugin and an extra of its own.

A guard checks every argument before it arrives here (`aqe_core.guards`): rows are contiguous float32, finite and of
the right length, keys are distinct where they are removed, and ``k`` is no larger than the store. That matters: some of
these libraries accept a vector of the wrong length, or NaN, in silence. What a library cannot do is not faked.
"""
