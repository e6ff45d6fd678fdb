"""Named things that others may add to: methods, metrics and teacher families.

    own entries       given at the definition, under the package's own names
    registration      `METHODS.register("mine", ...)`, in any file that is imported
    a file            named in WORKBENCH_PLUGINS (files or modules, separated as in PATH), which
                      registers what it has when it is imported
    an entry point    of an installed package, in the registry's `group`: its value is the entry

Plug-ins are looked for when a name is not among what is known, or when all names are wanted; a run
that needs none never imports one.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Generic, TypeVar

PLUGINS = "WORKBENCH_PLUGINS"
Entry = TypeVar("Entry")


class PluginError(ValueError):
    """A plug-in that cannot be used; the message names it and says why."""


class Registry(Mapping[str, Entry], Generic[Entry]):
    """Entries of one `kind` (a word for messages) by name; iterating finds plug-ins first.

    Raises `PluginError` for a plug-in that fails when it is imported, and for a name that is given
    twice; ValueError, with the nearest names, for an unknown name.
    """

    def __init__(self, kind: str, own: Mapping[str, Entry]):
        self.kind, self.group = kind, f"workbench.{kind.replace(' ', '_')}s"
        self.type = type(next(iter(own.values())))
        self._entries, self._found = dict(own), False

    def register(self, name: str, entry: Entry) -> Entry:
        """Adds `entry`, which it returns, under a name that is not taken."""
        if not isinstance(entry, self.type):
            wanted = f"a {self.kind} is a {self.type.__module__}.{self.type.__qualname__}"
            raise PluginError(f"the {self.kind} {name!r} is {type(entry).__name__}: {wanted}")
        if self._entries.setdefault(name, entry) is not entry:
            raise PluginError(f"there is a {self.kind} {name!r} already: choose another name")
        return entry

    def __getitem__(self, name: str) -> Entry:
        if name not in self._entries:
            self._find()
        if name not in self._entries:
            near = difflib.get_close_matches(name, self._entries, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(self)}"
            raise ValueError(f"there is no {self.kind} {name!r}; {hint}")
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        if name not in self._entries:
            self._find()
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        self._find()
        return iter(self._entries)

    def __len__(self) -> int:
        self._find()
        return len(self._entries)

    def _find(self) -> None:
        """Imports every plug-in, once."""
        if self._found:
            return
        self._found = True  # also where one fails: it is told once, and the others are usable
        import_plugins()
        for point in importlib.metadata.entry_points(group=self.group):
            where = f"entry point {point.name!r} of {point.dist.name if point.dist else 'nobody'}"
            try:
                entry = point.load()
            except Exception as error:  # whatever a plug-in raises
                raise PluginError(f"the {where} cannot be imported: {_text(error)}") from error
            try:
                self.register(point.name, entry)
            except PluginError as error:
                raise PluginError(f"the {where}: {error}") from None


def import_plugins() -> None:
    """Imports the files and modules that WORKBENCH_PLUGINS names, each once.

    Raises `PluginError`, naming it, for one that fails.
    """
    for name in filter(None, os.environ.get(PLUGINS, "").split(os.pathsep)):
        try:
            _import(name)
        except Exception as error:  # whatever a plug-in raises
            raise PluginError(f"the plug-in {name} ({PLUGINS}) fails: {_text(error)}") from error


def _import(name: str) -> None:
    path = Path(name)
    if path.suffix != ".py":
        importlib.import_module(name)
        return
    module = f"workbench_plugin_{path.stem}"
    if module in sys.modules and sys.modules[module].__file__ == str(path.resolve()):
        return
    spec = importlib.util.spec_from_file_location(module, path.resolve())
    if spec is None or spec.loader is None:
        raise ImportError(f"{name} is no Python file")
    sys.modules[module] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(sys.modules[module])
    except BaseException:
        del sys.modules[module]
        raise


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
