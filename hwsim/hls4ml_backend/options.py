"""Options of conversion and of `build`: those of hls4ml's Vitis backend, and hwsim's own."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from hwsim import defaults
from hwsim.errors import HwsimError

IO_TYPES = ("io_parallel", "io_stream")


def refuse_unknown(what: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise HwsimError for the first name that is not known, with the nearest that is."""
    names = sorted(known)
    for name in given:
        if name not in names:
            raise HwsimError(f"{what} must be one of {', '.join(names)}, {nearest(name, names)}")


def nearest(name: str, names: Iterable[str]) -> str:
    """`not 'targte' (did you mean target?)`, the second half only where some name is near."""
    found = _nearest(name, names)
    return f"not {name!r}" + (f" (did you mean {found}?)" if found else "")


def is_near(name: str, names: Iterable[str]) -> bool:
    """Whether some name is so near that `nearest` names it."""
    return _nearest(name, names) is not None


def _nearest(name: str, names: Iterable[str]) -> str | None:
    by_lower = {known.lower(): known for known in names}
    found = difflib.get_close_matches(str(name).lower(), by_lower, n=1, cutoff=0.5)
    return by_lower[found[0]] if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertOptions:
    """What `convert_from_…_model(…, backend="hwsim", …)` takes beyond hls4ml's own arguments.

    `target` and `clock` are what `build` uses unless told otherwise; `clock_period` is in
    nanoseconds, as for Vitis. The others name files and settings of a vendor's compiler: they are
    taken so that a call written for Vitis works, kept in the configuration, and change nothing.
    """

    target: str = defaults.TARGET
    clock: str | None = None
    part: str | None = None
    board: str | None = None
    clock_period: float | None = None
    clock_uncertainty: str | None = None
    io_type: str | None = "io_parallel"
    namespace: str | None = None
    write_weights_txt: bool = True
    write_tar: bool = False
    write_emulation_constants: bool = False
    tb_output_stream: str = "both"

    def __post_init__(self) -> None:
        if self.io_type is not None and self.io_type not in IO_TYPES:
            raise HwsimError(
                f"io_type must be {' or '.join(IO_TYPES)}, {nearest(self.io_type, IO_TYPES)}"
            )
        if self.clock is not None and self.clock_period is not None:
            raise HwsimError("clock and clock_period must not both be given")
        self.request_clock()

    def request_clock(self) -> str | None:
        """The clock as text, where one was given."""
        if self.clock is not None:
            return str(self.clock)
        if self.clock_period is None:
            return None
        if not isinstance(self.clock_period, (int, float)) or not self.clock_period > 0:
            raise HwsimError(
                f"clock_period must be a number of nanoseconds above 0, not {self.clock_period!r}"
            )
        return f"{self.clock_period:g}ns"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """What `hls_model.build(…)` takes.

    `target`, `clock`, `fps`, `max_dsp`, `pins` and `rtl_only` are those of `hwsim build`. The rest
    are Vitis's names: `vsynth=False` stops at the Verilog as `rtl_only` does, `cosim` or
    `validation` compares the design in Verilator with the emulator on `samples` random inputs.
    `csim` (the emulator needs no build), `reset` (the folder is always replaced whole) and
    `fifo_opt` (depths are always proven) have nothing to do; `synth=False` and `export=True` are
    refused.
    """

    target: str | None = None
    clock: str | None = None
    output_dir: str | Path | None = None
    fps: float | None = None
    max_dsp: int | None = None
    pins: str | Path | None = None
    rtl_only: bool = False
    samples: int = 64
    reset: bool = False
    csim: bool = True
    synth: bool = True
    cosim: bool = False
    validation: bool = False
    export: bool = False
    vsynth: bool = True
    fifo_opt: bool = False
    log_to_stdout: bool = True

    def __post_init__(self) -> None:
        if not self.synth:
            raise HwsimError("synth must be True: without it there is nothing to build")
        if self.export:
            raise HwsimError("export must be False: hwsim packs no vendor's IP; it writes Verilog")

    @property
    def simulate(self) -> bool:
        """Whether the design is to be compared in Verilator."""
        return self.cosim or self.validation


def convert_options(given: Mapping[str, Any]) -> ConvertOptions:
    """The options of a conversion; HwsimError names one that is not known, and the nearest."""
    refuse_unknown("an option of the conversion", given, names(ConvertOptions))
    return ConvertOptions(**given)


def build_options(given: Mapping[str, Any]) -> BuildOptions:
    """The options of a build; HwsimError names one that is not known, and the nearest."""
    refuse_unknown("an option of build", given, names(BuildOptions))
    return BuildOptions(**given)


def names(kind: type[Any]) -> list[str]:
    """The names of a dataclass's fields."""
    return [field.name for field in fields(kind)]
