"""Named things that others may add to: methods, metrics and teacher families.

    own entries       given at the definition, under the package's own names
    registration      `METHODS.register("mine", ...)`, in any file that is imported
    a file            named in WORKBENCH_PLUGINS (files or modules, separated as in PATH), which
                      registers its entries when it is imported
    an entry point    of an installed package, in the registry's `group`: its value is the entry

Plug-ins are imported when a name is unknown, or when all names are needed; a run that needs none
never imports one.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Generic, NoReturn, TypeVar

PLUGINS = "WORKBENCH_PLUGINS"
Entry = TypeVar("Entry")


class PluginError(ValueError):
    """A plug-in that cannot be used; the message names it and says why."""


class Registry(Mapping[str, Entry], Generic[Entry]):
    """Entries of one `kind` (a word for messages) by name; iterating imports plug-ins first.

    Raises `PluginError` for an entry of the wrong type, for a name that is taken, and, naming it,
    for a plug-in that failed: once when iterating, and for every unknown name, which may be its
    own. Raises ValueError, with the nearest names, for other unknown names.
    """

    def __init__(self, kind: str, own: Mapping[str, Entry]):
        plural = f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s"
        self.kind, self.group = kind, f"workbench.{plural.replace(' ', '_')}"
        self.type = type(next(iter(own.values())))
        self._entries, self._found = dict(own), False
        self._failures: list[PluginError] = []
        self._reported = False

    def register(self, name: str, entry: Entry) -> Entry:
        """Adds `entry`, which it returns, under a name that is not taken."""
        if not isinstance(entry, self.type):
            wanted = f"a {self.kind} is a {self.type.__module__}.{self.type.__qualname__}"
            raise PluginError(f"the {self.kind} {name!r} is {type(entry).__name__}: {wanted}")
        if self._entries.setdefault(name, entry) is not entry:
            raise PluginError(f"there is a {self.kind} {name!r} already: choose another name")
        return entry

    def __getitem__(self, name: str) -> Entry:
        if name not in self:
            near = difflib.get_close_matches(name, self._entries, n=3)
            known = ", ".join(self._entries)
            hint = f"did you mean {' or '.join(near)}?" if near else f"known: {known}"
            raise ValueError(f"there is no {self.kind} {name!r}; {hint}")
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        if name not in self._entries:
            self._find()
        if name not in self._entries and self._failures:
            self._report(f"there is no {self.kind} {name!r}, and ")
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        self._find()
        if self._failures and not self._reported:
            self._report()
        return iter(self._entries)

    def __len__(self) -> int:
        return len(list(iter(self)))

    def _find(self) -> None:
        """Imports every plug-in, once; one that fails leaves the others usable."""
        if self._found:
            return
        self._found = True
        import importlib.metadata  # 30 ms, which no known name needs

        self._failures = import_plugins()
        for point in importlib.metadata.entry_points(group=self.group):
            where = f"entry point {point.name!r} of {point.dist.name if point.dist else 'nobody'}"
            try:
                self.register(point.name, point.load())
            except (Exception, SystemExit) as error:  # whatever a plug-in raises
                self._failures.append(_failure(where, error))

    def _report(self, before: str = "") -> NoReturn:
        self._reported = True
        message = before + "; ".join(map(str, self._failures))
        raise PluginError(message) from self._failures[0].__cause__


def import_plugins() -> list[PluginError]:
    """Imports the files and modules that WORKBENCH_PLUGINS names, each once; returns an error,
    naming it, for each that failed.
    """
    names = [name for name in os.environ.get(PLUGINS, "").split(os.pathsep) if name]
    for name in names:
        if name in _imported:
            continue
        _imported[name] = None  # first: a plug-in may itself look into a registry
        try:
            _import(name)
        except (Exception, SystemExit) as error:  # whatever a plug-in raises
            _imported[name] = _failure(f"plug-in {name} ({PLUGINS})", error)
    return [error for name in names if (error := _imported[name])]


_imported: dict[str, PluginError | None] = {}


def _failure(where: str, error: BaseException) -> PluginError:
    kind = "" if isinstance(error, PluginError) else type(error).__name__
    text = ": ".join(filter(None, [kind, str(error)]))
    failure = PluginError(f"the {where} failed: {text}")
    failure.__cause__ = error
    return failure


def _import(name: str) -> None:
    path = Path(name)
    if path.suffix != ".py":
        importlib.import_module(name)
        return
    module = f"workbench_plugin_{path.stem}"
    spec = importlib.util.spec_from_file_location(module, path.resolve())
    if spec is None or spec.loader is None:
        raise ImportError(f"{name} is not a Python file")
    sys.modules[module] = importlib.util.module_from_spec(spec)  # dataclasses look themselves up
    try:
        spec.loader.exec_module(sys.modules[module])
    except BaseException:
        del sys.modules[module]
        raise
