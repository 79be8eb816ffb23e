"""A model quantized after training, with narrow sums."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from hwsim.compress.float_model import Batch, FloatModel
from hwsim.compress.quantize.result import QuantizedModel, output_sqnr
from hwsim.compress.quantize.run import COMPARED
from hwsim.compress.sums.narrow import narrow
from hwsim.compress.sums.width import sum_widths


def with_narrow_sums(
    made: QuantizedModel, model: FloatModel, batches: Iterable[Batch], text: str
) -> QuantizedModel:
    """The model with sums as `sum_widths` reads them, in units chosen on the first batch.

    ONNX has no accumulators: what comes out is a Graph alone. Raises HwsimError as `narrow`.
    """
    few = [batch for _, batch in zip(range(COMPARED), batches, strict=False)]
    graph = narrow(made.graph, sum_widths(made.graph, text), dict(few[0])).graph
    return replace(made, graph=graph, proto=None, sqnr=output_sqnr(model, graph, few))
