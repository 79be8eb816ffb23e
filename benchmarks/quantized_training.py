"""Fashion-MNIST with few bits, trained: accuracy over seeds, by the emulator.

    python benchmarks/quantized_training.py FLOAT.onnx [--data FOLDER] [--seeds 3] [--epochs 4]
        [--case w4a4 ternary pruned] [--json FILE]

FLOAT.onnx takes images (N, 1, 28, 28) from 0 to 1 and gives 10 logits. Each case quantizes it, then
trains the integers with the float model as the teacher, its weights to begin with, and learned
steps; images are flipped and moved by up to 2 pixels. `pruned` keeps the largest quarter of each
layer's weights. The epochs cost half a minute of CPU each for 26,000 parameters.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

import numpy as np  # noqa: E402
from common import one_thread, options, provenance, tell  # noqa: E402
from fashion_network import FOLDER, Array, images, read  # noqa: E402

import hwsim  # noqa: E402
from hwsim.compress.float_model import FloatModel  # noqa: E402
from hwsim.compress.quantize.linear import Widths, quantize  # noqa: E402
from hwsim.compress.training.loop import Training, finetune  # noqa: E402
from hwsim.compress.training.start import float_weights  # noqa: E402
from hwsim.compress.training.teachers import onnx_teacher  # noqa: E402

CASES = {"w4a4": ("w4a4", 0.0), "ternary": ("w2a4", 0.0), "pruned": ("w4a4", 0.75)}
"""Bits, and the share of each layer's weights that are pruned."""

CALIBRATION = 1024
HEAD = ["case", "seed", "float", "quantized", "trained", "zeros", "seconds"]


def moved(batch: Array, rng: np.random.Generator) -> Array:
    """Images, half of them mirrored, all moved by up to two pixels."""
    mirrored = rng.random(len(batch)) < 0.5
    batch = np.where(mirrored[:, None, None, None], batch[..., ::-1], batch)
    down, right = rng.integers(-2, 3, 2)
    room = ((0, 0), (0, 0), (2 + down, 2 - down), (2 + right, 2 - right))
    return np.ascontiguousarray(np.pad(batch, room)[:, :, 2:-2, 2:-2])


def row(case: str, seed: int, args: Any, data: dict[str, Array], pixels: float) -> list[str]:
    """One training."""
    bits, pruned = CASES[case]
    model = FloatModel.read(args.model)
    (name,) = model.inputs
    first = [{name: data["x"][at : at + 128]} for at in range(0, CALIBRATION, 128)]
    graph = hwsim.load(quantize(model, first, Widths.parse(bits)))
    reals = float_weights(graph, model)
    masks = {
        node: np.abs(parts["weights"]) > np.quantile(np.abs(parts["weights"]), pruned)
        for node, parts in reals.items()
        if pruned
    }
    start = time.process_time()
    tuned = finetune(
        graph,
        data["x"],
        data["y"],
        Training(epochs=args.epochs, rate=args.rate, distil=0.7, seed=seed),
        reals=reals,
        masks=masks,
        learn_steps=True,
        teacher=onnx_teacher(args.model, graph, graph.outputs[0].name, {}),
        augment=moved,
        say=lambda epoch: print(case, seed, epoch, file=sys.stderr, flush=True),
    )
    seconds = time.process_time() - start
    weights = np.concatenate([tuned.node(node).op.weights.reshape(-1) for node in reals])
    before, after = (hwsim.accuracy(g, data["xt"], data["yt"]).top1 for g in (graph, tuned))
    shares = [f"{100 * share:.2f}" for share in (pixels, before, after, (weights == 0).mean())]
    return [case, str(seed), *shares, f"{seconds:.0f}"]


def main() -> None:
    """Run the script."""
    parser = options(__doc__)
    parser.add_argument("model", type=Path, help="the float model")
    parser.add_argument("--data", type=Path, default=FOLDER, help="the folder of the data set")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--case", nargs="+", choices=CASES, default=list(CASES))
    args = parser.parse_args()
    one_thread()
    data = {
        "x": images(args.data, "train"),
        "y": read(args.data, "train-labels").astype(np.int64),
        "xt": images(args.data, "t10k"),
        "yt": read(args.data, "t10k-labels").astype(np.int64),
    }
    model = FloatModel.read(args.model)
    batches = ({model.inputs[0]: data["xt"][at : at + 500]} for at in range(0, 10000, 500))
    picked = [found[model.outputs[0]].argmax(1) for found in model.run(batches, model.outputs)]
    right = float((np.concatenate(picked) == data["yt"]).mean())
    rows = [row(case, seed, args, data, right) for case in args.case for seed in range(args.seeds)]
    facts = {"epochs": args.epochs, "rate": args.rate, **provenance("torch", "numpy")}
    tell(args, Path(__file__).name, HEAD, rows, facts)


if __name__ == "__main__":
    main()
