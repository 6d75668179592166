"""Memory that is there before it is written to."""

from __future__ import annotations

import mmap
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["made_present"]

_POPULATE_WRITE = 23  # MADV_POPULATE_WRITE, since Linux 5.14
_AT_ONCE = 1 << 21  # a huge page of most processors


def made_present(target: memoryview) -> Iterator[int]:
    """Have the system clear the pages of fresh memory on this thread, and not when they are first touched.

    What they hold stays as it is, so that another thread may be filling them. Ends where the system cannot
    (`madvise(2) <https://man7.org/linux/man-pages/man2/madvise.2.html>`_).

    Parameters
    ----------
    target : memoryview
        Writable and contiguous.

    Yields
    ------
    int
        How many bytes are present now, counted from the first whole page.
    """
    if sys.platform != "linux" or not target.nbytes:
        return
    try:
        import ctypes  # slow to import, and needed for large loads only

        advise = ctypes.CDLL(None).madvise
    except (ImportError, OSError, AttributeError):  # a Python without it, or linked into one piece
        return
    advise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    address = ctypes.addressof(ctypes.c_char.from_buffer(target))
    first = -(-address // mmap.PAGESIZE) * mmap.PAGESIZE  # what shares a page with others is left out
    stop = (address + target.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
    for start in range(first, stop, _AT_ONCE):
        size = min(_AT_ONCE, stop - start)
        if advise(start, size, _POPULATE_WRITE):
            return
        yield start + size - first
