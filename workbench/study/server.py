"""The web side of a study: one page for participants, an interface that answers a participant about themselves alone, and pages for its owner.

What goes out about a trial is its prompt and two tokens that were drawn for this trial and this participant. The pictures under them have one
size in pixels, one format and one length in bytes, which a chunk of random bytes fills up, so that neither address, name, length nor checksum of
an answer tells a method or links a picture to the same one elsewhere. (The picture itself can of course be recognised.)

A participant is who has the secret token, sent as a header: no cookies, so that no other site can act for a participant; requests from other
origins are refused all the same. The owner's pages want the owner's token.
"""

from __future__ import annotations

import json
import os
import secrets
import struct
import threading
import time
import zlib
from collections import defaultdict, deque
from pathlib import Path
from typing import Annotated, Literal

from fastapi import Depends, FastAPI, Header, HTTPException, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from workbench.study.errors import StudyError
from workbench.study.store import Store

PAGE = Path(__file__).with_name("page")
LONGEST_BODY = 16_384  # bytes
BLOCK = 65_536  # lengths of pictures are a multiple of it
JOINS, REQUESTS = (20, 60.0), (240, 60.0)  # of one address, of one participant: so many within so many seconds
HEADERS = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "SAMEORIGIN",
           "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
                                      "form-action 'self'; base-uri 'none'; frame-ancestors 'self'"}


class Joining(BaseModel):
    model_config = ConfigDict(extra="forbid")
    consent: Literal[True]


class Vote(BaseModel):
    model_config = ConfigDict(extra="forbid")
    trial: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]+$")]
    client_id: Annotated[str, Field(pattern=r"^[0-9a-fA-F-]{36}$")]
    answers: Annotated[dict[Annotated[str, Field(max_length=64)], Literal["left", "right", "tie"]], Field(max_length=16)] = {}
    seconds: Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)] = 0.0
    skip_reason: Annotated[str, Field(max_length=200)] = ""


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
                raise HTTPException(429, "Too many requests; wait a minute.", headers={"Retry-After": str(int(self.seconds))})
            calls.append(now)
            if len(self.calls) > 10_000:  # keys that went quiet
                for old in [key for key, calls in self.calls.items() if not calls or calls[-1] < now - self.seconds]:
                    del self.calls[old]
