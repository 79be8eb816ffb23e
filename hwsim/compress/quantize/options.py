"""What is asked of a linear quantization: bits of all and of some layers, scheme and method."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from hwsim.compress.calibration import Calibration, Form
from hwsim.compress.quantize.places import Quantizable
from hwsim.errors import HwsimError

MOST = 16
SCHEMES = {
    "power-of-two": Form.POWER_OF_TWO,
    "symmetric": Form.SYMMETRIC,
    "affine": Form.AFFINE,
}
"""Scales that are shifts; any scales; any scales and, of activations, zero points."""
ROUNDINGS = ("nearest", "feedback", "adaptive")
"""Of weights to codes: each alone; with error feedback (GPTQ); by gradients (AdaRound)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Widths:
    """Bits of weights, of activations and of the model's inputs."""

    weights: int = 8
    activations: int = 8
    inputs: int = 8

    @classmethod
    def parse(cls, text: str) -> Widths:
        """Read `w4a8`."""
        match = re.fullmatch(r"w(\d{1,2})a(\d{1,2})", text)
        if match is None or not all(_known(part) for part in match.groups()):
            raise HwsimError(f"bits must be like w4a8, from 1 to {MOST} each, not {text!r}")
        return cls(weights=int(match[1]), activations=int(match[2]))


@dataclass(frozen=True, slots=True)
class Some:
    """Bits that a part of the layers has in the place of the others'; None leaves them."""

    weights: int | None
    activations: int | None

    @classmethod
    def parse(cls, text: str) -> Some:
        """Read `w4a8`, `w4` or `a8`."""
        match = re.fullmatch(r"(?:w(\d{1,2}))?(?:a(\d{1,2}))?", text)
        if not text or match is None or not all(p is None or _known(p) for p in match.groups()):
            raise HwsimError(
                f"bits of a layer must be like w4a8, w4 or a8, from 1 to {MOST} each, not {text!r}"
            )
        return cls(*(None if part is None else int(part) for part in match.groups()))


def _known(bits: str) -> bool:
    return 1 <= int(bits) <= MOST


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearScheme:
    """A linear quantization.

    `layers` are bits by a pattern of names (`conv*`), the last that fits counts: a layer's weights,
    and the activations that the layer gives; an input's or another node's name is one of
    activations. `ends` are bits of the weights of the first and last layers, and of what these
    read. With `per_channel` weights have a scale a channel, otherwise one a layer.
    `equalize` brings the channels between two layers to ranges alike first, `correct_bias` takes
    the mean error of the rounded weights off the biases, `rounding` is one of `ROUNDINGS`: each
    weight to the nearest code, or so that its layer's sums come nearest to the float ones. `exact`
    sums of the Graph are whole numbers of any size, others as QONNX's executor rounds them.
    """

    widths: Widths = Widths()
    layers: tuple[tuple[str, Some], ...] = ()
    ends: Some | None = None
    scheme: str = "power-of-two"
    method: str = "mse"
    per_channel: bool = True
    equalize: bool = False
    correct_bias: bool = False
    rounding: str = "nearest"
    exact: bool = True

    def __post_init__(self) -> None:
        if self.rounding not in ROUNDINGS:
            told = f"rounding must be one of {', '.join(ROUNDINGS)}, not {self.rounding!r}"
            raise HwsimError(told)
        if self.scheme not in SCHEMES:
            raise HwsimError(f"scheme must be one of {', '.join(SCHEMES)}, not {self.scheme!r}")
        Calibration.parse(self.method)

    @property
    def form(self) -> Form:
        """How codes stand for reals."""
        return SCHEMES[self.scheme]

    @property
    def calibration(self) -> Calibration:
        """How ranges are chosen."""
        return Calibration.parse(self.method)

    @classmethod
    def parse(
        cls,
        bits: str,
        layers: Mapping[str, str],
        *,
        ends: str | None = None,
        scheme: str = "power-of-two",
        method: str = "mse",
        per_channel: bool = True,
        equalize: bool = False,
        correct_bias: bool = False,
        rounding: str = "nearest",
        exact: bool = True,
    ) -> LinearScheme:
        """From texts; HwsimError says which is none."""
        return cls(
            widths=Widths.parse(bits),
            layers=tuple((name, Some.parse(text)) for name, text in layers.items()),
            ends=None if ends is None else Some.parse(ends),
            scheme=scheme,
            method=method,
            per_channel=per_channel,
            equalize=equalize,
            correct_bias=correct_bias,
            rounding=rounding,
            exact=exact,
        )

    @property
    def all_bytes(self) -> bool:
        """Whether everything has 8 bits."""
        return self.widths == Widths() and not self.layers and self.ends in (None, Some(8, 8))

    def bits(self, found: Quantizable, inputs: Sequence[str]) -> tuple[Bits, Bits]:
        """Bits by layer, and by tensor; HwsimError for a pattern that no name fits."""
        weights = {layer.name: self.widths.weights for layer in found.layers}
        tensors = {
            tensor: self.widths.inputs if tensor in inputs else self.widths.activations
            for tensor in found.tensors
        }
        if self.ends is not None:
            _set(weights, (layer.name for layer in found.ends), self.ends.weights)
            _set(tensors, (t for layer in found.ends for t in layer.reads), self.ends.activations)
        for pattern, some in self.layers:
            named = [name for name in weights if fnmatchcase(name, pattern)]
            given = [
                tensor
                for tensor, names in found.names.items()
                if any(fnmatchcase(name, pattern) for name in names)
            ]
            if not named and not given:
                known = dict.fromkeys((*inputs, *weights))
                raise HwsimError(
                    f"a layer must be one of {', '.join(known)}, not {pattern!r}, which fits none"
                )
            _set(weights, named, some.weights)
            _set(tensors, given, some.activations)
        return weights, tensors


Bits = dict[str, int]


def _set(bits: Bits, names: Iterable[str], value: int | None) -> None:
    if value is not None:
        bits.update(dict.fromkeys(names, value))
