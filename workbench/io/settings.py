"""Command-line options generated from a dataclass of settings, and the values that were given."""

from __future__ import annotations

import argparse
import dataclasses
import typing


def _settings(parser: argparse.ArgumentParser, recipe: type) -> None:
    """One option for each field; an option that is not given leaves the preset's value."""
    kinds = typing.get_type_hints(recipe)
    for item in dataclasses.fields(recipe):
        kind = kinds[item.name]
        parser.add_argument(
            "--" + item.name.replace("_", "-"),
            dest=item.name,
            type=kind,
            metavar=kind.__name__.upper(),
            choices=item.metadata["choices"],
            default=argparse.SUPPRESS,
            help=f"{item.metadata['help']} (default: {item.default!r})".replace("%", "%%"),
        )


def _given(options: argparse.Namespace, recipe: type) -> dict:
    return {
        item.name: getattr(options, item.name)
        for item in dataclasses.fields(recipe)
        if hasattr(options, item.name)
    }
