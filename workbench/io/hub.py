"""The hub's cache: a model's files, downloaded if need be, and their revision."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)


def from_hub(
    repo: str, fetch: Callable[[], str], absent: str, offline: str, error: type[ValueError]
) -> str:
    """The path of a file that `fetch()` downloads from `repo`, or finds in the cache.

    Raises:
        `error`: It cannot be had. The message is `absent` if the repository does not hold it, and
            `offline` if the hub cannot be reached and the cache does not hold it either.
    """
    try:
        return fetch()
    except HFValidationError as cause:
        raise error(
            f"there is no folder {repo}, and it is no hub id (OWNER/NAME) either"
        ) from cause
    except GatedRepoError as cause:
        raise error(
            f"{repo} is gated: accept its licence at https://huggingface.co/{repo}, then log in "
            "with `hf auth login` or set HF_TOKEN to a token that may read it"
        ) from cause
    except RepositoryNotFoundError as cause:
        raise error(
            f"the hub has no model {repo}, or it is private: check the spelling, or log in with "
            "`hf auth login`"
        ) from cause
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as cause:
        raise error(offline) from cause
    except EntryNotFoundError as cause:
        raise error(absent) from cause
    except HfHubHTTPError as cause:
        raise error(f"the hub did not give {repo}: {cause}") from cause


def revision_of(source: str) -> str:
    """The hub's revision of a pipeline that was opened; empty for a folder."""
    if Path(source).exists() or "/" not in source:
        return ""
    path = try_to_load_from_cache(source, "model_index.json")
    return Path(path).parent.name if isinstance(path, str) else ""
