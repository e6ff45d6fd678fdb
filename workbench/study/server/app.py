"""The web side of a study: one page for participants, an interface that answers a participant
about themselves alone, and one for its owner.

What goes out about a trial is its prompt and two tokens that were drawn for this trial and this
participant; `pictures` sees to it that nothing but the picture itself tells what it is. (The
picture can of course be recognised.)

A participant is who has the secret token, sent as a header: there are no cookies, so that no other
site can act for a participant, and requests from other origins are refused all the same. The
owner's interface wants the owner's token.
"""

from __future__ import annotations

import dataclasses
import secrets
import threading
import time
from collections import Counter, defaultdict, deque
from pathlib import Path
from typing import Annotated, Literal

from fastapi import Depends, FastAPI, Header, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from workbench.study.errors import Busy, Conflict, NotKnown, StudyError
from workbench.study.server.pictures import Pictures
from workbench.study.store.records import ParticipantProgress, Stimulus
from workbench.study.store.store import Store

PAGE = Path(__file__).with_name("page")
LONGEST_BODY = 16_384  # bytes
JOINS, REQUESTS, WRONG = (
    (300, 60.0),
    (240, 60.0),
    (120, 60.0),
)  # of an address (a whole class may be behind one), a participant, wrong tokens
PAGE_FILES = {
    "study.css": "text/css",
    "sending.js": "text/javascript",
    "person.js": "text/javascript",
    "study.js": "text/javascript",
}
GONE = "A picture is missing here; the study's organiser is told. You can skip this question."
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


class Joining(BaseModel):
    model_config = ConfigDict(extra="forbid")
    consent: Literal[True]
    client_id: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]  # a secret


class Vote(BaseModel):
    model_config = ConfigDict(extra="forbid")
    trial: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    client_id: Annotated[str, Field(pattern=r"^[0-9a-fA-F-]{36}$")]
    answers: Annotated[
        dict[Annotated[str, Field(max_length=200)], Literal["left", "right", "tie"]],
        Field(max_length=16),
    ] = {}
    seconds: Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)] = 0.0
    skip_reason: Annotated[str, Field(max_length=200)] = ""


class Undo(BaseModel):
    model_config = ConfigDict(extra="forbid")
    trial: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    client_id: Annotated[str, Field(pattern=r"^[0-9a-fA-F-]{36}$")]


class RateLimit:
    """Refuses, with 429, more than `count` calls of one key within `seconds`."""

    def __init__(self, count: int, seconds: float):
        self.count, self.seconds = count, seconds
        self.calls: dict[str, deque[float]] = defaultdict(deque)
        self.lock = threading.Lock()

    def __call__(self, key: str) -> None:
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
            if len(self.calls) > 10_000:  # keys that went quiet
                quiet = [
                    key
                    for key, calls in self.calls.items()
                    if not calls or calls[-1] < now - self.seconds
                ]
                for key in quiet:
                    del self.calls[key]


def study_app(store: Store, folder: Path, owner_token: str = "", address: str = "") -> FastAPI:
    """The application of the study whose pictures are in `folder`, to be served or mounted.
    `owner_token` "" closes the owner's interface; `address` is how participants reach it, where a
    proxy in front changes that.

    Raises `StudyError` where a picture is missing.
    """
    pictures = Pictures(folder)
    pictures.check(store.design.methods, store.design.prompts)
    app = FastAPI(
        docs_url=None, redoc_url=None, openapi_url=None
    )  # the interface is the page's, and published nowhere
    _guard(app, address)
    joins, requests, wrong = RateLimit(*JOINS), RateLimit(*REQUESTS), RateLimit(*WRONG)

    def participant(
        request: Request, authorization: Annotated[str, Header(max_length=300)] = ""
    ) -> str:
        try:
            found = store.participant_of(_bearer(authorization))
        except NotKnown as error:
            wrong(request.client.host if request.client else "")
            raise HTTPException(401, str(error)) from error
        requests(found)
        return found

    def owner(request: Request, authorization: Annotated[str, Header(max_length=300)] = "") -> None:
        if not owner_token or not secrets.compare_digest(
            _bearer(authorization).encode(), owner_token.encode()
        ):
            wrong(request.client.host if request.client else "")
            raise HTTPException(401, "This is for the study's owner, who has its token.")

    whose = Depends(participant)
    missing: set[str] = set()

    def tell_owner(token: str, shown: Stimulus) -> None:
        """Logs a picture that cannot be shown, once for each token and server, however often it is
        asked for.
        """
        if token not in missing:
            store.log(
                shown.participant,
                "missing picture",
                {
                    "trial": shown.trial,
                    "side": shown.side,
                    "method": shown.method,
                    "of": shown.of,
                    "prompt": shown.prompt,
                },
            )
            missing.add(token)

    @app.get("/api/study")
    def study() -> dict:
        design = store.design
        return {
            "title": design.title,
            "consent": design.consent,
            "instructions": design.instructions,
            "ties": design.ties,
            "criteria": [
                {"name": one.name, "question": one.question, "explanation": one.explanation}
                for one in design.criteria
            ],
        }

    @app.post("/api/join")
    def join(request: Request, joining: Joining) -> dict:
        joins(request.client.host if request.client else "")
        return {"token": store.join(joining.consent, joining.client_id).token}

    @app.get("/api/trial")
    def trial(who: str = whose) -> dict:
        found = store.next_trial(who)
        return {
            "trial": found and dataclasses.asdict(found),
            "progress": _told(store.progress(who)),
        }

    @app.post("/api/shown/{trial}")
    def shown(trial: str, who: str = whose) -> dict:
        store.shown(who, trial)
        return {}

    @app.post("/api/vote")
    def vote(given: Vote, who: str = whose) -> dict:
        store.vote(
            who, given.trial, given.answers, given.client_id, given.seconds, given.skip_reason
        )
        return {"saved": True}

    @app.post("/api/undo")
    def undo(given: Undo, who: str = whose) -> dict:
        store.undo(who, given.trial, given.client_id)
        return {"undone": True}

    @app.get("/api/picture/{token}")
    def picture(token: str, who: str = whose) -> Response:
        stimulus = store.image_of(token)
        if stimulus.participant != who:
            raise NotKnown(
                "this study has no such picture; load the trial again"
            )  # as of a token that never was
        try:
            return Response(pictures.disguised(stimulus), media_type="image/png")
        except (StudyError, OSError) as error:
            tell_owner(token, stimulus)
            raise HTTPException(410, GONE) from error

    @app.get("/api/owner/status", dependencies=[Depends(owner)])
    def status() -> dict:
        return dataclasses.asdict(store.status()) | {
            "events": Counter(event.kind for event in store.events())
        }

    for name, kind in PAGE_FILES.items():
        app.get(f"/{name}")(_file(name, kind))
    app.get("/")(_file("study.html", "text/html"))
    app.get("/favicon.ico")(lambda: Response(status_code=204))
    return app


def _guard(app: FastAPI, address: str) -> None:
    """Headers of every answer, what is refused before it is read, and errors as one line of text."""

    @app.middleware("http")
    async def guarded(request: Request, go):
        problem = _refusal(request, address)
        answer = JSONResponse({"detail": problem}, 403) if problem else await go(request)
        answer.headers.update(HEADERS)
        return answer

    @app.exception_handler(StudyError)
    async def of_the_study(request: Request, error: StudyError):
        # what the database says may name hosts and users
        told = (
            "The study's database is busy or away; sending the same again is safe."
            if isinstance(error, Busy)
            else str(error)
        )
        return JSONResponse({"detail": told}, STATUS.get(type(error), 422))

    @app.exception_handler(RequestValidationError)
    async def of_the_request(request: Request, error: RequestValidationError):
        wrong = error.errors()[0]
        return JSONResponse(
            {"detail": f"{'.'.join(map(str, wrong['loc']))}: {wrong['msg']}"}, 422
        )  # without what was sent


def _refusal(request: Request, address: str) -> str:
    """Why a request is not even read: too long, or sent by another site's page."""
    length = request.headers.get("content-length", "0")
    if (
        not length.isdecimal()
        or int(length) > LONGEST_BODY
        or "chunked" in request.headers.get("transfer-encoding", "")
    ):
        return "The request is too long."
    origin = request.headers.get("origin")
    if (
        origin
        and origin != address.rstrip("/")
        and origin.partition("://")[2] != request.headers.get("host")
    ):
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


def _bearer(authorization: str) -> str:
    return authorization.removeprefix("Bearer ").strip()


def _told(progress: ParticipantProgress) -> dict:
    return {"done": progress.done, "total": progress.total, "undo": progress.last}


def _file(name: str, kind: str):
    def answer() -> FileResponse:
        return FileResponse(PAGE / name, media_type=kind)

    return answer
