"""Train the network of this example and write it as float ONNX, ``digits.float.onnx``.

    python examples/hls4ml/train.py [--out FOLDER]

Needs the extra ``train``; half a minute on one thread. Training and export are those of
``examples/train_digits.py``; nothing here knows of fixed point.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import onnx
import torch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import digits  # noqa: E402
from train_digits import (  # noqa: E402
    Layer,
    activation,
    conv,
    dense,
    float_model,
    run,
    train,
    write,
)

LAYERS = (
    conv("conv1", (1, 6)),
    activation("relu1"),
    Layer(name="pool1", op="MaxPool", kernel=2),
    conv("conv2", (6, 12)),
    activation("relu2"),
    Layer(name="pool2", op="MaxPool", kernel=2),
    Layer(name="flatten", op="Flatten"),
    dense("logits", 48),
)
SEED = 2


# qonnx reads these from the file, as exporters write them, and assumes nothing.
WRITTEN_OUT = {
    "Conv": {"strides": [1, 1], "dilations": [1, 1]},
    "MaxPool": {"pads": [0, 0, 0, 0], "ceil_mode": 0},
}


def explicit(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with the attributes that ONNX lets a file leave out."""
    for node in model.graph.node:
        for name, value in WRITTEN_OUT.get(node.op_type, {}).items():
            node.attribute.append(onnx.helper.make_attribute(name, value))
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=HERE)
    out: Path = parser.parse_args().out
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    data = digits.load()
    model = explicit(float_model("digits_hls4ml", train(LAYERS, data, SEED)))
    (logits,) = run(model, data.test_images)
    write(out / "digits.float.onnx", model.SerializeToString(deterministic=True))
    print(f"float accuracy on the held-out images: {np.mean(logits.argmax(1) == data.test_labels)}")


if __name__ == "__main__":
    main()
