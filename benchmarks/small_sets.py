"""Small networks for other data than pictures: a watch's motions in 1-D, letters, a satellite.

    python benchmarks/small_sets.py --data FOLDER [FOLDER ...] [--sets motions letter satellite]
        [--seeds 3] [--json FILE] [--page FILE]

Trains a float network a set and seed (a CNN of two convolutions in time, or an MLP), then makes
each case of it by hwsim's own verbs, and counts the emulator's accuracy on all samples to test
with. Every batch of every training is compared with the emulator, edge by edge (`check`), and a
difference ends the run. `--data` are folders with the sets' files, in any of them.
"""

from __future__ import annotations

import statistics
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from common import one_thread, options, provenance, tell
from torch import nn

import hwsim
from hwsim.compress.any_float import any_float
from hwsim.compress.figures import weight_bits
from hwsim.data.sets import DataSet, load
from hwsim.graph import Graph
from hwsim.ops import Weighted

CASES = ("float", "w8a8", "w4a8", "w4a4", "w4a4-trained", "ternary", "pruned")
HEAD = ("set", "case", "mean %", "least %", "most %", "below float", "zeros %", "bits")
FILES = {
    "motions": "BasicMotions_TRAIN.ts",
    "letter": "LetterRecognition.rda",
    "satellite": "Satellite.rda",
}
EPOCHS = {"motions": 60, "letter": 40, "satellite": 40}
"""Of the float network; the others are trained for a quarter of it."""


class InTime(nn.Module):
    """Six channels of 100 steps: two convolutions and pools, and the mean of what is left."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv1d(6, 16, 5, padding=2), nn.BatchNorm1d(16), nn.ReLU(), nn.MaxPool1d(2)),
            *(nn.Conv1d(16, 24, 5, padding=2), nn.BatchNorm1d(24), nn.ReLU(), nn.MaxPool1d(2)),
        )
        self.head = nn.Linear(24, 4)

    def forward(self, x: Any) -> Any:
        return self.head(self.body(x).mean(2))


def perceptron(inputs: int, hidden: int, classes: int) -> nn.Module:
    """Two hidden layers with batch norms."""
    return nn.Sequential(
        *(nn.Linear(inputs, hidden), nn.BatchNorm1d(hidden), nn.ReLU()),
        *(nn.Linear(hidden, hidden), nn.BatchNorm1d(hidden), nn.ReLU()),
        nn.Linear(hidden, classes),
    )


NETWORKS: Mapping[str, Callable[[], nn.Module]] = {
    "motions": InTime,
    "letter": lambda: perceptron(16, 96, 26),
    "satellite": lambda: perceptron(36, 48, 6),
}


def main() -> None:
    """Run the script."""
    parser = options(__doc__ or "")
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--sets", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=float, default=1.0, help="times as many, to try it")
    args = parser.parse_args()
    one_thread()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    rows, runs = [], []
    for name in args.sets:
        data = load(name, _folder(args.data, FILES[name]))
        found: dict[str, list[dict[str, Any]]] = {case: [] for case in CASES}
        for seed in range(args.seeds):
            epochs = max(int(EPOCHS[name] * args.epochs), 1)
            for case, facts in figures(name, data, seed, epochs).items():
                found[case].append(facts)
                runs.append({"set": name, "case": case, "seed": seed, **facts})
                print(name, seed, case, facts, file=sys.stderr, flush=True)
        rows += [row(name, case, found[case], found["float"]) for case in CASES]
    facts = {"epochs": EPOCHS, "runs": runs, **provenance("torch", "numpy", "onnxruntime")}
    tell(args, Path(__file__).name, HEAD, rows, facts)


def _folder(given: list[Path], file: str) -> Path:
    for folder in given:
        for path in sorted(folder.rglob(file)):
            return path.parent
    raise SystemExit(f"error: {', '.join(map(str, given))} must hold {file}, which is missing")


def row(
    name: str, case: str, runs: list[dict[str, Any]], floats: list[dict[str, Any]]
) -> list[str]:
    """The mean and the ends over the seeds, and how far below float."""
    shares = [100 * one["accuracy"] for one in runs]
    below = [100 * (a["accuracy"] - b["accuracy"]) for a, b in zip(floats, runs, strict=True)]
    zeros = [100 * one["zeros"] for one in runs if "zeros" in one]
    return [
        name,
        case,
        *(f"{of(shares):.2f}" for of in (statistics.mean, min, max)),
        f"{statistics.mean(below):.2f}",
        f"{statistics.mean(zeros):.1f}" if zeros else "",
        f"{runs[0]['bits']:,}" if "bits" in runs[0] else "",
    ]


def figures(name: str, data: DataSet, seed: int, epochs: int) -> dict[str, dict[str, Any]]:
    """Accuracy, zeros and bits of each case of one seed."""
    x, y = data.train.reals(), data.train.labels
    test = data.test.reals(), data.test.labels
    model = any_float(trained(NETWORKS[name], x, y, seed, epochs), x[:2]).proto
    right = {"float": {"accuracy": _float_accuracy(model, *test)}}
    size = 16 if name == "motions" else 128
    how = {"rate": 3e-3, "batch": size, "seed": seed, "check": True}
    more = {"teacher": model, "test": test, "start": model, "epochs": max(epochs // 4, 1), **how}

    def quantized(bits: str, rounding: str = "nearest") -> Graph:
        return hwsim.quantize(model, x, bits=bits, rounding=rounding).graph

    w4a4 = quantized("w4a4")
    ternary = hwsim.encode(quantized("w8a4"), "ternary")
    rounds = {"rounds": 4, "epochs_a_round": max(epochs // 8, 1), "rate": 3e-3, "batch": size}
    made = {
        "w8a8": quantized("w8a8"),
        "w4a8": quantized("w4a8"),
        "w4a4": quantized("w4a4", "feedback"),
        "w4a4-trained": hwsim.distil(w4a4, x, y, learn_steps=True, distil=0.5, **more).graph,
        "ternary": hwsim.distil(ternary, x, y, learn_steps=True, distil=0.5, **more).graph,
        "pruned": hwsim.prune(
            w4a4, 0.75, x=x, labels=y, teacher=model, start=model, seed=seed, **rounds
        ).graph,
    }
    for case, graph in made.items():
        weights = [n.op.weights for n in graph.nodes if isinstance(n.op, Weighted)]
        right[case] = {
            "accuracy": hwsim.accuracy(graph, *test).top1,
            "zeros": sum(int((w == 0).sum()) for w in weights) / sum(w.size for w in weights),
            "bits": weight_bits(graph),
        }
    return right


def trained(make: Callable[[], nn.Module], x: Any, y: Any, seed: int, epochs: int) -> nn.Module:
    """A float network, in evaluation mode."""
    torch.manual_seed(seed)
    network, size = make(), 16 if len(x) < 1000 else 128
    inputs, labels = torch.from_numpy(x).float(), torch.from_numpy(y).long()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2, weight_decay=1e-2)
    steps = epochs * -(-len(x) // size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, max(steps, 20))
    for _ in range(epochs):
        for part in torch.randperm(len(x)).split(size):
            if len(part) < 2:
                continue  # of one sample there is no variance
            loss = nn.functional.cross_entropy(network(inputs[part]), labels[part])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval()


def _float_accuracy(model: Any, x: Any, y: Any) -> float:
    import onnxruntime

    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (scores,) = session.run(None, {session.get_inputs()[0].name: x})
    return float((scores.argmax(1) == y).mean())


if __name__ == "__main__":
    main()
