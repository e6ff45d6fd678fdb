"""How a study's server meets the network: its public address, the proxy in front of it, and limits
on connections that are opened and never used.

Not here: what a request may ask for (`guards`, `app`).
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections import Counter
from collections.abc import Sequence
from typing import ClassVar
from urllib.parse import urlsplit

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from workbench.study.errors import StudyError

PORTS = {"http": 80, "https": 443}
REQUEST_SECONDS = 10.0  # from the first byte of a request, or the connection, to its last byte
ANSWER_SECONDS = 300.0  # from there until the answer is sent: two pictures on a slow line
IDLE_SECONDS = 5  # between two requests of a connection
PER_ADDRESS = 250  # connections: a class behind one address, whose browsers open six each
ALTOGETHER = 800  # connections: below the 1,024 open files that systems usually allow
REFUSED = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


def public_address(text: str) -> str:
    """The address at which participants reach the page, in the form of a browser and ending in "/";
    "" for "".

    Raises `StudyError` for a text that is no such address, with one that is.
    """
    if not text.strip():
        return ""
    try:
        parts = urlsplit(text.strip())
        origin = origin_of(text.strip())
    except ValueError as error:
        raise StudyError(f"--address: {text!r} is no web address ({error})") from error
    example = "such as https://study.example.org or https://example.org/study/"
    if not origin:
        raise StudyError(
            f"--address is the page's public address, {example}, not {text!r}: it begins with "
            "https:// or http:// and the server's name"
        )
    if "@" in parts.netloc or parts.query or parts.fragment or any(map(str.isspace, text.strip())):
        raise StudyError(
            f"--address is the page's public address, {example}, not {text!r}: leave out spaces, "
            "names before “@”, and what follows “?” or “#”"
        )
    return f"{origin}/{parts.path.strip('/')}".rstrip("/") + "/"


def origin_of(address: str) -> str:
    """scheme://host, with the port unless it is the scheme's own, as browsers write an origin; ""
    if the text has no such beginning. Raises ValueError for an impossible port or host.
    """
    parts = urlsplit(address)
    if parts.scheme not in PORTS or not parts.hostname:
        return ""
    host = parts.hostname
    if ":" in host:
        host = f"[{ipaddress.IPv6Address(host).compressed}]"
    elif not host.isascii():
        host = host.encode("idna").decode()
    port = "" if parts.port in (None, PORTS[parts.scheme]) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"


def proxies_of(text: str) -> tuple[str, ...]:
    """The comma-separated IP addresses or networks. Raises `StudyError` for anything else."""
    proxies = tuple(part.strip() for part in text.split(",") if part.strip())
    for proxy in proxies:
        try:
            ipaddress.ip_network(proxy)
        except ValueError as error:
            raise StudyError(
                "--behind-proxy is the proxy's IP address as this server sees it, such as "
                f"127.0.0.1, or a network such as 10.0.0.0/8; not {proxy!r} ({error})"
            ) from error
    return proxies


def neighbourhood(host: str) -> str:
    """What counts as one address: of IPv6 the first 64 bits, all of which one line usually has."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return host
    return str(address.ipv4_mapped or ipaddress.ip_network((int(address) >> 64 << 64, 64)))


class LimitedConnection(H11Protocol):
    """A connection that ends if a request, or reading its answer, takes too long, and that is
    refused with 503 if its address, or all, have too many.

    The time for a request counts from its first byte, so sending a byte now and then does not
    prolong it.
    """

    request_seconds, answer_seconds = REQUEST_SECONDS, ANSWER_SECONDS
    per_address, altogether = PER_ADDRESS, ALTOGETHER
    proxies: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()  # count altogether only
    addresses: ClassVar[Counter[str]] = Counter()

    _deadline: asyncio.TimerHandle | None = None
    _awaiting = False  # whether the deadline is that of the request
    _address = ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Counts the connection, and closes it if it is one too many."""
        super().connection_made(transport)
        host = self.client[0] if self.client else ""
        self._address = neighbourhood(host)
        self.addresses[self._address] += 1
        crowded = self.addresses[self._address] > self.per_address and not self._is_proxy(host)
        if crowded or self.addresses.total() > self.altogether:
            transport.write(REFUSED)
            transport.close()
        else:
            self._within(self.request_seconds, awaiting=True)

    def data_received(self, data: bytes) -> None:
        """Starts the time for a request with its first byte, and that for the answer with its
        last.
        """
        between = self.cycle is None or self.cycle.response_complete
        super().data_received(data)
        if self.transport.is_closing():
            return
        whole = self.conn.their_state not in (h11.IDLE, h11.SEND_BODY)
        if whole and (between or self._awaiting):
            self._within(self.answer_seconds, awaiting=False)
        elif not whole and between and not self._awaiting:
            self._within(self.request_seconds, awaiting=True)

    def on_response_complete(self) -> None:
        """Stops the clock of a whole request whose answer has left, and starts it if the next is
        there already.
        """
        if self.conn.their_state is not h11.SEND_BODY and not self._unsent():
            self._stop()
        super().on_response_complete()
        if self.conn.their_state is h11.DONE:
            self._within(self.answer_seconds, awaiting=False)

    def connection_lost(self, exc: Exception | None) -> None:
        """Counts the connection no more."""
        self._stop()
        self.addresses[self._address] -= 1
        if not self.addresses[self._address]:
            del self.addresses[self._address]
        super().connection_lost(exc)

    def _within(self, seconds: float, awaiting: bool) -> None:
        self._stop()
        self._awaiting = awaiting
        self._deadline = self.loop.call_later(seconds, self._too_late)

    def _too_late(self) -> None:
        if self._awaiting or not self.cycle.response_complete or self._unsent():
            self.transport.abort()

    def _unsent(self) -> bool:
        return self.transport.get_write_buffer_size() > 0

    def _stop(self) -> None:
        self._awaiting = False
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _is_proxy(self, host: str) -> bool:
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        return any(address in network for network in self.proxies)


def server_of(
    app: FastAPI, host: str, port: int, proxies: Sequence[str] = (), **limits: float
) -> uvicorn.Server:
    """A server of the app; `limits` are other values of `LimitedConnection`'s.

    X-Forwarded-For is believed from `proxies` only, and their connections are limited only
    altogether.
    """
    known = {"proxies": tuple(map(ipaddress.ip_network, proxies)), "addresses": Counter()}
    return uvicorn.Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            http=type("Connection", (LimitedConnection,), known | limits),
            ws="none",
            proxy_headers=bool(proxies),
            forwarded_allow_ips=list(proxies),
            timeout_keep_alive=IDLE_SECONDS,
            timeout_graceful_shutdown=int(REQUEST_SECONDS),
            log_level="warning",
            access_log=False,
            server_header=False,
        )
    )
