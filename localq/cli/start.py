"""numpy when it is needed: verbs that mostly read headers start without it."""

from __future__ import annotations

import importlib.util
import sys
import types


class _OnFirstUse(types.ModuleType):
    """A module whose code runs when one of its names is looked up.

    `importlib.util.LazyLoader` means the same, but before Python 3.14 the next `import` of the module already runs it.
    """

    def __getattr__(self, name: str) -> object:
        self.__class__ = types.ModuleType  # type: ignore[assignment]
        spec = self.__spec__
        assert spec is not None and spec.loader is not None and spec.submodule_search_locations is not None
        self.__path__ = spec.submodule_search_locations
        spec.loader.exec_module(self)
        return getattr(self, name)


def import_numpy_on_first_use() -> None:
    """Make `import numpy` and `import ml_dtypes` free until a name of theirs is used; before any other thread runs."""
    for name in ("numpy", "ml_dtypes"):
        spec = None if name in sys.modules else importlib.util.find_spec(name)
        if spec is not None:
            module = importlib.util.module_from_spec(spec)
            module.__class__ = _OnFirstUse
            del module.__path__  # looked up by imports of submodules, which need the package first
            sys.modules[name] = module
