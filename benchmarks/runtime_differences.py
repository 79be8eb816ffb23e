"""How often a layer that ONNX Runtime computes in float32 gives another code than its exact sums.

    python benchmarks/runtime_differences.py [--samples N] [--json FILE]

One layer between quantizers, by the types of its activations, weights and result; scales such that
results fill the range. Prints the share of codes that differ and by how many steps at most.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

import hwsim

SEED = 20261126
CASES = [  # operator, activations, weights, result
    ("Conv", "uint8", "int4", "uint8"),
    ("Conv", "uint8", "int4", "uint16"),
    ("Conv", "uint16", "int8", "uint8"),
    ("Conv", "uint16", "int8", "uint16"),
    ("Conv", "int16", "int16", "int16"),
    ("MatMul", "uint8", "int4", "uint8"),
    ("MatMul", "uint16", "int16", "uint16"),
    ("MatMul", "uint16", "int8", "uint16"),
    ("MatMul", "int16", "int4", "int16"),
]
ENDS = {"int4": (-8, 7), **{t: (np.iinfo(t).min, np.iinfo(t).max) for t in
        ("int8", "uint8", "int16", "uint16")}}  # fmt: skip


def model(case: tuple[str, str, str, str], rng: np.random.Generator) -> onnx.ModelProto:
    """One layer of 54 or 48 terms a sum."""
    op, given, kind, result = case
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []

    def pair(name: str, dtype: str, span: float, zero: int) -> str:
        low, high = ENDS[dtype]
        constants.append(numpy_helper.from_array(np.float32(span / (high - low)), f"{name}_s"))
        constants.append(numpy_helper.from_array(np.array(zero, dtype), f"{name}_z"))
        for what, made in (("QuantizeLinear", f"{name}_q"), ("DequantizeLinear", f"{name}_r")):
            source = name if what == "QuantizeLinear" else f"{name}_q"
            nodes.append(helper.make_node(what, [source, f"{name}_s", f"{name}_z"], [made]))
        return f"{name}_r"

    shape = (6, 8, 8) if op == "Conv" else (48,)
    low, high = ENDS[given]
    x = pair("x", given, 8.0, (low + high + 1) // 2 + 3)
    low, high = ENDS[kind]
    size = (8, 6, 3, 3) if op == "Conv" else (48, 8)
    codes = rng.integers(low, high + 1, size)
    if kind == "int4":
        weights = helper.make_tensor("w", TensorProto.INT4, size, codes.ravel().tolist())
        zero = helper.make_tensor("w_z", TensorProto.INT4, (), [0])
    else:
        weights = numpy_helper.from_array(codes.astype(kind), "w")
        zero = numpy_helper.from_array(np.array(0, kind), "w_z")
    constants += [weights, zero, numpy_helper.from_array(np.float32(2.1 / (high - low)), "w_s")]
    nodes.append(helper.make_node("DequantizeLinear", ["w", "w_s", "w_z"], ["w_r"]))
    nodes.append(helper.make_node(op, [x, "w_r"], ["y"]))
    low, high = ENDS[result]
    out = pair("y", result, 29.3, (low + high + 1) // 2 - 5)
    ports = [
        helper.make_tensor_value_info("x", 1, ["N", *shape]),
        helper.make_tensor_value_info(out, 1, None),
    ]
    graph = helper.make_graph(nodes, "layer", ports[:1], ports[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def measured(case: tuple[str, str, str, str], samples: int) -> dict[str, Any]:
    """One row."""
    rng = np.random.default_rng(SEED)
    proto = model(case, rng)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options)
    shape = [d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim[1:]]
    x = rng.normal(0, 1.2, (samples, *shape)).astype(np.float32)
    (expected,) = session.run(None, {"x": x})
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "layer.onnx"
        onnx.save(proto, path)
        got = hwsim.emulate(hwsim.load(path), x)
    (step,) = (float(numpy_helper.to_array(c)) for c in proto.graph.initializer if c.name == "y_s")
    off = np.rint(np.abs(got.astype(float) - expected) / step)
    names = ("operator", "activations", "weights", "result")
    return {
        **dict(zip(names, case, strict=True)),
        "codes": int(off.size),
        "differ": int(np.count_nonzero(off)),
        "most_steps": int(off.max()),
        "part_of_largest": float(np.abs(got - expected).max() / np.abs(expected).max()),
    }


def main() -> None:
    """Measure all cases."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=4000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = [measured(case, options.samples) for case in CASES]
    for row in rows:
        share = row["codes"] / row["differ"] if row["differ"] else float("inf")
        print(
            f"{row['operator']:8}{row['activations']:8}{row['weights']:8}{row['result']:8}"
            f"{row['differ']:9,} of {row['codes']:,} (one in {share:,.0f}), by at most "
            f"{row['most_steps']} steps, {row['part_of_largest']:.2g} of the largest"
        )
    if options.json:
        versions = {n: metadata.version(n) for n in ("numpy", "onnxruntime")}
        content = json.dumps({"seed": SEED, "versions": versions, "rows": rows})
        options.json.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main()
