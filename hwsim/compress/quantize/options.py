"""What is asked of a linear quantization: bits of all and of some layers, scheme and method."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, TypeVar

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
    """Bits that a part of the layers has in the place of the others'; None leaves them.

    Those of weights are one number, or one an output channel.
    """

    weights: int | tuple[int, ...] | None
    activations: int | None

    @classmethod
    def parse(cls, given: str | Sequence[int]) -> Some:
        """Read `w4a8`, `w4` or `a8`, and by channel `w4,3,2` or the numbers 4, 3, 2."""
        text = given if isinstance(given, str) else _listed(given)
        match = re.fullmatch(r"(?:w(\d{1,2}(?:,\d{1,2})*))?(?:a(\d{1,2}))?", text)
        weights, other = (match[1] or "", match[2] or "") if match else ("", "")
        parts = [part for part in (*weights.split(","), other) if part]
        if not parts or not all(map(_known, parts)):
            raise HwsimError(
                f"bits of a layer must be like w4a8, w4 or a8, or by channel w4,3,2, from 1 to "
                f"{MOST} each, not {given!r}"
            )
        each = tuple(int(part) for part in weights.split(",") if part)
        return cls(each[0] if len(each) == 1 else each or None, int(other) if other else None)


def _listed(given: Any) -> str:
    """Numbers as they are written in a text; what are none stay what they are."""
    return "w" + ",".join(map(str, given)) if isinstance(given, Iterable) else ""


@dataclass(frozen=True, slots=True)
class BitSpan:
    """The fewest and the most bits that a channel of weights can have."""

    least: int
    most: int

    @classmethod
    def parse(cls, text: str) -> BitSpan:
        """Read `2-6`."""
        match = re.fullmatch(r"(\d{1,2})-(\d{1,2})", text)
        if match is None or not all(map(_known, match.groups())) or int(match[1]) >= int(match[2]):
            raise HwsimError(
                f"bits by channel must be like 2-6, fewest and most, from 1 to {MOST}, not {text!r}"
            )
        return cls(int(match[1]), int(match[2]))

    @property
    def every(self) -> range:
        """Each number of bits."""
        return range(self.least, self.most + 1)


def _known(bits: str) -> bool:
    return 1 <= int(bits) <= MOST


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearScheme:
    """A linear quantization.

    `layers` are bits by a pattern of names (`conv*`), the last that fits counts: a layer's weights,
    and the activations that the layer gives; an input's or another node's name is one of
    activations. `ends` are bits of the weights of the first and last layers, and of what these
    read. With `channel_bits` these bits of weights are a layer's average, and its channels have
    from the fewest to the most, where they are worth most. With `per_channel` weights have a scale
    a channel, otherwise one a layer. `equalize` brings the channels between two layers to ranges
    alike first, `correct_bias` takes the mean error of the rounded weights off the biases,
    `rounding` is one of `ROUNDINGS`: each weight to the nearest code, or so that its layer's sums
    come nearest to the float ones. `exact` sums of the Graph are whole numbers of any size, others
    as QONNX's executor rounds them.
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
    channel_bits: BitSpan | None = None
    exact: bool = True

    def __post_init__(self) -> None:
        if self.channel_bits is not None:
            self._check_channel_bits()
        if self.rounding not in ROUNDINGS:
            told = f"rounding must be one of {', '.join(ROUNDINGS)}, not {self.rounding!r}"
            raise HwsimError(told)
        if self.scheme not in SCHEMES:
            raise HwsimError(f"scheme must be one of {', '.join(SCHEMES)}, not {self.scheme!r}")
        Calibration.parse(self.method)

    def _check_channel_bits(self) -> None:
        if not self.per_channel:
            raise HwsimError("bits by channel must come with a scale a channel, not one a layer")
        if self.all_bytes and self.scheme != "power-of-two":
            raise HwsimError(
                f"bits by channel must be those of a QONNX file, not of w8a8 with {self.scheme} "
                "scales, which is a QDQ file of 8 bits; scales that are powers of two will do"
            )

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
        layers: Mapping[str, str | Sequence[int]],
        *,
        ends: str | None = None,
        scheme: str = "power-of-two",
        method: str = "mse",
        per_channel: bool = True,
        equalize: bool = False,
        correct_bias: bool = False,
        rounding: str = "nearest",
        channel_bits: str | None = None,
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
            channel_bits=None if channel_bits is None else BitSpan.parse(channel_bits),
            exact=exact,
        )

    @property
    def all_bytes(self) -> bool:
        """Whether everything has 8 bits."""
        return self.widths == Widths() and not self.layers and self.ends in (None, Some(8, 8))

    def bits(self, found: Quantizable, inputs: Sequence[str]) -> tuple[LayerBits, Bits]:
        """Bits by layer, and by tensor; HwsimError for a pattern that no name fits."""
        weights: LayerBits = {layer.name: self.widths.weights for layer in found.layers}
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
LayerBits = dict[str, int | tuple[int, ...]]
Each = TypeVar("Each")


def _set(bits: dict[str, Each], names: Iterable[str], value: Each | None) -> None:
    if value is not None:
        bits.update(dict.fromkeys(names, value))
