"""Fashion-MNIST quantized after training, beside ONNX Runtime's and NNCF's tools on the same data.

    python benchmarks/quantization.py FLOAT.onnx [--data FOLDER] [--samples 1024] [--only WORD]
        [--json FILE]

FLOAT.onnx takes images (N, 1, 28, 28) from 0 to 1 and gives 10 logits. Every tool sees the same
images, evenly over the training set, and all 10,000 test images are counted: of hwsim's files in
the emulator, and in ONNX Runtime where they are QDQ; of the others' in ONNX Runtime.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

import numpy as np  # noqa: E402
from common import one_thread, options, provenance, tell  # noqa: E402
from fashion_network import FOLDER, Array, images, read  # noqa: E402

import hwsim  # noqa: E402

SHOWN = 500
HEAD = ["tool", "bits", "how", "emulator %", "ONNX Runtime %", "codes differ", "CPU s"]
OURS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("w8a8", "power-of-two", {}),
    ("w8a8", "affine", {}),
    ("w8a8", "affine minmax", {"method": "minmax"}),
    ("w8a8", "affine entropy", {"method": "entropy"}),
    ("w8a8", "affine percentile", {"method": "percentile:99.99"}),
    ("w8a8", "symmetric", {}),
    ("w6a6", "power-of-two", {}),
    ("w4a8", "power-of-two", {}),
    ("w4a8", "power-of-two, biases corrected", {"correct_bias": True}),
    ("w4a8", "symmetric, biases corrected", {"correct_bias": True}),
    ("w4a8", "power-of-two, biases corrected, ends w8a8", {"correct_bias": True, "ends": "w8a8"}),
    ("w4a8", "symmetric, biases corrected, ends w8a8", {"correct_bias": True, "ends": "w8a8"}),
    ("w4a4", "symmetric, biases corrected", {"correct_bias": True}),
    ("w4a4", "symmetric, feedback", {"rounding": "feedback"}),
    *(
        (bits, f"power-of-two, {said}", more)
        for bits in ("w4a8", "w3a8", "w4a4")
        for said, more in (
            ("nearest", {}),
            ("nearest, biases corrected", {"correct_bias": True}),
            ("feedback", {"rounding": "feedback"}),
            ("feedback, biases corrected", {"rounding": "feedback", "correct_bias": True}),
            ("adaptive", {"rounding": "adaptive"}),
        )
        if not (bits == "w4a8" and said.startswith("nearest"))  # they stand above
    ),
)
"""Bits, what is said of the scales, and further options."""


def session(model: Any) -> tuple[Any, str]:
    """A session of ONNX Runtime with one thread, and the name of its input."""
    import onnxruntime

    chosen = onnxruntime.SessionOptions()
    chosen.intra_op_num_threads = 1
    chosen.log_severity_level = 4
    # without it kernels of a CPU without VNNI saturate sums of two products at 16 bits
    chosen.add_session_config_entry("session.x64quantprecision", "1")
    data = model if isinstance(model, str) else model.SerializeToString()
    made = onnxruntime.InferenceSession(data, chosen, providers=["CPUExecutionProvider"])
    return made, made.get_inputs()[0].name


def scores(model: Any, x: Array) -> Array:
    """The outputs of a model in ONNX Runtime."""
    made, name = session(model)
    parts = (x[at : at + SHOWN] for at in range(0, len(x), SHOWN))
    return np.concatenate([made.run(None, {name: part})[0] for part in parts])


def right(found: Array, labels: Array) -> str:
    """Percent of samples whose largest score is the label's."""
    return f"{100 * float((found.argmax(1) == labels).mean()):.2f}"


def ours(path: Path, data: dict[str, Array]) -> Iterator[list[str]]:
    """A row for each way of hwsim's."""
    for bits, how, more in OURS:
        scheme = how.partition(",")[0].partition(" ")[0]
        start = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # near ties of float32, which are counted here
            made = hwsim.quantize(path, data["x"], bits=bits, scheme=scheme, samples=None, **more)
        seconds = time.process_time() - start
        codes = hwsim.emulate(made.graph, data["xt"])
        row = ["hwsim", bits, how, right(codes, data["yt"]), "", ""]
        if made.form == "QDQ":
            found = scores(made.proto, data["xt"])
            row[4:] = [right(found, data["yt"]), str(int((found != codes).sum()))]
        yield [*row, f"{seconds:.1f}"]


class Reader:
    """Calibration data as `onnxruntime.quantization` takes it."""

    def __init__(self, name: str, x: Array) -> None:
        self.batches = ({name: x[at : at + 128]} for at in range(0, len(x), 128))

    def get_next(self) -> dict[str, Array] | None:
        """The next batch, or None."""
        return next(self.batches, None)


def of_onnx_runtime(path: Path, x: Array, method: str) -> Any:
    """The model by `quantize_static`: QDQ, uint8 activations, int8 weights by channel."""
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        prepared, out = Path(folder) / "p.onnx", Path(folder) / "q.onnx"
        quant_pre_process(str(path), str(prepared))
        quantize_static(
            str(prepared),
            str(out),
            Reader(session(str(prepared))[1], x),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=getattr(CalibrationMethod, method),
        )
        return onnx.load(str(out))


def of_nncf(path: Path, x: Array, preset: str) -> Any:
    """The model by `nncf.quantize`."""
    import nncf
    import onnx

    model = onnx.load(str(path))
    name = model.graph.input[0].name
    dataset = nncf.Dataset([x[at : at + 1] for at in range(len(x))], lambda one: {name: one})
    chosen = nncf.QuantizationPreset(preset)
    return nncf.quantize(model, dataset, preset=chosen, subset_size=len(x))


def theirs(path: Path, data: dict[str, Array]) -> Iterator[list[str]]:
    """A row for each way of the other tools'."""
    ways: dict[tuple[str, str], Callable[[], Any]] = {
        **{
            ("onnxruntime.quantization", method): (
                lambda method=method: of_onnx_runtime(path, data["x"], method)
            )
            for method in ("MinMax", "Entropy", "Percentile")
        },
        **{
            ("NNCF", preset): (lambda preset=preset: of_nncf(path, data["x"], preset))
            for preset in ("mixed", "performance")
        },
    }
    for (tool, how), make in ways.items():
        start = time.process_time()
        try:
            model = make()
        except ModuleNotFoundError as error:
            print(f"{tool} is left out: {error.name} is missing", file=sys.stderr)
            continue
        seconds = time.process_time() - start
        found = scores(model, data["xt"])
        yield [tool, "w8a8", how, "", right(found, data["yt"]), "", f"{seconds:.1f}"]


def main() -> None:
    """Run the script."""
    parser = options(__doc__)
    parser.add_argument("model", type=Path, help="the float model")
    parser.add_argument("--data", type=Path, default=FOLDER, help="the folder of the data set")
    parser.add_argument("--samples", type=int, default=1024, help="calibration images")
    parser.add_argument("--only", choices=("hwsim", "others"), help="one half of the table")
    args = parser.parse_args()
    one_thread()
    logging.disable(logging.WARNING)
    train = images(args.data, "train")
    data = {
        "x": train[np.arange(args.samples) * len(train) // args.samples],
        "xt": images(args.data, "t10k"),
        "yt": read(args.data, "t10k-labels").astype(np.int64),
    }
    floats = right(scores(str(args.model), data["xt"]), data["yt"])
    rows = [["float", "", "", "", floats, "", ""]]
    rows += list(ours(args.model, data)) if args.only != "others" else []
    rows += list(theirs(args.model, data)) if args.only != "hwsim" else []
    facts = {"samples": args.samples, **provenance("onnxruntime", "nncf", "numpy")}
    tell(args, Path(__file__).name, HEAD, rows, facts)


if __name__ == "__main__":
    main()
