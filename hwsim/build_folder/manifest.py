"""`manifest.json`: all that is needed to drive the design without its Graph."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hwsim.build_folder.entries import (
    NOT_WRITTEN,
    OPTIONAL,
    WrongEntry,
    decode,
    plain,
    read_json,
    write_json,
)
from hwsim.build_folder.names import MANIFEST
from hwsim.errors import HwsimError

SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RealStep:
    """One operation on reals `x` in float32: `add`, `sub`, `sub_from` (constant - x), `mul`, `div`,
    `max` or `min`, with constants of a shape that broadcasts over the user's array without the
    batch; `softmax` or `log_softmax` along `axes` of that array; or `sigmoid` or `tanh`.
    """

    op: str
    values: tuple[float, ...] = field(default=(), metadata=OPTIONAL)
    shape: tuple[int, ...] = ()
    axes: tuple[int, ...] = field(default=(), metadata=OPTIONAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamPort:
    """One AXI4-Stream port: `<prefix>_tdata`, `_tvalid`, `_tready`, `_tlast`.

    `shape` is one sample as streamed: row-major, channels innermost, `lanes` codes a beat, lane 0
    lowest, each code extended from `bits` to `lane_bits` bits; `last` is set on the final beat.
    A code stands for `(code - zero_point) * scale`, with one scale or one a channel. `element` is
    the model's own type, and `reals`, where an output has them, are what its codes stand for.
    `steps` are what the model computes of reals: of an input before they are quantized, of an
    output after that.
    """

    name: str
    prefix: str
    shape: tuple[int, ...]
    bits: int
    signed: bool
    lanes: int
    lane_bits: int
    element: str = "real"
    scale: tuple[float, ...] = (1.0,)
    zero_point: int = 0
    reals: tuple[float, ...] | None = field(default=None, metadata=OPTIONAL)
    steps: tuple[RealStep, ...] = field(default=(), metadata=OPTIONAL)

    @property
    def codes(self) -> int:
        """Codes in one sample."""
        return math.prod(self.shape)

    @property
    def beats(self) -> int:
        """Beats in one sample."""
        return self.codes // self.lanes

    @property
    def tdata_bits(self) -> int:
        """Width of `tdata`."""
        return self.lanes * self.lane_bits

    @property
    def limits(self) -> tuple[int, int]:
        """The least and the greatest code."""
        if self.signed:
            return -(1 << (self.bits - 1)), (1 << (self.bits - 1)) - 1
        return 0, (1 << self.bits) - 1

    def faults(self) -> Iterator[str]:
        """What no port can be, entry by entry."""
        if not all(size > 0 for size in self.shape):
            yield f"shape must be a list of positive integers, not {list(self.shape)!r}"
        elif not 1 <= self.bits <= 64:
            yield f"bits must be 1 to 64, not {self.bits}"
        elif self.lane_bits < self.bits or self.lane_bits % 8:
            yield (
                f"lane_bits must be whole bytes that hold {self.bits} bits, not {self.lane_bits}"
            )
        elif self.lanes < 1 or self.codes % self.lanes:
            yield f"lanes must divide the {self.codes} codes of a sample, not {self.lanes}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cycles:
    """The plan's cycles from one inference to the next, and within which one is through."""

    interval: int
    latency: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Hashes:
    """Of the Graph that was built, and of its plan."""

    graph: str
    plan: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What `manifest.json` holds; paths lie in `folder`, the Verilog in order.

    `cycles` are None where the folder does not say, as are `model` (the file of the Graph) and
    `hashes`.
    """

    schema: int = SCHEMA
    top: str
    sources: tuple[Path, ...]
    memories: tuple[Path, ...]
    sources_readable: tuple[Path, ...] = ()
    memories_readable: tuple[Path, ...] = ()
    clock: str
    reset: str
    cycles: Cycles | None = field(default=None, metadata=OPTIONAL)
    inputs: tuple[StreamPort, ...]
    outputs: tuple[StreamPort, ...]
    model: Path | None = field(default=None, metadata=OPTIONAL)
    hashes: Hashes | None = field(default=None, metadata=OPTIONAL)
    folder: Path = field(default=Path(), metadata=NOT_WRITTEN)

    @property
    def interval(self) -> int | None:
        """The plan's cycles from one inference to the next, where they are known."""
        return None if self.cycles is None else self.cycles.interval

    @property
    def latency(self) -> int | None:
        """The plan's cycles within which one inference is through, where they are known."""
        return None if self.cycles is None else self.cycles.latency

    @property
    def graph_file(self) -> Path:
        """The file of the Graph; HwsimError where the folder has none."""
        if self.model is None or not self.model.is_file():
            name = None if self.model is None else self.model.name
            raise HwsimError(
                f"{self.folder / MANIFEST}: model must name a file of the folder, not {name!r}"
            )
        return self.model

    @property
    def readable(self) -> Path | None:
        """The Verilog that has the names of nodes and edges, where there is one."""
        return next(iter(self.sources_readable), None)

    def write(self) -> None:
        """Write the folder's `manifest.json`."""
        write_json(self.folder / MANIFEST, plain(self._moved(self.folder, inward=False)))

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read `manifest.json` of a build folder; the files that it names need not be there.

        Raises HwsimError, naming the file and the entry, where the folder is none that a build
        wrote, its schema is another or an entry is missing or of the wrong kind.
        """
        folder = Path(folder).absolute()
        path = folder / MANIFEST
        content = read_json(path)
        if content.get("schema") != SCHEMA:
            raise HwsimError(f"{path}: schema must be {SCHEMA}, not {content.get('schema')!r}")
        try:
            found = decode(cls, content)
            found.check()
        except WrongEntry as error:
            raise HwsimError(f"{path}: {error}") from None
        return replace(found, folder=folder)._moved(folder, inward=True)

    def check(self) -> None:
        """Raise WrongEntry where entries of the right kind make no sense."""
        wrong = []
        for key, ports in (("inputs", self.inputs), ("outputs", self.outputs)):
            if not ports:
                wrong.append(f"{key} must be a list of at least one port, not []")
            for n, port in enumerate(ports):
                wrong += [f"{key}[{n}].{fault}" for fault in port.faults()]
        if self.cycles is not None:
            given = (("interval", self.cycles.interval), ("latency", self.cycles.latency))
            wrong += [f"cycles.{key} must be at least 1, not {n}" for key, n in given if n < 1]
        if self.model is not None and len(self.model.parts) != 1:
            wrong.append(f"model must name a file of the folder, not {str(self.model)!r}")
        if wrong:
            raise WrongEntry("; ".join(wrong))

    def check_files(self) -> Manifest:
        """This manifest; HwsimError where a file of the design that it names is not there."""
        for key in _FILES:
            for path in getattr(self, key):
                if not path.is_file():
                    name = str(path.relative_to(self.folder))
                    raise HwsimError(
                        f"{self.folder / MANIFEST}: {key} must be a list of files there, not"
                        f" {name!r}"
                    )
        return self

    def _moved(self, folder: Path, *, inward: bool) -> Manifest:
        """With all paths in the folder (`inward`), or relative to it."""

        def moved(path: Path) -> Path:
            return folder / path if inward else path.relative_to(folder)

        lists: dict[str, Any] = {key: tuple(map(moved, getattr(self, key))) for key in _FILES}
        return replace(self, **lists, model=None if self.model is None else moved(self.model))


_FILES = ("sources", "memories", "sources_readable", "memories_readable")
