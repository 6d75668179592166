"""The guard of the whole suite does guard."""

from __future__ import annotations

import socket
import urllib.request

import pytest


@pytest.mark.parametrize("address", [("192.0.2.1", 80), ("example.org", 443), ("2001:db8::1", 80), ("10.0.0.1", 5)])
def test_connecting_elsewhere_fails_the_test(address):
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family) as here:
        for attempt in (here.connect, here.connect_ex):
            with pytest.raises(BaseException, match="a test tried to reach") as caught:
                attempt(address)
            assert not isinstance(caught.value, Exception)
    with socket.socket(family, socket.SOCK_DGRAM) as here, pytest.raises(BaseException, match="tried to reach"):
        here.sendto(b"x", address)


def test_looking_names_up_fails_the_test():
    with pytest.raises(BaseException, match="tried to reach"):
        socket.getaddrinfo("example.org", 80)
    with pytest.raises(BaseException, match="tried to reach"):
        urllib.request.urlopen("http://example.org/", timeout=1)


def test_this_machine_may_be_reached():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        client.sendall(b"x")
        connection, _ = server.accept()
        with connection:
            assert connection.recv(1) == b"x"
