"""The command line's parsers for the page cli.md."""

from __future__ import annotations

import argparse
import re

from workbench.cli import _parser


def parser() -> argparse.ArgumentParser:
    """All commands; help texts are text, not reStructuredText."""
    return _plain(_parser())


def _plain(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    for action in parser._actions:
        if action.help:
            action.help = re.sub(r"([|*`\\]|_\b)", r"\\\1", action.help)
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _plain(command)
    return parser
