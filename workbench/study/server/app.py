"""The web side of a study: a page for participants, an interface that tells participants only about
themselves, and one for the owner.

A trial goes out as its prompt and two tokens drawn for this trial and participant; `pictures`
ensures that only the picture itself can reveal its method. (A picture can of course be
recognised.)

A participant is whoever sends the secret token as a header. There are no cookies, so no other site
can act for a participant; requests from other origins are refused nevertheless. The owner's
interface requires the owner's token.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import unquote, urlsplit

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from fastapi.responses import FileResponse, RedirectResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import ASGIApp, Receive, Scope, Send

from workbench.study.errors import NotKnown, StudyError
from workbench.study.server.connections import public_address
from workbench.study.server.guards import Gatekeeper, Participant, client_address, guard, owner
from workbench.study.server.pictures import Pictures
from workbench.study.store.records import Stimulus
from workbench.study.store.store import Store

PAGE = Path(__file__).with_name("page")
PAGE_FILES = {
    "study.css": "text/css",
    "sending.js": "text/javascript",
    "person.js": "text/javascript",
    "study.js": "text/javascript",
}
GONE = "A picture is missing; the study's organiser has been notified. You can skip this question."


class Joining(BaseModel):
    """Someone consents and joins."""

    model_config = ConfigDict(extra="forbid")
    consent: Literal[True]
    client_id: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]  # a secret


class Vote(BaseModel):
    """An answer to a trial, or a skip."""

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
    """Takes the answer to a trial back."""

    model_config = ConfigDict(extra="forbid")
    trial: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    client_id: Annotated[str, Field(pattern=r"^[0-9a-fA-F-]{36}$")]


def study_app(store: Store, folder: Path, owner_token: str = "", address: str = "") -> FastAPI:
    """The application of the study whose pictures are in `folder`, to be served or mounted.
    `owner_token` "" closes the owner's interface; `address` is the public address, if a proxy is in
    front. Its path, such as /study/, may reach this server or be removed by the proxy.

    Raises `StudyError` if a picture is missing, and for an impossible address.
    """
    address = public_address(address)
    pictures = Pictures(folder)
    pictures.check(store.design.methods, store.design.prompts)
    # the interface is for the page only, so it is not published
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.state.gatekeeper = Gatekeeper(store, owner_token)
    guard(app, address)
    app.add_middleware(UnderPath, path=unquote(urlsplit(address).path).rstrip("/"))
    app.include_router(StudyRoutes(store, pictures).router())
    for name, media_type in PAGE_FILES.items():
        app.get(f"/{name}")(_file(name, media_type))
    app.get("/")(_file("study.html", "text/html"))
    app.get("/favicon.ico")(lambda: Response(status_code=204))
    return app


class UnderPath:
    """Removes the path of the public address from the requests' if the proxy has not; the path
    itself without "/" leads to the page.
    """

    def __init__(self, app: ASGIApp, path: str):
        self.app, self.path = app, path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on."""
        if scope["type"] == "http" and self.path:
            rest = scope["path"].removeprefix(self.path)
            if not rest:
                return await RedirectResponse(f"{self.path}/")(scope, receive, send)
            known = rest in ("/", "/favicon.ico") or rest[1:] in PAGE_FILES
            if rest != scope["path"] and (known or rest.startswith("/api/")):
                scope = dict(scope, path=rest)
        await self.app(scope, receive, send)


class StudyRoutes:
    """The routes of one study: a participant's own trials and pictures, and the owner's status."""

    def __init__(self, store: Store, pictures: Pictures):
        self.store, self.pictures = store, pictures
        self._missing: set[str] = set()  # tokens of pictures already reported to the owner

    def router(self) -> APIRouter:
        """All routes, by path."""
        router = APIRouter(prefix="/api")
        router.get("/study")(self.study)
        router.post("/join")(self.join)
        router.get("/trial")(self.trial)
        router.post("/shown/{trial}")(self.shown)
        router.post("/vote")(self.vote)
        router.post("/undo")(self.undo)
        router.get("/picture/{token}")(self.picture)
        router.get("/owner/status", dependencies=[Depends(owner)])(self.status)
        return router

    def study(self) -> dict:
        """The public part of the design, for people who have not joined yet."""
        design = self.store.design
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

    def join(self, request: Request, joining: Joining) -> dict:
        """A new participant's token."""
        request.app.state.gatekeeper.joins.check(client_address(request))
        return {"token": self.store.join(joining.consent, joining.client_id).token}

    def trial(self, participant: Participant) -> dict:
        """The next trial, null after the last, how far the participant is, and what to tell about
        the answers so far.
        """
        trial, progress = self.store.next_trial(participant), self.store.progress(participant)
        return {
            "trial": trial and dataclasses.asdict(trial),
            "progress": {"done": progress.done, "total": progress.total, "undo": progress.last},
            "notice": self.store.notice(participant) if trial else "",
        }

    def shown(self, trial: str, participant: Participant) -> dict:
        """Records when the pictures of a trial appeared."""
        self.store.shown(participant, trial)
        return {}

    def vote(self, vote: Vote, participant: Participant) -> dict:
        """Keeps an answer or a skip."""
        self.store.vote(
            participant, vote.trial, vote.answers, vote.client_id, vote.seconds, vote.skip_reason
        )
        return {"saved": True}

    def undo(self, undo: Undo, participant: Participant) -> dict:
        """Opens the last answered trial again."""
        self.store.undo(participant, undo.trial, undo.client_id)
        return {"undone": True}

    def picture(self, token: str, participant: Participant) -> Response:
        """A picture of one of the participant's trials, as PNG."""
        stimulus = self.store.image_of(token)
        if stimulus.participant != participant:
            # as for a token that never existed
            raise NotKnown("this study has no such picture; load the trial again")
        try:
            return Response(self.pictures.disguised(stimulus), media_type="image/png")
        except (StudyError, OSError) as error:
            self._report_missing(token, stimulus)
            raise HTTPException(410, GONE) from error

    def status(self) -> dict:
        """The owner's view: `Store.status`, and how many events there were of each kind."""
        return dataclasses.asdict(self.store.status()) | {
            "events": Counter(event.kind for event in self.store.events())
        }

    def _report_missing(self, token: str, stimulus: Stimulus) -> None:
        """Logs a picture that cannot be shown, once per token and server."""
        if token not in self._missing:
            fields = ("trial", "side", "method", "of", "prompt")
            self.store.log(
                stimulus.participant,
                "missing picture",
                {field: getattr(stimulus, field) for field in fields},
            )
            self._missing.add(token)


def _file(name: str, media_type: str):
    def page_file() -> FileResponse:
        return FileResponse(PAGE / name, media_type=media_type)

    return page_file
