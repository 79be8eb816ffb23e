"""Rooms and libraries that an installation may lack: imported when used, or a sentence."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hwsim.errors import HwsimError

HOME = Path(__file__).resolve().parent.parent
"""Where `hwsim`, `rtl` and `gpu` lie side by side."""


def hardware(module: str) -> Any:
    """A module of `rtl` or `gpu`, such as `rtl.build`.

    Raises HwsimError where a library is missing, with the extra to install, and where Python finds
    another package of that name first, such as a project's own folder of Verilog.
    """
    package = module.partition(".")[0]
    _expect_own(package)
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in ("", "hwsim", "rtl", "gpu"):
            raise
        raise _missing(missing, package) from None


def library(name: str, install: str, what: str) -> Any:
    """A library that only `what` needs; HwsimError says what pip is to install."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != name.partition(".")[0]:
            raise
        raise HwsimError(
            f"{what} needs {name.partition('.')[0]}, which must be installed "
            f"(pip install {install}), not missing"
        ) from None


def expect_libraries(*names: str, extra: str, what: str) -> None:
    """Raise HwsimError for the first library that is not there; none is loaded for that."""
    for name in names:
        if find_spec(name) is None:
            raise HwsimError(
                f"{what} needs {name}, which must be installed "
                f'(pip install "hwsim[{extra}]"), not missing'
            )


def _missing(name: str, extra: str) -> HwsimError:
    return HwsimError(f'{name} must be installed (pip install "hwsim[{extra}]"), not missing')


def _expect_own(package: str) -> None:
    """Raise HwsimError where `import package` would find a namesake; nothing of it is run."""
    spec = find_spec(package)
    if spec is None:
        return
    places = [Path(place).resolve() for place in spec.submodule_search_locations or ()]
    found = places[0] if places else Path(spec.origin or package)
    if found != HOME / package:
        raise HwsimError(
            f"the package {package} must be hwsim's own, not {str(found)!r}, which Python finds "
            "first; call `hwsim` instead of `python -m hwsim`, or start Python in another folder"
        )
