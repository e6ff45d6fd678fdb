"""Which options of a command were given, as opposed to left at their defaults: for commands that
refuse an option that cannot apply instead of ignoring it.
"""

from __future__ import annotations

import argparse
from typing import Any


def remember_given(parser: argparse.ArgumentParser) -> None:
    """Adds `given` to the parsed options of `parser`: a dict of flag by destination (`no_ties`:
    "--no-ties") of the options that were given, also those given with their default value.
    """
    parse = parser.parse_known_args

    def parsed(args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        options, unknown = parse(args, namespace)
        defaults = {action: action.default for action in parser._actions}
        try:
            for action in defaults:
                action.default = argparse.SUPPRESS
            named = vars(parse(args, argparse.Namespace())[0])
        finally:
            for action, default in defaults.items():
                action.default = default
        options.given = {
            action.dest: action.option_strings[-1]
            for action in parser._actions
            if action.option_strings and action.dest in named
        }
        return options, unknown

    parser.parse_known_args = parsed


def check_applies(options: argparse.Namespace, applying: set[str], because: str, way: str) -> None:
    """Raises ValueError if an option was given that is not among the destinations `applying`.

    The message is `because`, the options to leave out, and `way`, what else to leave out instead.
    """
    if given := [flag for name, flag in options.given.items() if name not in applying]:
        raise ValueError(f"{because}: leave out {', '.join(given)}, or {way}")
