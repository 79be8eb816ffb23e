"""From float ONNX through hls4ml to one file of integers, checked against hls4ml's own C++.

    python examples/hls4ml/convert.py [--out FOLDER]

Needs the extra ``hls``, scikit-learn and g++; a quarter of a minute, most of it g++.
Converts ``digits.float.onnx`` for ``backend="hwsim"`` and for Vitis, compiles the latter's C++
(csim), compares both on the held-out digits code by code, and writes

* ``digits.hwsim``, the Graph: a MODEL for every hwsim command, for which hls4ml is not needed;
* ``digits.csim.npy``, csim's codes of the logits for the held-out images (360 x 10, int16).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import hls4ml
import numpy as np
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.transformation.channels_last import ConvertToChannelsLastAndClean
from qonnx.transformation.gemm_to_matmul import GemmToMatMul
from qonnx.util.cleanup import cleanup_model

import hwsim

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import digits  # noqa: E402

# Every layer its own; what is not named here hls4ml infers. The first convolution's accumulator
# wraps, the other two saturate at each step, by different rules and roundings.
PRECISIONS = {
    "global_in": {"result": "ufixed<5,1>"},
    "Conv_0": {
        "weight": "fixed<6,2,RND,SAT>",
        "bias": "fixed<7,1,RND>",
        "accum": "fixed<10,3,RND,WRAP>",
        "result": "fixed<10,3>",
    },
    "Relu_0": {"result": "ufixed<6,2,RND,SAT>"},
    "Conv_1": {
        "weight": "fixed<6,2,RND_CONV,SAT>",
        "bias": "fixed<8,2>",
        "accum": "fixed<11,4,TRN,SAT>",
        "result": "fixed<11,4>",
    },
    "Relu_1": {"result": "ufixed<6,3,RND_ZERO,SAT>"},
    "MatMul_0": {
        "weight": "fixed<6,1,RND,SAT_SYM>",
        "bias": "fixed<8,2>",
        "accum": "fixed<11,4,RND_CONV,SAT_SYM>",
    },
}
# A reuse factor changes the order of the sums, which shows where they saturate.
STRATEGIES = {"MatMul_0": {"Strategy": "Resource", "ReuseFactor": 4}}


def channels_last(path: Path) -> ModelWrapper:
    """The ONNX file in the form that hls4ml reads."""
    model = ModelWrapper(str(path))
    model.set_tensor_shape("image", [1, 1, 8, 8])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that Gemm is newer than what qonnx was tested with
        model = cleanup_model(model).transform(ConvertToChannelsLastAndClean())
        return cleanup_model(model.transform(GemmToMatMul()))


def convert(backend: str, folder: Path | str, precisions: dict[str, Any] = PRECISIONS) -> Any:
    """The hls4ml model, not compiled."""
    model = channels_last(HERE / "digits.float.onnx")
    with contextlib.redirect_stdout(io.StringIO()):
        config = hls4ml.utils.config_from_onnx_model(
            model, granularity="name", backend=backend, default_precision="fixed<16,6>"
        )
        for name, types in precisions.items():
            config["LayerName"][name]["Precision"].update(types)
        for name, options in STRATEGIES.items():
            config["LayerName"][name].update(options)
        return hls4ml.converters.convert_from_onnx_model(
            model,
            hls_config=config,
            backend=backend,
            io_type="io_stream",
            output_dir=str(folder),
        )


def codes_of(graph: hwsim.Graph, reals: Any) -> Any:
    """The graph's outputs as codes, which all fit 16 bits here."""
    frac_bits = graph.types()[graph.outputs[0].tensor].format.frac_bits
    return np.ldexp(reals.astype(np.float64), frac_bits).astype(np.int16)


def csim_codes(model: Any, graph: hwsim.Graph, images: Any) -> Any:
    """What hls4ml's compiled C++ gives, as codes of the graph's output."""
    with contextlib.redirect_stdout(io.StringIO()):
        model.compile()
        logits = model.predict(np.ascontiguousarray(images))
    return codes_of(graph, logits)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=HERE)
    out: Path = parser.parse_args().out
    data = digits.load()
    with tempfile.TemporaryDirectory() as folder:
        graph = hwsim.load(convert("hwsim", folder))
        want = csim_codes(convert("Vitis", folder), graph, data.test_images)
    got = hwsim.emulate(graph, data.test_images)
    different = int((codes_of(graph, got) != want).sum())
    print(f"csim and emulator: {different} of {want.size} codes different")
    print(f"accuracy on the held-out images: {np.mean(got.argmax(1) == data.test_labels):.4f}")
    if different:
        return 1
    graph.save(out / "digits.hwsim")
    np.save(out / "digits.csim.npy", want, allow_pickle=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
