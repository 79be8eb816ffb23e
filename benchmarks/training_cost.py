"""What an epoch of training with the hardware's integers costs, beside one of the float network.

    python benchmarks/training_cost.py [--set fashion-mnist] [--data FOLDER] [--images 2560]
        [--rounds 3] [--only WORD ...] [--json FILE] [--page FILE]

The network of `compressed_networks.py` (26,298 parameters), the same images in batches of 128, no
teacher and no augmentation, one thread. `float` trains it with its batch norms, as float networks
are; `float, folded` without them, as all others are, whose norms went into the convolutions.
`brevitas w4a4` is the same network of Brevitas's layers with learned scales. In each round every
one trains for two epochs, of which the second counts; of the rounds the median of CPU seconds,
and ratios to the median of `float`. The networks begin where one epoch left the float one.
"""

from __future__ import annotations

import statistics
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from common import one_thread, options, provenance, tell

one_thread()

import torch  # noqa: E402
from compressed_brevitas import quantized as by_brevitas  # noqa: E402
from compressed_float import BATCH, NormedNetwork, Samples, folded  # noqa: E402

from hwsim.compress.any_float import any_float  # noqa: E402
from hwsim.compress.float_model import FloatModel  # noqa: E402
from hwsim.compress.quantize.options import LinearScheme  # noqa: E402
from hwsim.compress.quantize.run import run as quantize  # noqa: E402
from hwsim.compress.sums.narrow import narrow  # noqa: E402
from hwsim.compress.sums.width import sum_widths  # noqa: E402
from hwsim.compress.training.loop import Training, finetune  # noqa: E402
from hwsim.compress.training.start import float_weights  # noqa: E402
from hwsim.ops import Weighted  # noqa: E402

HEAD = ("training", "CPU s an epoch", "times float", "times float, folded", "least", "most")
FLOATS = ("float", "float, folded")
UNITS = 128  # samples on which units of narrow sums are chosen
INTEGER: Mapping[str, Mapping[str, Any]] = {
    "w8a8": {"bits": "w8a8"},
    "w8a8, steps learned": {"bits": "w8a8", "learn_steps": True},
    "w8a8 affine, steps learned": {"bits": "w8a8", "scheme": "affine", "learn_steps": True},
    "w4a4": {"bits": "w4a4"},
    "w4a4, steps learned": {"bits": "w4a4", "learn_steps": True},
    "w4a4 symmetric, steps learned": {"bits": "w4a4", "scheme": "symmetric", "learn_steps": True},
    "w4a4, sums that wrap": {"bits": "w4a4", "sums": "wrap14"},
    "w4a4, sums that saturate": {"bits": "w4a4", "sums": "sat14"},
}
"""How each is quantized and trained; sums of the last layer are as wide as they need to be."""
Seconds = Callable[[], float]  # of a training's second epoch


def main() -> int:
    """Measure, print a table, write JSON and page."""
    parser = options(__doc__)
    parser.add_argument("--set", default="fashion-mnist", help="a data set of hwsim.data.sets")
    parser.add_argument("--data", type=Path, help="the folder with the set's files")
    parser.add_argument("--images", type=int, default=2560, help="of each epoch")
    parser.add_argument("--rounds", type=int, default=3, help="of all trainings, one after another")
    parser.add_argument("--only", nargs="*", default=[], help="those whose name has such a word")
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    data = Samples.read(args.set, args.data, args.images)
    runs = trainings(data, args.only)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(args.rounds):
        for name, run in runs.items():
            seconds[name].append(run())
    facts = {"images": args.images, "batch": BATCH, "seconds": seconds}
    facts |= provenance("torch", "brevitas")
    tell(args, Path(__file__).name, HEAD, table(seconds), facts)
    return 0


def table(seconds: dict[str, list[float]]) -> list[list[str]]:
    """A row each; least and most are of single rounds, to the median of the float network."""
    middle = {name: statistics.median(taken) for name, taken in seconds.items()}
    rows = []
    for name, taken in seconds.items():
        ratios = [middle[name] / middle[one] for one in FLOATS]
        ratios += [min(taken) / middle[FLOATS[0]], max(taken) / middle[FLOATS[0]]]
        rows.append([name, f"{middle[name]:.2f}", *(f"{ratio:.2f}" for ratio in ratios)])
    return rows


def trainings(data: Samples, only: list[str]) -> dict[str, Seconds]:
    """The trainings by name; the float ones are always there."""
    torch.manual_seed(1)
    network = NormedNetwork(data.x.shape[-1])
    of_module(network, data)
    plain = torch.nn.Sequential(*folded(network.eval()))
    bits = by_brevitas(network)
    runs: dict[str, Seconds] = {
        FLOATS[0]: lambda: of_module(deepcopy(network), data),
        FLOATS[1]: lambda: of_module(deepcopy(plain), data),
        "brevitas w4a4": lambda: of_module(bits, data),
    }
    model = any_float(network, data.x[:2])
    for name, how in INTEGER.items():
        runs[name] = of_integers(model, data, how)
    wanted = (*only, *FLOATS) if only else ("",)
    return {name: run for name, run in runs.items() if any(word in name for word in wanted)}


def of_module(module: Any, data: Samples) -> float:
    """CPU seconds of the second epoch of a module of PyTorch."""
    module.train()
    optimizer = torch.optim.AdamW(module.parameters(), 1e-3, weight_decay=0.0)
    begun = 0.0
    for _ in range(2):
        begun = time.process_time()
        order = torch.randperm(len(data.x)).numpy()
        for at in range(0, len(order), BATCH):
            part = order[at : at + BATCH]
            scores = module(torch.from_numpy(data.x[part]))
            loss = torch.nn.functional.cross_entropy(scores, torch.from_numpy(data.y[part]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return time.process_time() - begun


def of_integers(model: FloatModel, data: Samples, how: Mapping[str, Any]) -> Seconds:
    """The same of the float model's integer network."""
    scheme = LinearScheme.parse(how["bits"], {}, scheme=how.get("scheme", "power-of-two"))
    graph = quantize(model, data.calibration(model.inputs[0]), scheme).graph
    reals: Any = float_weights(graph, model)
    if "sums" in how:
        *_, last = (node.name for node in graph.nodes if isinstance(node.op, Weighted))
        widths = sum_widths(graph, f"{how['sums']},{last}=none")
        found = narrow(graph, widths, data.x[:UNITS], reals)
        graph, reals = found.graph, found.reals

    def run() -> float:
        ends: list[float] = []
        finetune(
            graph,
            data.x,
            data.y,
            Training(epochs=2, batch=BATCH),
            reals=reals,
            learn_steps=how.get("learn_steps", False),
            say=lambda epoch: ends.append(time.process_time()),
        )
        return ends[1] - ends[0]

    return run


if __name__ == "__main__":
    sys.exit(main())
