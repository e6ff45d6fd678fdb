"""Command-line options generated from a dataclass of settings, the values that were given, and a
parser whose errors are one line; and which options were given, for commands that refuse one that
cannot apply instead of ignoring it.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import sys
import typing
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NoReturn


class Parser(argparse.ArgumentParser):
    """A parser that reports a mistake in one line, with the nearest option for an unknown one, and
    that also takes `--x on` and `--x off` for a switch `--x/--no-x`. `choices` are the names that
    its help lists for an option; only then are plug-ins looked for.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.choices: list[tuple[argparse.Action, Collection[str]]] = []

    def format_help(self) -> str:
        """The help text, with the names of plug-ins."""
        for action, choices in self.choices:
            action.metavar = _braces(choices)
        return super().format_help()

    def parse_known_args(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """As in argparse, but unknown options are an error of the command they were given to. The
        result's `given` are the names of the options that were given, also as their default.
        """
        words = self._switched(sys.argv[1:] if args is None else args)
        options = argparse.Namespace() if namespace is None else namespace
        actions = [  # argparse leaves alone what has a value
            action
            for action in self._actions
            if action.option_strings and action.default is not argparse.SUPPRESS
        ]
        for action in actions:
            listed = isinstance(action.default, list)  # of an action that appends
            setattr(options, action.dest, [] if listed else _UNSET)
        options, unknown = super().parse_known_args(words, options)
        given = {
            name for name in self._names() if getattr(options, name, _UNSET) not in (_UNSET, [])
        }
        for action in actions:
            if getattr(options, action.dest) in (_UNSET, []):
                setattr(options, action.dest, action.default)
        options.given = getattr(options, "given", frozenset()) | given
        if unknown:
            flag = unknown[0].partition("=")[0]
            near = difflib.get_close_matches(flag, self._option_string_actions, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            self.error(f"unknown argument {flag}{hint}")
        return options, unknown

    def _names(self) -> set[str]:
        return {action.dest for action in self._actions if action.option_strings}

    def error(self, message: str) -> NoReturn:
        """Exits with status 2 after the usage in one line and the message."""
        arguments = [
            "..." if isinstance(action, argparse._SubParsersAction) else str(action.metavar or "")
            for action in self._actions
            if not action.option_strings
        ]
        required = [
            f"{action.option_strings[-1]} {action.metavar or action.dest.upper()}"
            for action in self._actions
            if action.option_strings and action.required
        ]
        usage = " ".join([self.prog, *required, "[OPTIONS]", *filter(None, arguments)])
        self.exit(2, f"usage: {usage}\n{self.prog}: {message} (--help lists all options)\n")

    def _switched(self, words: Sequence[str]) -> list[str]:
        """`--x on` and `--x=on` as `--x`, `--x off` and `--x=off` as `--no-x`."""
        result: list[str] = []
        for word in words:
            flag, equals, value = word.partition("=")
            if not equals and word in ("on", "off") and result and self._is_switch(result[-1]):
                flag, value = result.pop(), word
            if value in ("on", "off") and self._is_switch(flag):
                word = flag if value == "on" else f"--no-{flag[2:]}"
            result.append(word)
        return result

    def _is_switch(self, flag: str) -> bool:
        action = self._option_string_actions.get(flag)
        return (
            isinstance(action, argparse.BooleanOptionalAction) and flag == action.option_strings[0]
        )


_UNSET = object()  # the value of an option before it is given


def refuse_ignored(options: argparse.Namespace, reasons: Mapping[str, str]) -> None:
    """Raises ValueError for an option that was given and that nothing reads; `reasons` has why, by
    the option's name, or "" where it is read.
    """
    for name in sorted(getattr(options, "given", ())):
        if reasons.get(name):
            flag = flag_of(name)
            raise ValueError(f"{flag} would do nothing: {reasons[name]}. Leave {flag} out")


def _braces(choices: Iterable[str]) -> str:
    return f"{{{','.join(choices)}}}"


def add_settings(parser: Parser, settings: type, default: str | None = None) -> None:
    """Adds one option per field of a dataclass; an option that is not given stays absent.

    `default` is the text of every default, for options that start from something else than the
    dataclass. Choices are listed in the help and checked by the dataclass.
    """
    kinds = typing.get_type_hints(settings)
    for item in dataclasses.fields(settings):
        kind, choices = kinds[item.name], item.metadata["choices"]
        if kind is bool:
            form: dict[str, Any] = {"action": argparse.BooleanOptionalAction}
        else:
            names = getattr(choices, "loaded", choices)  # a registry, without its plug-ins
            metavar = kind.__name__.upper() if choices is None else _braces(names)
            form = {"type": kind, "metavar": metavar}
        text = default or f"{item.default!r}"
        action = parser.add_argument(
            "--" + item.name.replace("_", "-"),
            dest=item.name,
            default=argparse.SUPPRESS,
            help=f"{item.metadata['help']} (default: {text})".replace("%", "%%"),
            **form,
        )
        if choices is not None:
            parser.choices.append((action, choices))


def given_settings(options: argparse.Namespace, settings: type) -> dict[str, Any]:
    """The settings that were given on the command line, by field."""
    return {
        item.name: getattr(options, item.name)
        for item in dataclasses.fields(settings)
        if hasattr(options, item.name)
    }


def check_applies(
    options: argparse.Namespace, applying: Collection[str], because: str, way: str
) -> None:
    """Raises ValueError if an option was given that is not among the destinations `applying`.

    The message is `because`, the options to leave out, and `way`, what else to leave out instead.
    """
    flags = [flag_of(name) for name in sorted(options.given - set(applying))]
    if flags:
        raise ValueError(f"{because}: leave out {', '.join(flags)}, or {way}")


def flag_of(name: str) -> str:
    """The option of a destination: --teacher-steps of teacher_steps."""
    return f"--{name.replace('_', '-')}"
