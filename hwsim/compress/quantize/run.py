"""A whole quantization: formats, file, the Graph that is read from it, and what it came to."""

from __future__ import annotations

from collections.abc import Mapping

from hwsim.compress.calibration import Form, Histogram
from hwsim.compress.calibration.shown import remarks
from hwsim.compress.float_model import FloatModel
from hwsim.compress.quantize.adaptive import adapted
from hwsim.compress.quantize.channel_bits import with_channel_bits
from hwsim.compress.quantize.correct import corrected
from hwsim.compress.quantize.equalize import equalized
from hwsim.compress.quantize.feedback import fed_back
from hwsim.compress.quantize.linear import (
    as_written,
    byte_formats,
    formats,
    formats_of,
    on_channels_grids,
)
from hwsim.compress.quantize.options import LinearScheme
from hwsim.compress.quantize.places import places
from hwsim.compress.quantize.qdq_file import qdq, written
from hwsim.compress.quantize.qonnx_file import quantized
from hwsim.compress.quantize.result import (
    QuantizedModel,
    histograms_of,
    output_sqnr,
    read_back,
    rows_of,
)
from hwsim.compress.quantize.sampled import with_largest
from hwsim.compress.samples import Batches, BatchStream

COMPARED = 2
"""Batches of calibration data on which the outputs are compared."""


def run(
    model: FloatModel,
    batches: Batches | BatchStream,
    linear: LinearScheme,
    *,
    seen: Mapping[str, Histogram] | None = None,
) -> QuantizedModel:
    """Quantize a model; HwsimError for what hwsim cannot read when it is quantized.

    8 bits of scales that are no powers of two become a QDQ file, everything else one of QONNX.
    `seen` is what the tensors of the model held on these batches, where that is known.
    """
    even = start = equalized(model)[0] if linear.equalize else model
    bytewise = linear.all_bytes and linear.form is not Form.POWER_OF_TWO
    if seen is None or bytewise or linear.equalize:
        made = (byte_formats if bytewise else formats)(start, batches, linear)
    else:
        made = formats_of(start, places(start), seen, linear)
    made = with_channel_bits(start, batches, made, linear)
    if linear.rounding == "feedback":
        start = fed_back(start, batches, made, centred=linear.correct_bias)
    elif linear.rounding == "adaptive":
        start = adapted(start, batches, made)
    if bytewise and linear.rounding != "nearest":
        start = with_largest(even, start, made)
    if linear.correct_bias:
        start = corrected(even, batches, made, start)
    if bytewise:
        form = "QDQ"
        proto = qdq(
            start,
            made.ranges,
            symmetric=linear.form is Form.SYMMETRIC,
            per_channel=linear.per_channel,
        )
        made = as_written(made, written(proto))
    else:
        start = on_channels_grids(start, made)
        form, proto = "QONNX", quantized(start, made.found, made.tensors, made.weights)
    exact = form == "QONNX" and linear.exact
    graph = read_back(proto, model.path, exact=exact)
    few = (batch for _, batch in zip(range(COMPARED), batches, strict=False))
    sqnr = output_sqnr(model, graph, few)
    shown, told = histograms_of(made), remarks(made.seen, model.inputs)
    rows = rows_of(even, start, made)
    return QuantizedModel(
        proto, graph, form, rows, sqnr, shown, told, sums="exact" if exact else "float32"
    )
