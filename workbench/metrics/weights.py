"""Loading a metric's network from a folder, a file or the hub, and the errors if it cannot be
loaded.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import transformers.utils.logging as logging
from huggingface_hub import hf_hub_download
from safetensors import SafetensorError
from transformers import AutoConfig, PreTrainedModel

from workbench.io.digests import file_digests, short_digest
from workbench.io.hub import from_hub


class MetricError(ValueError):
    """A metric that cannot be loaded; the message names the cause and the way out."""


def weights_file(name: str, source: str, file: str, size: str = "", setting: str = "") -> Path:
    """The path of `file` from `source`: a folder that holds it, or a hub id, from the cache or
    downloaded. `name` is the metric's name in a request, `size` that of its download, `setting` the
    form of another source (NAME=FOLDER).

    Raises `MetricError`: offline, gated, missing, or no such repository.
    """
    if Path(source).is_dir():
        if (Path(source) / file).is_file():
            return Path(source) / file
        raise MetricError(f"the folder {source} holds no {file}, which {name} needs")
    needs = f" ({size})" if size else ""
    offline = (
        f"{name} needs {file} of {source}{needs}, which is not in the hub cache, and the hub "
        "cannot be reached: connect to the network and unset HF_HUB_OFFLINE, copy it here and use "
        f"{setting or name + '=FOLDER'}, or leave {name} out"
    )
    return Path(
        from_hub(
            source,
            lambda: hf_hub_download(source, file),
            absent=f"{source} holds no {file}, which {name} needs",
            offline=offline,
            error=MetricError,
        )
    )


def pretrained(
    name: str, source: str, config: Path, network: type[PreTrainedModel], **settings
) -> PreTrainedModel:
    """The network of a class from the `source` whose config.json is at `config`. Surplus weights
    are ignored; missing ones are an error (transformers would draw them at random).

    Raises `MetricError` for a network of another kind, for missing weights, and for files that
    cannot be read.
    """
    wanted = network.config_class.model_type.removesuffix("_vision_model")
    try:
        kind = AutoConfig.from_pretrained(config.parent).model_type.removesuffix("_vision_model")
        if kind != wanted:
            raise MetricError(
                f"{source} is a {kind}, and {name} reads a {wanted}: choose another source"
            )
        with quiet():
            model, report = network.from_pretrained(source, output_loading_info=True, **settings)
    except MetricError:
        raise
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise MetricError(
            f"{source} cannot be loaded as {name}, a {network.__name__}: {error}"
        ) from error
    if missing := sorted(report["missing_keys"]):
        raise MetricError(
            f"{source} lacks weights that {name} needs, {missing[0]} and {len(missing) - 1} more: "
            "choose another source, or download it again"
        )
    return model.eval().requires_grad_(False)


def fingerprint(source: str) -> str:
    """7 hexadecimal digits of what a local source's files hold, whatever they are called and where
    they are; empty for a hub id, which has revisions.
    """
    path = Path(source)
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    shown = [
        file
        for file in files
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(path).parts)
    ]
    names = [file.relative_to(path).as_posix() for file in shown]
    return short_digest([*zip(names, file_digests(shown))])[:7] if shown else ""


def protocol_of(name: str, source: str, file: Path, *settings: str) -> str:
    """The protocol of a number: name, source, the revision if it is from the hub or a digest of a
    local source's content, and all other settings that change it.

    `file` is the result of `weights_file`; the hub's cache keeps it under its revision.
    """
    parts, named = file.parts, by_content(source)
    if named == source and "snapshots" in parts:
        named += f"@{parts[parts.index('snapshots') + 1][:7]}"
    return ", ".join([f"{name} {named}", *settings])


def by_content(source: str) -> str:
    """A source's name, and for a local one SOURCE@DIGEST, so that it says which of its states."""
    digest = fingerprint(source)
    return f"{source}@{digest}" if digest else source


@contextmanager
def read_from(file: Path, published: str) -> Iterator[None]:
    """Around the loading of a downloaded `file`, `published` under a name: turns every error into a
    `MetricError`.
    """
    try:
        yield
    except (
        OSError,
        EOFError,
        pickle.UnpicklingError,
        RuntimeError,
        AttributeError,
        KeyError,
        TypeError,
        MetricError,
    ) as error:
        # torch's own words on a file that it does not trust are an invitation to trust it
        wrong = (
            "it is cut short, or holds more than tensors"
            if isinstance(error, pickle.UnpicklingError)
            else str(error)[:1000]
        )
        raise MetricError(
            f"{file} is not the network published as {published}, download it again: {wrong}"
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Silences transformers' reports of surplus weights."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
