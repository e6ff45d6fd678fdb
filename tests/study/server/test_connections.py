"""The server and the network: public addresses, proxies, and connections that are opened and not
used, with a real server on this machine's loopback addresses.
"""

import contextlib
import http.client
import json
import re
import socket
import threading
import time
from pathlib import Path

import pytest
from fastapi import FastAPI, Request

from tests.support.timing import seconds
from workbench.study.errors import StudyError
from workbench.study.server import connections, guards
from workbench.study.server.connections import (
    neighbourhood,
    origin_of,
    proxies_of,
    public_address,
    server_of,
)

ROOT = Path(__file__).parents[3]
HALF = b"GET /who HTTP/1.1\r\nHost: x\r\nX-"
BODY = b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf"
SHORT = {"request_seconds": 1.0, "per_address": 20, "altogether": 60}


@contextlib.contextmanager
def served(proxies=(), **limits):
    """The port of a server that says who asks."""
    app = FastAPI()

    @app.get("/who")
    def who(request: Request) -> dict:
        return {"address": request.client.host}

    @app.post("/body")
    async def body(request: Request) -> dict:
        return {"bytes": len(await request.body())}

    server = server_of(app, "127.0.0.1", 0, proxies, **limits)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


def asked(port, source="127.0.0.1", **headers):
    """(status, address that the server saw), None if it closed the connection."""
    connection = http.client.HTTPConnection(
        "127.0.0.1", port, timeout=seconds(20), source_address=(source, 0)
    )
    try:
        connection.request("GET", "/who", headers={"Connection": "close"} | headers)
        answer = connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text)["address"] if text else ""
    except (ConnectionError, http.client.RemoteDisconnected):
        return None
    finally:
        connection.close()


def opened(port, data, source="127.0.0.1"):
    one = socket.create_connection(("127.0.0.1", port), seconds(20), (source, 0))
    one.sendall(data)
    return one


def closed_after(one) -> float:
    """Seconds until the server closes the connection."""
    begun = time.monotonic()
    with contextlib.suppress(ConnectionError):
        while one.recv(1000):
            pass
    return time.monotonic() - begun


def test_a_thousand_half_requests_in_small_leave_the_server_to_others_and_end():
    with served(**SHORT) as port, contextlib.ExitStack() as held:
        half = [held.enter_context(opened(port, HALF)) for _ in range(20)]
        time.sleep(0.2)
        assert asked(port) in ((503, ""), None)  # this address has its twenty
        assert asked(port, "127.0.0.2") == (200, "127.0.0.2")
        for n in range(3, 6):  # and all together have their sixty
            half += [
                held.enter_context(opened(port, HALF, f"127.0.0.{n}"))
                for _ in range(20 if n < 5 else 0)
            ]
        time.sleep(0.2)
        assert asked(port, "127.0.0.9") in ((503, ""), None)
        assert all(closed_after(one) < seconds(10) for one in half)
        assert asked(port) == (200, "127.0.0.1")
        assert asked(port, "127.0.0.9") == (200, "127.0.0.9")


@pytest.mark.parametrize("begun", [b"", HALF, BODY], ids=["nothing", "header", "body"])
def test_a_request_that_does_not_become_whole_ends_although_bytes_come(begun):
    with served(request_seconds=1.0) as port, opened(port, begun) as one:
        start, ended = time.monotonic(), False
        while not ended and time.monotonic() < start + seconds(10):
            time.sleep(0.2)
            try:
                one.sendall(b"a")
                one.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    ended = one.recv(1000) == b""
                one.setblocking(True)
            except ConnectionError:
                ended = True
        assert ended
        assert time.monotonic() - start > 0.9
        assert asked(port) == (200, "127.0.0.1")


def test_a_whole_request_is_answered_however_its_bytes_arrive_and_the_next_has_its_own_time():
    with served(request_seconds=1.0) as port, opened(port, b"") as one:
        for _ in range(3):
            for part in (
                b"POST /body HTTP/1.1\r\nHo",
                b"st: x\r\nContent-Length: 4\r\n\r\nab",
                b"cd",
            ):
                one.sendall(part)
                time.sleep(0.2)
            assert one.recv(4000).endswith(b'{"bytes":4}')
        assert asked(port) == (200, "127.0.0.1")


def test_an_answer_that_nobody_reads_ends():
    app = FastAPI()
    app.get("/long")(lambda: "x" * 30_000_000)
    server = server_of(app, "127.0.0.1", 0, answer_seconds=1.0)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        with opened(port, b"GET /long HTTP/1.1\r\nHost: x\r\n\r\n"):
            end = time.monotonic() + seconds(20)
            while not server.server_state.connections and time.monotonic() < end:
                time.sleep(0.05)
            while server.server_state.connections and time.monotonic() < end:
                time.sleep(0.05)
            assert not server.server_state.connections
    finally:
        server.should_exit = True
        thread.join()


def test_a_forwarded_address_is_believed_from_the_named_proxy_alone():
    forwarded = {"X-Forwarded-For": "203.0.113.7"}
    with served() as port:  # directly: nobody is believed, nor the environment
        assert asked(port, **forwarded) == (200, "127.0.0.1")
    with served(proxies=("127.0.0.2",)) as port:
        assert asked(port, **forwarded) == (200, "127.0.0.1")
        assert asked(port, "127.0.0.2", **forwarded) == (200, "203.0.113.7")
        # what a participant makes up stands before what the proxy adds
        made_up = {"X-Forwarded-For": "198.51.100.1, 203.0.113.7"}
        assert asked(port, "127.0.0.2", **made_up) == (200, "203.0.113.7")


def test_the_connections_of_a_proxy_are_those_of_many_people():
    limits = {"per_address": 3, "altogether": 30}
    with served(proxies=("127.0.0.2",), **limits) as port, contextlib.ExitStack() as held:
        for source in ("127.0.0.1", "127.0.0.2"):
            for _ in range(6):
                held.enter_context(opened(port, HALF, source))
        time.sleep(0.2)
        assert asked(port) in ((503, ""), None)
        assert asked(port, "127.0.0.2") == (200, "127.0.0.2")


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("", ""),
        ("https://study.example.org", "https://study.example.org/"),
        ("https://Study.Example.ORG/", "https://study.example.org/"),
        ("https://uni.example.edu/study/", "https://uni.example.edu/study/"),
        (" https://uni.example.edu:443/a/study ", "https://uni.example.edu/a/study/"),
        ("http://uni.example.edu:8080", "http://uni.example.edu:8080/"),
        ("http://[2001:DB8::0:1]:7870/", "http://[2001:db8::1]:7870/"),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
        ("https://uni.example.edu/my%20study", "https://uni.example.edu/my%20study/"),
    ],
)
def test_a_public_address_is_written_as_browsers_do(given, address):
    assert public_address(given) == address


@pytest.mark.parametrize(
    "given",
    [
        "study.example.org",
        "uni.example.edu/study",
        "localhost:7870",
        "ftp://study.example.org",
        "https://",
        "https:///study",
        "https://study.example.org:99999",
        "https://study.example.org:port",
        "https://[::1",
        "https://me:secret@study.example.org",
        "https://study.example.org/?x=1",
        "https://study.example.org/#me",
        "https://study example.org",
        "/study/",
    ],
)
def test_what_can_be_no_public_address_is_refused(given):
    with pytest.raises(StudyError, match="--address"):
        public_address(given)


def test_origins_are_scheme_host_and_port():
    assert origin_of("https://a.example/b?c#d") == "https://a.example"
    assert origin_of("http://A.example:80") == "http://a.example"
    assert origin_of("https://a.example:80") == "https://a.example:80"
    assert origin_of("null") == origin_of("") == origin_of("a.example") == ""


def test_proxies_are_addresses_or_networks():
    assert proxies_of("") == ()
    assert proxies_of("127.0.0.1, 10.0.0.0/8,::1") == ("127.0.0.1", "10.0.0.0/8", "::1")
    for wrong in ("localhost", "*", "127.0.0.1:80", "10.0.0.1/8"):
        with pytest.raises(StudyError, match="--behind-proxy is the proxy's IP address"):
            proxies_of(wrong)


def test_one_line_of_ipv6_is_one_address():
    assert neighbourhood("192.0.2.1") == "192.0.2.1"
    assert neighbourhood("2001:db8::1") == neighbourhood("2001:db8::ffff:1") == "2001:db8::/64"
    assert neighbourhood("2001:db8:0:1::1") != neighbourhood("2001:db8::1")
    assert neighbourhood("::ffff:192.0.2.1") == "192.0.2.1"
    assert neighbourhood("testclient") == "testclient"


def test_the_documentation_names_every_limit():
    page = " ".join((ROOT / "docs" / "study.md").read_text().split())
    for name, value in {
        "seconds for a request": connections.REQUEST_SECONDS,
        "seconds for its answer": connections.ANSWER_SECONDS,
        "seconds between two requests": connections.IDLE_SECONDS,
        "connections of one address": connections.PER_ADDRESS,
        "connections altogether": connections.ALTOGETHER,
        "bytes of a request": guards.LONGEST_BODY,
        "people who join from one address in a minute": guards.JOINS[0],
        "requests of a participant in a minute": guards.REQUESTS[0],
        "wrong links from one address in a minute": guards.WRONG[0],
    }.items():
        assert re.search(rf"\| {name} \| {value:,.0f} \|", page), name
    assert {limit[1] for limit in (guards.JOINS, guards.REQUESTS, guards.WRONG)} == {60.0}
