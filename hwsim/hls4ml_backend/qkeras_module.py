"""The name `qkeras` for hls4ml: QKeras where it is installed, and hwsim's rules where it is not.

HGQ2 installs a package of that name too, two quantizers and layers of its own, whose
`get_quantizer` cannot read what hls4ml hands it. hls4ml's own modules then get hwsim's
`get_quantizer` there, all others HGQ2's. See docs/decisions/qkeras-without-tensorflow.md.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.machinery
import importlib.metadata
import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from hwsim.hls4ml_backend.qkeras_rules import get_quantizer

PACKAGE, QUANTIZERS = "qkeras", "qkeras.quantizers"


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives `qkeras` and `qkeras.quantizers`; `folder` is that of HGQ2's package, if any."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Asked last where no package has these names, and first where HGQ2's has."""
        if name not in (PACKAGE, QUANTIZERS):
            return None
        spec = importlib.machinery.ModuleSpec(name, self, is_package=True)
        if self.folder is not None:  # HGQ2's other modules stay where they are
            spec.submodule_search_locations = [str(self.folder.joinpath(*name.split(".")[1:]))]
        return spec

    def exec_module(self, module: ModuleType) -> None:
        """The one function that hls4ml asks for; all else is HGQ2's, once it is asked for."""
        module.__doc__ = __doc__
        names = vars(module)
        if self.folder is None:
            names["get_quantizer"] = get_quantizer
            return
        path = Path(module.__path__[0]) / "__init__.py"
        theirs = functools.cache(lambda: _run(module.__name__, path))

        def of_hgq2(name: str) -> Any:
            if name.startswith("__") and name != "__all__":
                raise AttributeError(name)
            return getattr(theirs(), name)

        names["__getattr__"] = of_hgq2
        names["get_quantizer"] = _by_caller(lambda: of_hgq2("get_quantizer"))


def _run(name: str, path: Path) -> ModuleType:
    """HGQ2's own module, which `sys.modules` does not hold."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _by_caller(theirs: Callable[[], Callable[[Any], Any]]) -> Callable[[Any], Any]:
    """hwsim's rules for hls4ml, HGQ2's own function for everybody else."""

    def found(identifier: Any) -> Any:
        caller = str(sys._getframe(1).f_globals.get("__name__"))
        ours = caller.partition(".")[0] == "hls4ml"
        return get_quantizer(identifier) if ours else theirs()(identifier)

    found.__name__ = found.__qualname__ = "get_quantizer"
    return found


def _folder_of_hgq2() -> Path | None:
    """Where HGQ2's package `qkeras` lies, if it is the one that an import finds."""
    try:
        path = importlib.metadata.distribution("hgq2").locate_file("qkeras/__init__.py")
    except importlib.metadata.PackageNotFoundError:
        return None
    spec = importlib.machinery.PathFinder.find_spec(PACKAGE)
    found = spec is not None and spec.origin is not None and Path(spec.origin) == Path(str(path))
    return Path(str(path)).parent if found else None


def provide() -> None:
    """Let hls4ml find these rules as `qkeras` where QKeras is not installed."""
    if any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return
    folder = _folder_of_hgq2()
    if folder is None:
        sys.meta_path.append(_Finder(None))
        return
    sys.meta_path.insert(0, _Finder(folder))
    for name in {PACKAGE, QUANTIZERS} & set(sys.modules):  # HGQ2's, imported before hls4ml
        _divide(vars(sys.modules[name]))


def _divide(names: dict[str, Any]) -> None:
    theirs = names["get_quantizer"]
    names["get_quantizer"] = _by_caller(lambda: theirs)
