"""Named things that others may add to: methods, metrics and teacher families.

    own entries       given at the definition, under the package's own names
    registration      `METHODS.register("mine", ...)`, in any file that is imported
    a file            named in WORKBENCH_PLUGINS (files or modules, separated as in PATH), which
                      registers its entries when it is imported
    an entry point    of an installed package, in the registry's `group`: its value is the entry

Plug-ins are imported when an unknown name is looked up, or when all names are listed; a run that
needs none never imports one. A plug-in that fails never disappears quietly: the others stay usable,
a listing warns, and every look-up of an unknown name repeats which plug-in failed and why.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import importlib.util
import os
import sys
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Generic, TypeVar

PLUGINS = "WORKBENCH_PLUGINS"
Entry = TypeVar("Entry")


class PluginError(ValueError):
    """A plug-in that cannot be used; the message names it and says why."""


class Registry(Mapping[str, Entry], Generic[Entry]):
    """Entries of one `kind` (a word for messages) by name; `spelling` maps every accepted spelling
    of a name to the one that is kept.

    Raises ValueError, with the nearest names, for an unknown name; it is a `PluginError` when a
    plug-in failed, which might have had it. Registering raises `PluginError` for a name that is
    taken and for an entry of another type.
    """

    def __init__(
        self,
        kind: str,
        own: Mapping[str, Entry],
        spelling: Callable[[str], str] = lambda name: name,
    ):
        plural = f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s"
        self.kind, self.group, self.spelling = (
            kind,
            f"workbench.{plural.replace(' ', '_')}",
            spelling,
        )
        self.type = type(next(iter(own.values())))
        self._entries, self._searched = dict(own), False
        self._failures: list[str] = []

    def register(self, name: str, entry: Entry) -> Entry:
        """Adds `entry`, which it returns, under a name that is not taken."""
        name = self.spelling(name)
        if not isinstance(entry, self.type):
            expected = f"a {self.kind} is a {self.type.__module__}.{self.type.__qualname__}"
            raise PluginError(f"the {self.kind} {name!r} is a {type(entry).__name__}; {expected}")
        if self._entries.setdefault(name, entry) is not entry:
            raise PluginError(f"there already is a {self.kind} {name!r}; choose another name")
        return entry

    @property
    def loaded(self) -> tuple[str, ...]:
        """The names so far: the package's own, and those of plug-ins once they were needed."""
        return tuple(self._entries)

    @property
    def failures(self) -> tuple[str, ...]:
        """Which plug-ins failed, and why; each a sentence without its full stop."""
        self._search()
        return tuple(self._failures)

    def __getitem__(self, name: str) -> Entry:
        if name not in self:
            near = difflib.get_close_matches(self.spelling(name), self._entries, n=3)
            known = ", ".join(self._entries)
            hint = f"did you mean {' or '.join(near)}?" if near else f"known: {known}"
            message = "; ".join([f"there is no {self.kind} {name!r}; {hint}", *self._failures])
            raise PluginError(message) if self._failures else ValueError(message)
        return self._entries[self.spelling(name)]

    def __contains__(self, name: object) -> bool:
        key = self.spelling(name) if isinstance(name, str) else name
        if key not in self._entries:
            self._search()
        return key in self._entries

    def __iter__(self) -> Iterator[str]:
        self._search()
        for failure in self._failures:
            warnings.warn(failure, RuntimeWarning, stacklevel=2)
        return iter(tuple(self._entries))

    def __len__(self) -> int:
        self._search()
        return len(self._entries)

    def _search(self) -> None:
        """Imports every plug-in, once; keeps what went wrong."""
        if self._searched:
            return
        self._searched = True
        self._failures += import_plugins()
        for point in importlib.metadata.entry_points(group=self.group):
            where = f"entry point {point.name!r} of {point.dist.name if point.dist else 'nobody'}"
            try:
                self.register(point.name, point.load())
            except PluginError as error:
                self._failures.append(f"the {where} fails: {error}")
            except Exception as error:  # whatever a plug-in raises
                self._failures.append(f"the {where} cannot be imported: {_text(error)}")


_failed: dict[str, str] = {}  # a plug-in that failed half-way would fail otherwise the second time


def import_plugins() -> list[str]:
    """Imports the files and modules that WORKBENCH_PLUGINS names, each once per process.

    Returns:
        For each plug-in that failed, which one it is and why.
    """
    names = list(filter(None, os.environ.get(PLUGINS, "").split(os.pathsep)))
    for name in names:
        try:
            if name not in _failed:
                _import(name)
        except Exception as error:  # whatever a plug-in raises
            _failed[name] = f"the plug-in {name} ({PLUGINS}) fails: {_text(error)}"
    return [_failed[name] for name in names if name in _failed]


def _import(name: str) -> None:
    path = Path(name)
    if path.suffix != ".py":
        importlib.import_module(name)
        return
    path = path.resolve()
    module = f"workbench_plugin_{path.stem}_{zlib.crc32(str(path).encode()):08x}"
    if module in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(module, path)
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
