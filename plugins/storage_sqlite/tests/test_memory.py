"""Memory made present: all of it, and nothing of what it holds changes."""

import mmap
import sys

import numpy as np
import pytest
from aqe_storage_sqlite import memory
from aqe_storage_sqlite.memory import made_present

resource = pytest.importorskip("resource", reason="other systems have no such counts")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such call")


@pytest.fixture
def fresh():
    """8 MiB in pages of the smallest size, none of which was touched."""
    pages = mmap.mmap(-1, 8 << 20)
    pages.madvise(mmap.MADV_NOHUGEPAGE)
    yield pages
    pages.close()


def faults():
    return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt


def test_no_page_is_missing_afterwards(fresh):
    target = memoryview(fresh)
    present = list(made_present(target))
    if not present:
        pytest.skip("this kernel cannot, which Linux can since 5.14")
    assert present == list(range(2 << 20, (8 << 20) + 1, 2 << 20))
    before = faults()
    np.frombuffer(target, np.uint8)[:: mmap.PAGESIZE] = 1
    assert faults() - before < 100  # of 2,048
    target.release()


def test_what_is_there_stays(fresh):
    content = np.frombuffer(fresh, np.uint8)
    content[:] = np.arange(content.size, dtype=np.uint32)
    expected = content.copy()
    for _ in made_present(memoryview(fresh)[100:-100]):
        pass
    assert (content == expected).all()
    del content


@pytest.mark.parametrize("size", [0, 1, mmap.PAGESIZE - 1])
def test_less_than_a_page_is_left_alone(size):
    assert list(made_present(memoryview(bytearray(size)))) == []


def test_it_ends_where_the_system_cannot(fresh, monkeypatch):
    monkeypatch.setattr(memory, "_POPULATE_WRITE", 9999)
    assert list(made_present(memoryview(fresh))) == []
    monkeypatch.setattr("ctypes.CDLL", lambda _: object())
    assert list(made_present(memoryview(fresh))) == []
    monkeypatch.setattr(sys, "platform", "other")
    assert list(made_present(memoryview(fresh))) == []
