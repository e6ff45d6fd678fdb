"""Access to a study's server: rate limits, the tokens of participants and the owner, and requests
that are refused before they are read.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import defaultdict, deque
from typing import Annotated

from fastapi import Depends, FastAPI, Header, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from workbench.study.errors import Busy, Conflict, NotKnown, StudyError
from workbench.study.server.connections import neighbourhood, origin_of
from workbench.study.store.store import Store

LONGEST_BODY = 16_384  # bytes
# calls and seconds
JOINS = (300, 60.0)  # per address: a whole class may share one
REQUESTS = (240, 60.0)  # per participant
WRONG = (120, 60.0)  # wrong tokens per address
STATUS = {NotKnown: 404, Conflict: 409, Busy: 503}  # other errors of a study: 422
HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src "
    "'self' blob:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'self'",
}


class RateLimit:
    """Refuses more than `count` calls per key within `seconds`, with status 429."""

    def __init__(self, count: int, seconds: float):
        self.count, self.seconds = count, seconds
        self.calls: dict[str, deque[float]] = defaultdict(deque)
        self.lock = threading.Lock()

    def check(self, key: str) -> None:
        """Counts a call of `key`. Raises an `HTTPException`."""
        now = time.monotonic()
        with self.lock:
            calls = self.calls[key]
            while calls and calls[0] < now - self.seconds:
                calls.popleft()
            if len(calls) >= self.count:
                raise HTTPException(
                    429,
                    "Too many requests; wait a minute.",
                    headers={"Retry-After": str(int(self.seconds))},
                )
            calls.append(now)
            if len(self.calls) > 10_000:  # forget keys without recent calls
                quiet = [
                    key
                    for key, calls in self.calls.items()
                    if not calls or calls[-1] < now - self.seconds
                ]
                for key in quiet:
                    del self.calls[key]


class Gatekeeper:
    """Knows participants and the owner by their tokens; limits how often each may call."""

    def __init__(self, store: Store, owner_token: str):
        self.store, self.owner_token = store, owner_token
        self.joins, self.requests = RateLimit(*JOINS), RateLimit(*REQUESTS)
        self.wrong = RateLimit(*WRONG)

    def participant(self, token: str, address: str) -> str:
        """The participant with this token. Raises 401 for an unknown one."""
        try:
            found = self.store.participant_of(token)
        except NotKnown as error:
            self.wrong.check(address)
            raise HTTPException(401, str(error)) from error
        self.requests.check(found)
        return found

    def check_owner(self, token: str, address: str) -> None:
        """Raises 401 unless this is the owner's token, and if the owner has none."""
        if not self.owner_token or not secrets.compare_digest(
            token.encode(), self.owner_token.encode()
        ):
            self.wrong.check(address)
            raise HTTPException(401, "Only the study's owner, who has its token, can see this.")


def client_address(request: Request) -> str:
    """What counts as the caller's address (`connections.neighbourhood`), "" if unknown."""
    return neighbourhood(request.client.host) if request.client else ""


def _bearer(authorization: Annotated[str, Header(max_length=300)] = "") -> str:
    return authorization.removeprefix("Bearer ").strip()


def _participant(request: Request, token: Annotated[str, Depends(_bearer)]) -> str:
    return request.app.state.gatekeeper.participant(token, client_address(request))


def owner(request: Request, token: Annotated[str, Depends(_bearer)]) -> None:
    """A dependency for the owner's routes. Raises 401."""
    request.app.state.gatekeeper.check_owner(token, client_address(request))


Participant = Annotated[str, Depends(_participant)]  # a route's argument: the caller


def guard(app: FastAPI, address: str) -> None:
    """Adds headers to every response, refuses requests before they are read, and turns errors into
    one line of text.
    """

    @app.middleware("http")
    async def guarded(request: Request, call_next):
        problem = _refusal(request, address)
        response = JSONResponse({"detail": problem}, 403) if problem else await call_next(request)
        response.headers.update(HEADERS)
        return response

    @app.exception_handler(StudyError)
    async def of_the_study(request: Request, error: StudyError):
        # the database's own message may name hosts and users
        text = (
            "The study's database is busy or unavailable; trying again is safe."
            if isinstance(error, Busy)
            else str(error)
        )
        return JSONResponse({"detail": text}, STATUS.get(type(error), 422))

    @app.exception_handler(RequestValidationError)
    async def of_the_request(request: Request, error: RequestValidationError):
        wrong = error.errors()[0]
        return JSONResponse(
            {"detail": f"{'.'.join(map(str, wrong['loc']))}: {wrong['msg']}"}, 422
        )  # without the input


def _refusal(request: Request, address: str) -> str:
    """The reason to refuse a request unread, too long or from another site's page; "" if none."""
    length = request.headers.get("content-length", "0")
    if (
        not length.isdecimal()
        or int(length) > LONGEST_BODY
        or "chunked" in request.headers.get("transfer-encoding", "")
    ):
        return "The request is too long."
    if not _is_ours(request.headers.get("origin"), request.headers.get("host", ""), address):
        return "Requests from other sites are refused."
    following_a_link = (
        request.headers.get("sec-fetch-mode") == "navigate" and request.method == "GET"
    )
    if (
        request.headers.get("sec-fetch-site", "same-origin") == "cross-site"
        and not following_a_link
    ):
        return "Requests from other sites are refused."
    return ""


def _is_ours(origin: str | None, host: str, address: str) -> bool:
    """Whether a page of this server sent the request: its origin is that of the public address, or
    of the host that was asked. A proxy may pass neither scheme nor host on.
    """
    if origin is None:
        return True
    scheme = origin.partition("://")[0]
    try:
        own = {origin_of(address), origin_of(f"{scheme}://{host}")} - {""}
        return origin_of(origin) in own
    except ValueError:
        return False
