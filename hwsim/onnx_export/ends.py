"""The ends of an ONNX file: the user's tensors as codes of edges, and codes as the user's."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from hwsim.emulator import ports
from hwsim.fixed import Format
from hwsim.float_steps import MinifloatStep, PortStep, RowStep, UnaryStep, computed
from hwsim.graph import InputPort, OutputPort
from hwsim.onnx_export.recorded import FLOAT32, INT64, ROWS, Recorded
from hwsim.onnx_export.recorder import Recorder
from hwsim.ops import TensorType
from hwsim.ports import ELEMENTS, Port, user_shape

INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64")
ANY = (-math.inf, math.inf)
FUNCTIONS = {"sigmoid": "Sigmoid", "tanh": "Tanh"}
ROW_FUNCTIONS = {"softmax": "Softmax", "log_softmax": "LogSoftmax"}


def integer_type(fmt: Format) -> str:
    """The narrowest integer type that holds all codes of a format."""
    infos = ((name, np.iinfo(name)) for name in INTEGERS)
    return next((n for n, i in infos if i.min <= fmt.min and fmt.max <= i.max), "int64")


def element_of(port: Port, kind: TensorType) -> str:
    """The integer type in which the user of a port has codes."""
    return ELEMENTS[port.element] if port.element else integer_type(kind.format)


def read_input(port: InputPort, given: str, rec: Recorder, *, integers: bool) -> Recorded:
    """The codes of an input's edge, in int64; what is read are reals, or codes."""
    kind, seen = port.type, user_shape(port.type, port)
    if integers or port.element is not None:
        array = Recorded(given, (ROWS, *seen), np.dtype(element_of(port, kind)), rec)
        return rec.tensor(ports.from_user(rec, port, kind, array), INT64)
    real = steps_of(port.steps, Recorded(given, (ROWS, *seen), FLOAT32, rec), rec)
    edge = ports.from_user(rec, port, kind, real)
    return rec.tensor(ports.quantize(rec, port, edge, ANY), INT64)


def show_output(
    port: OutputPort, kind: TensorType, codes: Recorded, rec: Recorder, *, integers: bool
) -> Recorded:
    """What the user of an output sees: its reals, or codes."""
    if integers or port.element is not None:
        array = ports.to_user(rec, port, kind, codes)
        return rec.tensor(array, np.dtype(element_of(port, kind)))
    plain = OutputPort(
        name=port.name,
        tensor=port.tensor,
        axes=port.axes,
        shape=port.shape,
        reals=port.reals,
        lanes=port.lanes,
    )
    real: Recorded = ports.decode(rec, plain, kind, codes, False)
    if port.steps:
        real = rec.tensor(real, FLOAT32)
        rec.draft.before[port.name] = real.name
    return steps_of(port.steps, real, rec)


def steps_of(steps: Sequence[PortStep], x: Recorded, rec: Recorder) -> Recorded:
    """Float32 arithmetic of a port, each step by ONNX's operator of that name."""
    for step in steps:
        x = rec.astype(x, FLOAT32)
        if isinstance(step, RowStep):
            x = _rows(step, x, rec)
        elif isinstance(step, UnaryStep):
            x = rec.unary(FUNCTIONS[step.op], x)
        elif isinstance(step, MinifloatStep):
            x = step.run(rec, x)
        else:
            x = computed(rec, [step], x)
    return x


def _rows(step: RowStep, x: Recorded, rec: Recorder) -> Recorded:
    """Along one axis, which several side by side are made for the while."""
    first, last = step.axes[0] + 1, step.axes[-1] + 1
    one = (*x.shape[:first], math.prod(x.shape[first : last + 1]), *x.shape[last + 1 :])
    flat = rec.reshape(x, one)
    made = rec.record(ROW_FUNCTIONS[step.op], [flat.name], flat.shape, FLOAT32, axis=first)
    shaped: Recorded = rec.reshape(made, x.shape)
    return shaped
