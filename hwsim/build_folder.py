"""The manifest of a build folder: all that is needed to drive the design without its Graph."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from hwsim.errors import HwsimError

FILE = "manifest.json"
SCHEMA = 1

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StreamPort:
    """One AXI4-Stream port: `<prefix>_tdata`, `_tvalid`, `_tready`, `_tlast`.

    `shape` is one sample as streamed: row-major, channels innermost, `lanes` codes a beat, lane 0
    lowest, each code extended from `bits` to `lane_bits` bits; `last` is set on the final beat.
    """

    name: str
    prefix: str
    shape: tuple[int, ...]
    bits: int
    signed: bool
    lanes: int
    lane_bits: int

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


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a simulator needs of `manifest.json`; paths are absolute, the Verilog in order.

    `interval` and `latency` are the plan's cycles from one inference to the next, and for one at
    most; None where the folder does not say.
    """

    folder: Path
    top: str
    sources: tuple[Path, ...]
    memories: tuple[Path, ...]
    readable: tuple[Path, ...]
    readable_memories: tuple[Path, ...]
    clock: str
    reset: str
    inputs: tuple[StreamPort, ...]
    outputs: tuple[StreamPort, ...]
    interval: int | None = None
    latency: int | None = None

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read `manifest.json` of a build folder.

        Raises HwsimError, naming the file and the entry, where the folder is none that a build
        wrote, an entry is missing or of the wrong kind, or a listed file is not there.
        """
        folder = Path(folder).absolute()
        if folder.exists() and not folder.is_dir():
            raise HwsimError(
                f"a build must be a folder that `hwsim build` wrote, not the file {str(folder)!r}"
            )
        path = folder / FILE
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise HwsimError(
                f"the folder {str(folder)!r} must be one that `hwsim build` wrote, not one without"
                f" {FILE}"
            ) from None
        except (OSError, ValueError) as error:
            raise HwsimError(f"{str(path)!r} must be a readable JSON file: {error}") from None
        entry = _Entry(path, "", content)
        if entry.of("schema", int) != SCHEMA:
            raise HwsimError(f"{path}: schema must be {SCHEMA}, not {content['schema']!r}")
        return cls(
            folder=folder,
            top=entry.of("top", str),
            sources=entry.files("sources"),
            memories=entry.files("memories"),
            readable=entry.files("sources_readable", optional=True),
            readable_memories=entry.files("memories_readable", optional=True),
            clock=entry.of("clock", str),
            reset=entry.of("reset", str),
            inputs=tuple(_port(item) for item in entry.items("inputs")),
            outputs=tuple(_port(item) for item in entry.items("outputs")),
            **_cycles(entry),
        )


@dataclass(frozen=True, slots=True)
class _Entry:
    """A JSON object in the manifest, which knows its place for the sake of error texts."""

    path: Path
    place: str
    content: Any

    def of(self, key: str, kind: type[T]) -> T:
        value = self.content.get(key) if isinstance(self.content, Mapping) else None
        # bool is an int to Python, but no number of bits.
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise HwsimError(
                f"{self.path}: {self.place}{key} must be a JSON {_JSON[kind]}, not {value!r}"
            )
        return value

    def items(self, key: str) -> list[_Entry]:
        values = self.of(key, list)
        if not values:
            raise HwsimError(f"{self.path}: {key} must be a list of at least one port, not []")
        return [_Entry(self.path, f"{key}[{n}].", item) for n, item in enumerate(values)]

    def files(self, key: str, *, optional: bool = False) -> tuple[Path, ...]:
        if optional and key not in self.content:
            return ()
        paths = []
        for name in self.of(key, list):
            path = self.path.parent / name if isinstance(name, str) else None
            if path is None or not path.is_file():
                raise HwsimError(f"{self.path}: {key} must be a list of files there, not {name!r}")
            paths.append(path)
        return tuple(paths)


def _cycles(entry: _Entry) -> dict[str, int]:
    """The plan's cycles, where the folder has them."""
    if "cycles" not in entry.content:
        return {}
    inner = _Entry(entry.path, "cycles.", entry.content["cycles"])
    found = {key: inner.of(key, int) for key in ("interval", "latency")}
    for key, value in found.items():
        if value < 1:
            raise HwsimError(f"{entry.path}: cycles.{key} must be at least 1, not {value}")
    return found


_JSON = {int: "integer", str: "string", bool: "boolean", list: "list"}


def _port(entry: _Entry) -> StreamPort:
    shape = entry.of("shape", list)
    port = StreamPort(
        name=entry.of("name", str),
        prefix=entry.of("prefix", str),
        shape=tuple(shape),
        bits=entry.of("bits", int),
        signed=entry.of("signed", bool),
        lanes=entry.of("lanes", int),
        lane_bits=entry.of("lane_bits", int),
    )
    where = f"{entry.path}: {entry.place}"
    if not all(isinstance(size, int) and size > 0 for size in shape):
        raise HwsimError(f"{where}shape must be a list of positive integers, not {shape!r}")
    if not 1 <= port.bits <= 64:
        raise HwsimError(f"{where}bits must be 1 to 64, not {port.bits}")
    if port.lane_bits < port.bits or port.lane_bits % 8:
        raise HwsimError(
            f"{where}lane_bits must be whole bytes that hold {port.bits} bits, not {port.lane_bits}"
        )
    if port.lanes < 1 or port.codes % port.lanes:
        raise HwsimError(
            f"{where}lanes must divide the {port.codes} codes of a sample, not {port.lanes}"
        )
    return port
