"""For all tests: none reaches a network, and linear algebra works in one thread.

Opening a connection to anything but this machine fails the test. Our matrices are small; spread over threads of a busy
machine, training on them takes ten times as long. No property fails for want of time: machines are busy now and then.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when NumPy is imported, which no plugin of pytest does
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.pop("PYTEST_ADDOPTS", None)  # read already; the runs of pytest that tests start are not to inherit it

if TYPE_CHECKING:
    from collections.abc import Callable

hypothesis.settings.register_profile(
    "unhurried", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("unhurried")


def _is_here(address: Any) -> bool:
    """Whether an address is of this machine: a Unix socket, or the loopback range."""
    if not isinstance(address, tuple):
        return True
    host = str(address[0])
    if host in {"", "localhost"}:
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


class NetworkUsed(BaseException):
    """Not an Exception, so that no isolation of plugins and no fallback can swallow it."""


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let sockets connect to this machine only, and names of others not be looked up."""

    def guarded(original: Callable[..., Any], address_of: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            address = address_of(*arguments)
            if not _is_here(address):
                raise NetworkUsed(f"a test tried to reach {address!r}")
            return original(*arguments, **options)

        return call

    for name in ("connect", "connect_ex"):
        original = getattr(socket.socket, name)
        monkeypatch.setattr(socket.socket, name, guarded(original, lambda _, address: address))
    monkeypatch.setattr(socket.socket, "sendto", guarded(socket.socket.sendto, lambda *arguments: arguments[-1]))
    monkeypatch.setattr(socket, "getaddrinfo", guarded(socket.getaddrinfo, lambda host, *_: (host or "",)))
