"""Speed of the emulator on a QONNX network 16-64-32-32-5: 6-bit weights, 8-bit activations.

    python benchmarks/emulator_mlp.py [--batch N] [--rounds N] [--json FILE]

On one thread, interleaved, medians: a large batch against the same integers by hand in NumPy
(float32 matmul, floor, clip), and one sample against QONNX's own executor. All results are compared
before anything is timed. Exit status 1 where they differ.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from common import interleaved, one_thread, per_call, provenance, table, write_json
from onnx import TensorProto, helper, numpy_helper

import hwsim

WIDTHS = (16, 64, 32, 32, 5)
INPUT_SCALE, WEIGHT_SCALE, CODE_SCALE = 2.0**-5, 2.0**-4, 2.0**-3
LEAST = {"large_batch": 0.4, "one_sample": 100.0}
Reals = npt.NDArray[np.float32]


def model(weights: Sequence[Reals]) -> onnx.ModelProto:
    """Quant, then (MatMul of quantized weights, ReLU, Quant) for each layer; scores at the end."""
    nodes, constants = [], []

    def constant(value: Any) -> str:
        constants.append(
            numpy_helper.from_array(np.asarray(value, np.float32), f"c{len(constants)}")
        )
        return constants[-1].name

    def quant(x: str, scale: float, bits: int, signed: int, mode: str) -> str:
        inputs = [x, constant(scale), constant(0), constant(bits)]
        rule = {"signed": signed, "narrow": 0, "rounding_mode": mode}
        return node("Quant", inputs, domain="qonnx.custom_op.general", **rule)

    def node(kind: str, inputs: list[str], **attributes: Any) -> str:
        out = f"{kind.lower()}{len(nodes)}"
        nodes.append(helper.make_node(kind, inputs, [out], name=f"{out}_node", **attributes))
        return out

    edge = quant("x", INPUT_SCALE, 8, 1, "ROUND")
    for k, values in enumerate(weights):
        edge = node("MatMul", [edge, quant(constant(values), WEIGHT_SCALE, 6, 1, "ROUND")])
        if k < len(weights) - 1:
            edge = quant(node("Relu", [edge]), CODE_SCALE, 8, 0, "FLOOR")
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, size])
        for name, size in (("x", WIDTHS[0]), (edge, WIDTHS[-1]))
    ]
    graph = helper.make_graph(nodes, "mlp", ports[:1], ports[1:], constants)
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("qonnx.custom_op.general", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def by_hand(x: Reals, codes: Sequence[Reals]) -> Reals:
    """The same integers in plain NumPy: exact, since no sum reaches 2**24."""
    h = np.clip(np.rint(x / np.float32(INPUT_SCALE)), -128, 127)
    scale = INPUT_SCALE
    for weights in codes[:-1]:
        factor = np.float32(scale * WEIGHT_SCALE / CODE_SCALE)
        h = np.clip(np.floor((h @ weights) * factor), 0, 255)
        scale = CODE_SCALE
    return (h @ codes[-1]) * np.float32(CODE_SCALE * WEIGHT_SCALE)


def measure(batch: int, rounds: int) -> dict[str, Any]:
    """All figures, after the comparison of all results."""
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.transformation.infer_shapes import InferShapes

    rng = np.random.default_rng(16)
    shapes = list(itertools.pairwise(WIDTHS))
    weights = [rng.normal(0, 0.4, shape).astype(np.float32) for shape in shapes]
    codes = [np.clip(np.rint(w / np.float32(WEIGHT_SCALE)), -32, 31) for w in weights]
    proto = model(weights)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mlp.onnx"
        onnx.save(proto, path)
        graph = hwsim.load(path)
    wrapped = ModelWrapper(proto).transform(InferShapes())
    output = wrapped.graph.output[0].name

    def executed(sample: Reals) -> Reals:
        return np.asarray(execute_onnx(wrapped, {"x": sample})[output])

    x = rng.normal(0, 1.5, (batch, WIDTHS[0])).astype(np.float32)
    mine, hand = hwsim.emulate(graph, x), by_hand(x, codes)
    some = np.concatenate([executed(x[k : k + 1]) for k in range(50)])
    different = int((mine != hand).sum()) + int((mine[:50] != some).sum())
    large = interleaved(
        {"emulate": lambda: hwsim.emulate(graph, x), "by_hand": lambda: by_hand(x, codes)}, rounds
    )
    small = interleaved(
        {
            "emulate": per_call(lambda: hwsim.emulate(graph, x[:1]), 100),
            "execute_onnx": lambda: executed(x[:1]),
        },
        max(5, rounds // 2),
    )
    return {
        "network": "-".join(map(str, WIDTHS)),
        "batch": batch,
        "rounds": rounds,
        "compared": int(mine.size + some.size),
        "different": different,
        "large_batch": {
            "samples_per_s": {name: batch / taken for name, taken in large.items()},
            "ratio": large["by_hand"] / large["emulate"],
            "least": LEAST["large_batch"],
        },
        "one_sample": {
            "us": {"emulate": small["emulate"] * 1e4, "execute_onnx": small["execute_onnx"] * 1e6},
            "ratio": small["execute_onnx"] / (small["emulate"] / 100),
            "least": LEAST["one_sample"],
        },
    }


def report(figures: dict[str, Any]) -> str:
    """The figures as a table."""
    large, one = figures["large_batch"], figures["one_sample"]
    rows = [
        [
            f"batch {figures['batch']:,}, million samples/s",
            f"{large['samples_per_s']['emulate'] / 1e6:.2f}",
            f"{large['samples_per_s']['by_hand'] / 1e6:.2f} (NumPy by hand)",
            f"{large['ratio']:.2f}",
            f"{large['least']:.2f}",
        ],
        [
            "one sample, microseconds",
            f"{one['us']['emulate']:.0f}",
            f"{one['us']['execute_onnx']:.0f} (execute_onnx)",
            f"{one['ratio']:.0f}",
            f"{one['least']:.0f}",
        ],
    ]
    text = table(["", "hwsim", "other", "times as fast", "wanted"], rows)
    return f"{text}\n{figures['different']} of {figures['compared']:,} outputs different"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    one_thread()
    figures = measure(options.batch, options.rounds)
    figures |= {"made": provenance("numpy", "qonnx", "onnx", "onnxruntime")}
    print(report(figures))
    if options.json is not None:
        write_json(options.json, figures)
    return 1 if figures["different"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
