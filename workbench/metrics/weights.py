"""Where a metric's network comes from: a folder or a file here, or the hub; and what is said when
it cannot be had.
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

from workbench.io.hub import from_hub


class MetricError(ValueError):
    """A metric that cannot be had; the message names the cause and the way out."""


def weights_file(name: str, source: str, file: str, size: str = "", setting: str = "") -> Path:
    """The path of `file` from `source`: a folder that holds it, or a hub id, from the cache or
    downloaded. `name` is what the metric is called where it is asked for, `size` that of its
    download, `setting` how another source is given (NAME=FOLDER).

    Raises `MetricError`: offline, gated, missing, or no such repository.
    """
    if Path(source).is_dir():
        if (Path(source) / file).is_file():
            return Path(source) / file
        raise MetricError(f"the folder {source} holds no {file}, which {name} needs")
    needs = f" ({size})" if size else ""
    offline = (
        f"{name} needs {file} of {source}{needs}, which is not in the hub cache, and the hub "
        "cannot be reached: connect to the network "
        f"and unset HF_HUB_OFFLINE, copy it here and give {setting or name + '=FOLDER'}, or leave "
        f"{name} out"
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
    """The network of a class from the `source` whose config.json is at `config`; what it does not
    need is passed over, what it needs has to be there (transformers would make it up).

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
            made, report = network.from_pretrained(source, output_loading_info=True, **settings)
    except MetricError:
        raise
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise MetricError(
            f"{source} cannot be loaded as {name}, a {network.__name__}: {error}"
        ) from error
    if missing := sorted(report["missing_keys"]):
        raise MetricError(
            f"{source} lacks weights that {name} needs, {missing[0]} and {len(missing) - 1} more: "
            "choose another source, or download "
            "it again"
        )
    return made.eval().requires_grad_(False)


def fingerprint(source: str) -> str:
    """What changes when the files of a local source change (their names, sizes and times); empty
    for a hub id, which has revisions.
    """
    place = Path(source)
    files = sorted(place.iterdir()) if place.is_dir() else [place] if place.is_file() else []
    return (
        str([(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files])[:100_000]
        if files
        else ""
    )


def protocol_of(name: str, source: str, file: Path, *settings: str) -> str:
    """What a number is called: name, source, the revision when it is from the hub, and whatever
    else changes it.

    `file` is what `weights_file` gave; the hub's cache keeps it under its revision.
    """
    parts = file.parts
    revision = (
        f"@{parts[parts.index('snapshots') + 1][:7]}"
        if "snapshots" in parts and not Path(source).is_dir()
        else ""
    )
    return ", ".join([f"{name} {source}{revision}", *settings])


@contextmanager
def read_from(file: Path, published: str) -> Iterator[None]:
    """Around the loading of a downloaded `file`, which was `published` under a name: whatever is
    wrong with it is a `MetricError`.
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
    """Without transformers' reports of weights that are not wanted."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
