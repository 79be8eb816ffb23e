"""QKeras's quantizers as formulas, for hls4ml's converters where QKeras itself is not installed.

QKeras 0.9 needs TensorFlow 2.14, and that a NumPy below 2, so that it cannot stand beside hwsim.
What hls4ml 1.3 asks of it when it reads a Keras 2 model are the quantizers' settings, and weights
that have been quantized; `get_quantizer` gives both, as QKeras 0.9.0 `quantizers.py` computes them
at inference, in float32. See docs/decisions/qkeras-without-tensorflow.md.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError

Floats = npt.NDArray[np.float32]
Settings = Mapping[str, Any]
F32 = np.float32
SMALLEST = F32(1e-7)  # Keras's epsilon, the least magnitude that has an exponent of its own
NEAR = 2e-6  # of a tie between two exponents, where the last bits of a logarithm would decide
TERNARY_THRESHOLD = 0.33


class Quantized(np.ndarray[Any, np.dtype[np.float32]]):
    """An array that hls4ml can ask for its numbers as if it were a tensor."""

    def numpy(self) -> Floats:
        """The numbers."""
        return np.asarray(self)


@dataclass(frozen=True, slots=True)
class Kind:
    """One of QKeras's classes: its arguments in order with their defaults, and what it computes.

    `run` is None for the quantizers of activations, of which only the settings are asked.
    """

    defaults: Settings
    run: Callable[[Settings, Floats], Floats] | None = None


def _straight(x: Floats, quantized: Floats) -> Floats:
    """QKeras gives `x + (quantized - x)`, for the sake of gradients: rounded twice in float32."""
    return x + (-x + quantized)


def _factor(name: str, settings: Settings) -> np.float32:
    """The scale that is given; HwsimError where it would be found from the weights."""
    alpha = settings["alpha"]
    if isinstance(alpha, str):
        raise HwsimError(
            f"the alpha of {name} must be a number here, not {alpha!r}, which TensorFlow finds "
            "from the weights: convert the model where QKeras is installed"
        )
    return F32(1 if alpha is None else alpha)


def _bits(settings: Settings, x: Floats) -> Floats:
    """`quantized_bits`: to nearest even, saturated; of one bit the sign."""
    scale, integer = _factor("quantized_bits", settings), F32(2.0 ** settings["integer"])
    signed = bool(settings["keep_negative"])
    bits = settings["bits"] - signed
    if bits > 0:
        steps = F32(2.0**bits)
        rounded = _straight(p := x * steps / integer, np.rint(p))
        low = (-steps + F32(settings["symmetric"])) * F32(signed)
        quantized = integer * np.clip(rounded, low, steps - F32(1)) / steps
    else:
        quantized = np.where(x < 0, F32(-1), F32(1))
        quantized = quantized if signed else (quantized + F32(1)) / F32(2)
    return _straight(x, scale * quantized)


def _binary(settings: Settings, x: Floats) -> Floats:
    """`binary`: the sign, of zero 1; without an alpha around the hyperbolic tangent."""
    scale = _factor("binary", settings)
    sign = np.where(x < 0, F32(-1), F32(1))
    if settings["use_01"]:
        sign = (sign + F32(1)) / F32(2)
    return _straight(np.tanh(x) if settings["alpha"] is None else x, scale * sign)


def _ternary(settings: Settings, x: Floats) -> Floats:
    """`ternary`: the sign of what reaches a threshold."""
    scale, threshold = _factor("ternary", settings), settings["threshold"]
    least = F32(TERNARY_THRESHOLD if threshold is None else threshold)
    sign = np.where(np.abs(x) >= least, np.sign(x), F32(0))
    return _straight(np.tanh(x) if settings["alpha"] is None else x, scale * sign)


def _power(settings: Settings, x: Floats) -> Floats:
    """`quantized_po2`: the nearest power of two by its logarithm, with the sign."""
    if settings["quadratic_approximation"] or settings["log2_rounding"] != "rnd":
        raise HwsimError(
            "a quantized_po2 must round its exponent to nearest, without quadratic_approximation"
        )
    most = settings["max_value"]
    bits = settings["bits"] - 1 - int(most is None or most > 1)
    size = np.abs(x)
    kept = np.maximum(size, SMALLEST)
    kept = kept if most is None else np.minimum(kept, F32(most))
    exponent = (np.log(kept) / F32(np.log(2.0))).astype(F32)
    near = np.abs(exponent - np.floor(exponent) - 0.5) < NEAR
    if near.any():
        raise HwsimError(
            f"the weights of a quantized_po2 must not lie between two powers of two, as "
            f"{float(size[near][0])!r} does"
        )
    whole = np.clip(_straight(exponent, np.rint(exponent)), -(2.0**bits), 2.0**bits - 1)
    whole = np.where(size < SMALLEST, F32(-(2.0**bits)), whole).astype(F32)
    return _straight(x, np.where(x < 0, F32(-1), F32(1)) * np.exp2(whole))


STOCHASTIC = {"use_stochastic_rounding": False}
KINDS: Mapping[str, Kind] = {
    "quantized_bits": Kind(
        {
            "bits": 8, "integer": 0, "symmetric": 0, "keep_negative": True, "alpha": None,
            **STOCHASTIC, "scale_axis": None, "qnoise_factor": 1.0,
        },
        _bits,
    ),
    "binary": Kind({"use_01": False, "alpha": None, **STOCHASTIC}, _binary),
    "ternary": Kind(
        {"alpha": None, "threshold": None, **STOCHASTIC, "number_of_unrolls": 5}, _ternary
    ),
    "quantized_po2": Kind(
        {
            "bits": 8, "max_value": None, **STOCHASTIC, "quadratic_approximation": False,
            "log2_rounding": "rnd", "qnoise_factor": 1.0,
        },
        _power,
    ),
    "quantized_relu": Kind(
        {
            "bits": 8, "integer": 0, "use_sigmoid": 0, "negative_slope": 0.0, **STOCHASTIC,
            "relu_upper_bound": None, "is_quantized_clip": True, "qnoise_factor": 1.0,
        }
    ),
    "quantized_tanh": Kind(
        {"bits": 8, **STOCHASTIC, "symmetric": False, "use_real_tanh": False}
    ),
    "quantized_sigmoid": Kind(
        {"bits": 8, "symmetric": False, "use_real_sigmoid": False, **STOCHASTIC}
    ),
}  # fmt: skip
FUNCTIONS = ("binary_tanh", "hard_tanh", "smooth_tanh", "binary_sigmoid", "hard_sigmoid")
"""Activations that hls4ml only asks for their name."""


class QKerasStandIn:
    """A quantizer of QKeras by its settings; classes derived from it carry QKeras's names."""

    def __init__(self, kind: Kind, settings: Settings) -> None:
        self._kind = kind
        self._settings = {**kind.defaults, **settings}

    def get_config(self) -> dict[str, Any]:
        """All settings."""
        return dict(self._settings)

    def __call__(self, x: Any) -> Quantized:
        """The float32 numbers that QKeras makes of `x` at inference."""
        name = type(self).__name__
        if self._kind.run is None:
            raise HwsimError(f"{name} must be an activation here, not a quantizer of weights")
        if self._settings.get("qnoise_factor", 1.0) != 1.0:
            raise HwsimError(f"the qnoise_factor of {name} must be 1 in a trained model")
        numbers = self._kind.run(self._settings, np.asarray(x, F32))
        return numbers.astype(F32).view(Quantized)


def get_quantizer(identifier: Any) -> Any:
    """The quantizer of a saved layer: from its dict, or a text such as `quantized_relu(3,1)`.

    Raises HwsimError for a quantizer that has no formula here.
    """
    if identifier is None or callable(identifier):
        return identifier
    if isinstance(identifier, Mapping):
        return _made(str(identifier["class_name"]), (), identifier.get("config", {}))
    name, given, named = _call(str(identifier))
    return _made(name, given, named)


def _made(name: str, given: Sequence[Any], named: Settings) -> Any:
    if name in FUNCTIONS and not given and not named:
        return _named_function(name)
    kind = KINDS.get(name)
    if kind is None:
        raise HwsimError(
            f"a QKeras quantizer must be one of {', '.join((*KINDS, *FUNCTIONS))}, not {name!r}: "
            "convert the model where QKeras is installed"
        )
    known = list(kind.defaults)
    settings = dict(zip(known, given, strict=False)) | {
        key: value for key, value in named.items() if key in kind.defaults
    }
    return type(name, (QKerasStandIn,), {})(kind, settings)


def _named_function(name: str) -> Callable[[Any], Any]:
    def function(_: Any) -> Any:
        raise HwsimError(f"{name} must be an activation here, not a quantizer of weights")

    function.__name__ = name
    return function


def _call(text: str) -> tuple[str, list[Any], dict[str, Any]]:
    """Name and literal arguments of a call, which is read and not run."""
    try:
        body = ast.parse(text.strip(), mode="eval").body
        if isinstance(body, ast.Name):
            return body.id, [], {}
        assert isinstance(body, ast.Call) and isinstance(body.func, ast.Name)
        given = [ast.literal_eval(argument) for argument in body.args]
        named = {str(part.arg): ast.literal_eval(part.value) for part in body.keywords}
    except (SyntaxError, ValueError, AssertionError, RecursionError, MemoryError):
        raise HwsimError(
            f"a QKeras quantizer must be a name with literal arguments, not {text[:60]!r}"
        ) from None
    return body.func.id, given, named
