"""PyTorch idioms and networks, both exporters, five settings of quantize_static: equal, or said.

`torch_idioms/` holds the float models as the exporters made them.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnxruntime.capi.onnxruntime_pybind11_state import Fail
from support.onnx_builder import Array
from support.onnx_run import run_ort

import hwsim
from hwsim.frontends.shared.builder import RuntimeDifference

HERE = Path(__file__).parent / "torch_idioms"
FILES = sorted(path.stem for path in HERE.glob("*.onnx"))
LAST_BITS = ("autoencoder-",)
"""It ends in a ConvTranspose, which the quantizer to QLinear operators leaves in float32."""
UNLOADABLE, INT8 = ("encoder-", "encoder_layer-", "convnext-"), ("defaults", "symmetric by channel")
"""Networks that ONNX Runtime's own optimizer fails on in these settings."""
SAMPLES = 64
U8, S8 = "QUInt8", "QInt8"
SETTINGS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "unsigned": {"quant_format": "QDQ", "activation_type": U8, "weight_type": U8},
    "symmetric by channel": {
        "activation_type": S8,
        "weight_type": S8,
        "per_channel": True,
        "extra_options": {"ActivationSymmetric": True, "WeightSymmetric": True},
    },
    "operators": {"quant_format": "QOperator", "activation_type": U8, "weight_type": S8},
    "reduced, float biases, own pairs": {
        "activation_type": U8,
        "weight_type": S8,
        "per_channel": True,
        "reduce_range": True,
        "extra_options": {"QuantizeBias": False, "DedicatedQDQPair": True},
    },
}


class Batches:
    """Calibration data, as the quantizer asks for it."""

    def __init__(self, feeds: Mapping[str, Array]) -> None:
        self.batches: Iterator[dict[str, Array]] = iter(
            [{k: v[i : i + 8] for k, v in feeds.items()} for i in range(0, SAMPLES // 2, 8)]
        )

    def get_next(self) -> dict[str, Array] | None:
        return next(self.batches, None)


@cache
def inputs(name: str) -> dict[str, Array]:
    """Random reals for each input of a float model."""
    model, rng = onnx.load(HERE / f"{name}.onnx"), np.random.default_rng(len(name))
    return {
        port.name: rng.normal(
            0, 1, (SAMPLES, *[d.dim_value for d in port.type.tensor_type.shape.dim[1:]])
        ).astype(np.float32)
        for port in model.graph.input
    }


def quantized(name: str, setting: str, folder: Path) -> Path:
    """The model that `quantize_static` writes."""
    from onnxruntime import quantization

    kinds = {"quant_format": quantization.QuantFormat, "activation_type": quantization.QuantType}
    kinds["weight_type"] = quantization.QuantType
    options = {k: kinds[k][v] if k in kinds else v for k, v in SETTINGS[setting].items()}
    path = folder / "quantized.onnx"
    quantization.quantize_static(HERE / f"{name}.onnx", path, Batches(inputs(name)), **options)
    return path


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", FILES)
def test_an_idiom_gives_the_runtimes_arrays_or_says_that_it_may_not(
    name: str, setting: str, tmp_path: Path
) -> None:
    path, feeds = quantized(name, setting, tmp_path), inputs(name)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", RuntimeDifference)
        graph = hwsim.load(path)
    announced = [w for w in said if issubclass(w.category, RuntimeDifference)]
    if name.startswith(UNLOADABLE) and setting in INT8:
        with pytest.raises(Fail, match="AddInitializer"):
            run_ort(path, feeds)
        return
    expected = run_ort(path, feeds).outputs
    got = hwsim.emulate(graph, feeds)
    found = got if isinstance(got, dict) else dict.fromkeys(expected, got)
    for output, array in expected.items():
        assert found[output].dtype == array.dtype
        assert found[output].shape == array.shape
        different = np.count_nonzero(found[output] != array)
        assert different == 0 or announced, f"{different} of {array.size} differ in silence"
        if name.startswith(LAST_BITS) and setting == "operators":
            assert np.abs(found[output] - array).max() <= 1e-6
            continue
        assert different * 8 <= array.size, f"{different} of {array.size} differ"


@pytest.mark.slow
@pytest.mark.needs("verilator", "pyosys")
@pytest.mark.parametrize("setting", ["unsigned", "operators"])
@pytest.mark.filterwarnings("ignore::hwsim.frontends.shared.builder.RuntimeDifference")
def test_squeeze_and_excitation_with_hard_swish_is_the_same_in_verilator(
    setting: str, tmp_path: Path
) -> None:
    """MobileNetV3: factors a channel, and in one setting means of functions that nothing rounds."""
    graph = hwsim.load(quantized("mobilenet_v3-script", setting, tmp_path))
    hwsim.build(graph, tmp_path / "build", rtl_only=True, max_dsp=20)
    assert hwsim.verify(tmp_path / "build", samples=10).ok


def test_there_are_twenty_idioms_and_fourteen_networks_of_both_exporters() -> None:
    both = {name.rpartition("-")[0] for name in FILES}
    assert len(both) == 34
    assert len(FILES) == 68


def structure(model: onnx.ModelProto) -> list[Any]:
    """Operators with their attributes, shapes and types of ports and constants."""
    nodes = [(n.op_type, sorted(str(a) for a in n.attribute)) for n in model.graph.node]
    ports = [str(port.type) for port in (*model.graph.input, *model.graph.output)]
    constants = [(c.data_type, list(c.dims)) for c in model.graph.initializer]
    return [model.opset_import[0].version, nodes, ports, constants]


@pytest.mark.needs("torch", "onnxscript")
@pytest.mark.parametrize("name", FILES)
def test_a_stored_idiom_is_what_pytorch_exports_today(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(HERE))
    from export import export

    idiom, _, exporter = name.rpartition("-")
    assert structure(export(idiom, exporter)) == structure(onnx.load(HERE / f"{name}.onnx"))
