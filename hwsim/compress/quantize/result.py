"""What a quantization came to: the file, the Graph that is read from it, and a row a layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import tee
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hwsim.compress.calibration.shown import histogram_facts
from hwsim.compress.choice.report import BitChoice
from hwsim.compress.quantize.linear import Formats, along, ends_of, rounded
from hwsim.compress.quantize.places import node_name
from hwsim.compress.quantize.qonnx_file import QuantNode
from hwsim.emulator.run import planned
from hwsim.errors import HwsimError
from hwsim.frontends import load
from hwsim.frontends.onnx.read import read_exact
from hwsim.graph import Graph
from hwsim.storage import write_atomically

if TYPE_CHECKING:
    from hwsim.compress.calibration import Histogram
    from hwsim.compress.float_model import Batch, FloatModel

FILES = (".onnx", ".hwsim")


@dataclass(frozen=True, slots=True)
class QuantizedModel:
    """A quantized model: the ModelProto, the Graph that hwsim reads from it, and its quantizers.

    `form` is what the file is: QONNX or QDQ, or hwsim where the Graph has fewer channels than the
    float model and there is no `proto`. `rows` has a dict for each input, layer and sum, and
    `sqnr` the signal to noise of the outputs on calibration data, in dB, against the float model.
    `histograms` are plain values of each tensor that became codes (`histogram_facts`), `remarks`
    what is odd about the calibration data, and `choice` what was chosen where a target was given.
    `sums` is how the Graph adds: `exact`, whole numbers of any size, or `float32`, as who reads the
    file does.
    """

    proto: Any
    graph: Graph
    form: str
    rows: tuple[dict[str, Any], ...]
    sqnr: float | None
    histograms: tuple[dict[str, Any], ...] = ()
    remarks: tuple[str, ...] = ()
    choice: BitChoice | None = None
    sums: str = "float32"

    def __repr__(self) -> str:
        layers = sum("weight_bits" in row for row in self.rows)
        return f"QuantizedModel({self.form}, {layers} layers with weights)"

    def save(self, path: str | Path) -> None:
        """Write the ONNX file, or the Graph as `.hwsim`; whole or not at all.

        Of a Graph with exact sums the ONNX file is read first, which warns where float32 gives
        other codes; HwsimError where it cannot be read.
        """
        file = Path(path)
        check_suffix(file)
        if file.suffix.lower() == ".onnx":
            if self.proto is None:
                raise HwsimError(
                    f"the output must be a .hwsim file where channels were taken out or sums "
                    f"made narrow (hwsim to-onnx writes ONNX of a Graph), not {file}"
                )
            if self.sums == "exact":
                read_back(self.proto, file, exact=False)
            write_atomically(file, self.proto.SerializeToString())
        else:
            self.graph.save(file)


def check_suffix(path: Path) -> None:
    """Raise HwsimError unless a quantized model can be written to a file of this name."""
    if path.suffix.lower() not in FILES:
        raise HwsimError(f"the output {path} must be a file of {' or '.join(FILES)}, not another")


def read_back(proto: Any, path: Path, *, exact: bool) -> Graph:
    """The Graph of a quantized model, with sums of QONNX that are `exact`, or as others read it.

    A refusal says of which float model it is.
    """
    try:
        return read_exact(proto) if exact else load(proto)
    except HwsimError as error:
        raise HwsimError(f"{path}, quantized, must be a model that hwsim reads: {error}") from None


def output_sqnr(model: FloatModel, graph: Graph, batches: Iterable[Batch]) -> float | None:
    """Signal to noise of all outputs against the float model's on the same samples, in dB."""
    names = [port.name for port in graph.outputs]
    emulator = planned(graph)
    power = error = 0.0
    first, second = tee(batches)
    for reals, batch in zip(model.run(first, names), second, strict=True):
        found = emulator.decode(emulator.run_chunked(emulator.encode(dict(batch))))
        got = found if isinstance(found, Mapping) else {names[0]: found}
        for name in names:
            wanted = reals[name].astype(np.float64)
            power += float((wanted**2).sum())
            error += float(((np.asarray(got[name], np.float64) - wanted) ** 2).sum())
    return _sqnr(power, error)


def rows_of(model: FloatModel, written: FloatModel, made: Formats) -> tuple[dict[str, Any], ...]:
    """A row for each input, each layer with weights and each other node whose result is codes.

    Signal to noise is of the quantizer alone, in dB: of weights exactly, of activations from their
    histogram. `written` has the weights that are rounded, which may be other ones by then.
    """
    constants, rounds = model.constants, written.constants
    layers = {layer.output: layer for layer in made.found.layers}
    sums = {tensor: made.found.sums[tensor] for tensor in made.found.tensors}
    rows = []
    for tensor in made.found.tensors:
        if tensor in model.inputs:
            by, seen = made.tensors[tensor], made.seen[tensor]
            rows.append({"name": tensor, "op": "input", **_of_tensor(seen, by)})
    for node in model.nodes:
        out = node.output[0]
        row: dict[str, Any] = {"name": node_name(node), "op": node.op_type}
        layer = layers.get(out)
        if layer is not None:
            row |= _of_weights(
                constants[layer.weights], rounds[layer.weights], made.weights[layer.name]
            )
        given = [tensor for tensor, sum_of in sums.items() if sum_of == out]
        for tensor in given[:1]:
            row |= _of_tensor(made.seen[tensor], made.tensors[tensor])
        if layer is not None or given:
            rows.append(row)
        for tensor in given[1:]:  # a sum that is read itself too
            more = {"name": tensor, "op": node.op_type}
            rows.append({**more, **_of_tensor(made.seen[tensor], made.tensors[tensor])})
    return tuple(rows)


def histograms_of(made: Formats) -> tuple[dict[str, Any], ...]:
    """Each tensor's histogram beside what its codes hold."""
    found = []
    for name in made.found.tensors:
        by = made.tensors[name]
        scale, (low, high) = float(np.ravel(by.scale)[0]), ends_of(by)
        ends = [(code - by.zero_point) * scale for code in (low, high)]
        found.append(histogram_facts(made.seen[name], *(ends if low < high else (-scale, scale))))
    return tuple(found)


def _of_weights(
    weights: npt.NDArray[Any], rounds: npt.NDArray[Any], by: QuantNode
) -> dict[str, Any]:
    reals = weights.astype(np.float64)
    back = rounded(rounds.astype(np.float64), *along(by, weights.ndim))
    error = float(((back - reals) ** 2).sum())
    return {
        "weights": weights.size,
        "weight_bits": by.bits,
        **({} if by.channel_bits is None else {"channel_bits": list(by.channel_bits)}),
        "weight_scales": _ends(by.scale),
        "weight_error": error,
        "weight_sqnr": _sqnr(float((reals**2).sum()), error),
    }


def _of_tensor(seen: Histogram, by: QuantNode) -> dict[str, Any]:
    reals, shares = seen.centres(), seen.counts / max(seen.total, 1)
    zero, scale = by.zero_point, float(np.ravel(by.scale)[0])
    low, high = ends_of(by)
    back = rounded(reals, scale, (low - zero, high - zero))
    error = float((shares * (back - reals) ** 2).sum())
    return {
        "tensor": seen.name,
        "bits": by.bits,
        "signed": by.signed,
        "zero_point": zero,
        "scale": scale,
        "least": seen.least,
        "most": seen.most,
        "error": error,
        "sqnr": _sqnr(float((shares * reals**2).sum()), error),
    }


def _ends(scale: Any) -> list[float]:
    return [float(np.min(scale)), float(np.max(scale))]


def _sqnr(power: float, error: float) -> float | None:
    """In dB; None where there is no error or no signal."""
    return 10 * float(np.log10(power / error)) if power and error else None
