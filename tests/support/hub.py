"""The model hub without a network: what it answers, and what it has downloaded."""

from pathlib import Path

import httpx


def response(status):
    return httpx.Response(
        status, request=httpx.Request("GET", "https://huggingface.co/some/teacher")
    )


def cached(cache: Path, repo: str) -> Path:
    """An empty folder where a download of the repository would lie."""
    place = cache / f"models--{repo.replace('/', '--')}"
    folder = place / "snapshots" / ("0123456789" * 4)
    folder.mkdir(parents=True)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(folder.name)
    return folder
