"""Models of OpenVINO by its own API: quantized activations and weights, and what its CPU gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

F32 = np.float32
CPU = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}

Ends = tuple[Any, Any]


def opset() -> Any:
    """The operations."""
    from openvino import opset13

    return opset13


def parameter(*shape: int, dtype: Any = F32, name: str = "x") -> Any:
    """An input whose batch is open."""
    return opset().parameter([-1, *shape], dtype, name=name)


def fake_quantize(x: Any, ends: Ends, levels: int = 256) -> Any:
    """A quantizer whose ranges of inputs and outputs are alike."""
    low, high = (opset().constant(np.asarray(end, F32)) for end in ends)
    return opset().fake_quantize(x, low, high, low, high, levels)


def weights(codes: Any, scale: Any) -> Any:
    """Integers that become floats and are scaled, as NNCF leaves them."""
    op = opset()
    return op.multiply(op.convert(op.constant(codes), F32), op.constant(np.asarray(scale, F32)))


def model(outputs: Any, *inputs: Any) -> Any:
    """The whole."""
    from openvino import Model

    return Model(list(outputs) if isinstance(outputs, list | tuple) else [outputs], list(inputs))


def codes(rng: np.random.Generator, *shape: int) -> npt.NDArray[np.int8]:
    """Weights of 255 levels."""
    return rng.integers(-127, 128, shape).astype(np.int8)


def ends(
    rng: np.random.Generator, zero: int, scale: float | None = None, levels: int = 256
) -> Ends:
    """Ends of a quantizer whose code of 0 is `zero`."""
    step = rng.uniform(0.004, 0.02) if scale is None else scale
    return F32(-zero * step), F32((levels - 1 - zero) * step)


def run(given: Any, *inputs: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    """What the CPU plugin gives, in float32 and on one thread."""
    from openvino import Core

    compiled = Core().compile_model(given, "CPU", CPU)
    found = compiled(list(inputs))
    return [np.array(found[place]) for place in range(len(compiled.outputs))]
