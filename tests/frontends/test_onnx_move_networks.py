"""Networks whose tensors move, quantized by `quantize_static`: ONNX Runtime's arrays."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.onnx_builder import Array
from support.onnx_run import session_of
from support.seeds import seeded

import hwsim
from hwsim.frontends.shared.builder import RuntimeDifference
from rtl.layers.table import unsupported


class Floats:
    """Writes a float network node by node."""

    def __init__(self, seed: int = 7) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def do(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        names = [f"{op.lower()}{len(self.nodes)}_{k}" for k in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, name=names[0], **attributes))
        return names[0] if outputs == 1 else names

    def put(self, value: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def ints(self, *values: int) -> str:
        return self.put(np.array(values, np.int64))

    def conv(self, x: str, cin: int, cout: int, k: int = 3, **more: Any) -> str:
        groups = more.get("group", 1)
        shape = cout, cin // groups, k, k
        w = self.put(self.rng.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape).astype(np.float32))
        b = self.put(self.rng.normal(0, 0.1, cout).astype(np.float32))
        pads = [k // 2] * 4
        return str(
            self.do("Relu", self.do("Conv", x, w, b, kernel_shape=[k, k], pads=pads, **more))
        )

    def model(self, shape: tuple[int, ...], *outputs: str) -> onnx.ModelProto:
        ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *shape])
        graph = helper.make_graph(self.nodes, "net", [x], ends, self.constants)
        opsets = [helper.make_opsetid("", 17)]
        return onnx.shape_inference.infer_shapes(
            helper.make_model(graph, opset_imports=opsets, ir_version=8)
        )


def shuffled(f: Floats, x: str, channels: int, size: int) -> str:
    """The channels of two groups in turn."""
    cut = f.do("Reshape", x, f.ints(-1, 2, channels // 2, size, size))
    turned = f.do("Transpose", cut, perm=[0, 2, 1, 3, 4])
    return str(f.do("Reshape", turned, f.ints(-1, channels, size, size)))


def shuffle_net() -> onnx.ModelProto:
    f = Floats()
    x = f.conv("x", 3, 8)
    for _ in range(2):
        one, other = f.do("Split", x, outputs=2, axis=1)
        other = f.conv(f.conv(f.conv(other, 4, 4, 1), 4, 4, group=4), 4, 4, 1)
        x = shuffled(f, f.do("Concat", one, other, axis=1), 8, 6)
    pooled = f.do("Flatten", f.do("GlobalAveragePool", x))
    w = f.put(f.rng.normal(0, 0.5, (8, 5)).astype(np.float32))
    return f.model((3, 6, 6), f.do("Gemm", pooled, w))


def focus(*, raw: bool = False) -> onnx.ModelProto:
    """The stem of a detector: every second row and column, four times, as channels."""
    f = Floats()
    far = 2**63 - 1
    whole = "x" if raw else f.conv("x", 3, 3, 1)
    parts = []
    for row in (0, 1):
        for column in (0, 1):
            rows = f.do("Slice", whole, f.ints(row), f.ints(far), f.ints(2), f.ints(2))
            parts.append(f.do("Slice", rows, f.ints(column), f.ints(far), f.ints(3), f.ints(2)))
    x = f.conv(f.do("Concat", *parts, axis=1), 12, 6)
    return f.model((3, 8, 8), f.conv(x, 6, 4, 1))


def detector() -> onnx.ModelProto:
    """Two scales of a map that meet by resizing, and boxes from slices of channels."""
    f = Floats()
    fine = f.conv("x", 3, 6)
    coarse = f.conv(f.do("MaxPool", fine, kernel_shape=[2, 2], strides=[2, 2]), 6, 6)
    scales = f.put(np.array([1, 1, 2, 2], np.float32))
    wide = f.do("Resize", coarse, "", scales, mode="nearest",
                coordinate_transformation_mode="asymmetric", nearest_mode="floor")  # fmt: skip
    x = f.conv(f.do("Concat", wide, fine, axis=1), 12, 6, 1)
    at = f.do("Sigmoid", f.do("Slice", x, f.ints(0), f.ints(2), f.ints(1)))
    size = f.do("Slice", x, f.ints(2), f.ints(6), f.ints(1))
    boxes = f.do("Concat", at, size, axis=1)
    rows = f.do("Reshape", boxes, f.ints(-1, 6, 48))
    return f.model((3, 8, 6), f.do("Transpose", rows, perm=[0, 2, 1]))


def pixel_shuffle() -> onnx.ModelProto:
    """A network that enlarges its input four times, by depth to space and by a linear resize."""
    f = Floats()
    x = f.do("Pad", "x", f.ints(0, 0, 1, 1, 0, 0, 1, 1), mode="reflect")
    x = f.conv(f.do("SpaceToDepth", x, blocksize=2), 12, 12)
    big = f.do("DepthToSpace", x, blocksize=2, mode="CRD")
    scales = f.put(np.array([1, 1, 2, 2], np.float32))
    return f.model((3, 4, 6), f.do("Resize", f.conv(big, 3, 2), "", scales, mode="linear"))


def one_dimensional() -> onnx.ModelProto:
    """A line that is cut into halves, one of them turned round."""
    f = Floats()
    w = f.put(f.rng.normal(0, 0.5, (6, 2, 3)).astype(np.float32))
    x = f.do("Relu", f.do("Conv", "x", w, pads=[2, 2], dilations=[2]))
    back = f.do("Slice", x, f.ints(-1), f.ints(-(2**62)), f.ints(2), f.ints(-1))
    both = f.do("Concat", x, back, axis=2)
    last = f.do("Gather", both, f.put(np.array(-1)), axis=2)
    v = f.put(f.rng.normal(0, 0.5, (6, 4)).astype(np.float32))
    return f.model((2, 10), f.do("MatMul", last, v), f.do("MaxPool", both, kernel_shape=[2]))


NETWORKS: dict[str, Callable[[], onnx.ModelProto]] = {
    "shuffle_net": shuffle_net,
    "focus": focus,
    "detector": detector,
    "pixel_shuffle": pixel_shuffle,
    "one_dimensional": one_dimensional,
}
SETTINGS: dict[str, dict[str, Any]] = {
    "unsigned": {"activation_type": "QUInt8", "weight_type": "QUInt8"},
    "by channel": {"activation_type": "QUInt8", "weight_type": "QInt8", "per_channel": True},
    "signed": {"activation_type": "QInt8", "weight_type": "QInt8"},
}


class Batches:
    """Calibration data, as the quantizer asks for it."""

    def __init__(self, x: Array) -> None:
        self.batches: Iterator[Array] = iter(np.array_split(x, 4))

    def get_next(self) -> dict[str, Array] | None:
        batch = next(self.batches, None)
        return None if batch is None else {"x": batch}


def quantized(name: str, setting: str, folder: Path) -> tuple[Path, Array]:
    from onnxruntime import quantization

    model = NETWORKS[name]()
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim[1:]]
    x = np.random.default_rng(seeded(9)).normal(0, 1, (64, *shape)).astype(np.float32)
    onnx.save(model, folder / "float.onnx")
    options = {k: getattr(quantization.QuantType, v) if "type" in k else v
               for k, v in SETTINGS[setting].items()}  # fmt: skip
    path = folder / "quantized.onnx"
    quantization.quantize_static(folder / "float.onnx", path, Batches(x), **options)
    return path, x


def differences(path: Path, x: Array) -> tuple[int, int, bool]:
    """Values that differ, of how many, and whether that was announced."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", RuntimeDifference)
        graph = hwsim.load(path)
    assert unsupported(graph) == ()
    session, _ = session_of(onnx.load(path), optimize=True)
    names = [port.name for port in session.get_outputs()]
    want = dict(zip(names, session.run(names, {"x": x}), strict=True))
    out = hwsim.emulate(graph, x)
    got = out if isinstance(out, dict) else {names[0]: out}
    assert {k: v.shape for k, v in got.items()} == {k: v.shape for k, v in want.items()}
    different = sum(int(np.count_nonzero(got[k] != want[k])) for k in want)
    announced = any(issubclass(w.category, RuntimeDifference) for w in said)
    return different, sum(v.size for v in want.values()), announced


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_gives_the_runtimes_arrays_or_says_that_it_may_not(name, setting, tmp_path):
    path, x = quantized(name, setting, tmp_path)
    different, size, announced = differences(path, x)
    print(f"{name}, {setting}: {different} of {size} different, announced: {announced}")
    assert different == 0 or announced
    assert different * 50 <= size  # a linear Resize meets a tie in one code of sixteen


def test_an_input_whose_parts_have_quantizers_of_their_own_has_one_port(tmp_path, monkeypatch):
    monkeypatch.setitem(NETWORKS, "focus", lambda: focus(raw=True))
    path, x = quantized("focus", "unsigned", tmp_path)
    different, _, announced = differences(path, x)
    assert different == 0 or announced
    assert [port.name for port in hwsim.load(path).inputs] == ["x"]


@pytest.mark.slow
@pytest.mark.needs("verilator")
@pytest.mark.parametrize("name", ["focus", "detector"])
def test_a_network_gives_the_emulators_codes_in_verilator(name, tmp_path):
    path, _ = quantized(name, "unsigned", tmp_path)
    hwsim.build(hwsim.load(path), tmp_path / "out", rtl_only=True, fps=2000)
    outcome = hwsim.verify(tmp_path / "out", samples=20, seed=3)
    assert outcome.ok, outcome
