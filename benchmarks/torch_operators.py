"""Quantized PyTorch modules in hwsim and in PyTorch, four engines: are the codes equal?

    python benchmarks/torch_operators.py [--least N] [--json FILE] [--page FILE]

Each operator that the front end reads, alone: scales that are powers of two (ties) or random, odd
zero points, weights with one scale or one a channel, with and without a bias. Functions and pairs
run on a batch of one; fbgemm's depthwise layer on codes up to 127. Then whole networks of
eager and FX quantization, and modules of Brevitas against their own forward pass. Exit status 1
where a code differs and nothing announced it.
"""

from __future__ import annotations

import sys
import warnings
import zlib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from common import one_thread, options, provenance, tell  # noqa: E402
from support import brevitas_networks, torch_forms, torch_networks  # noqa: E402
from support import torch_modules as made  # noqa: E402

import hwsim  # noqa: E402
from hwsim.frontends.shared.builder import RuntimeDifference  # noqa: E402

SEED = 20261126
HEAD = [
    "operator or network",
    "compared, an engine",
    *(f"different, {engine}" for engine in made.ENGINES),
]
MARK = " (announced)"
POOLED = 128  # samples of a pool, which gives few codes each, wherever they lie in the batch
TURNS = 8  # of an operator at least: all that varies has come up by then
ALONE = {
    **{name: (torch_forms.alone, function) for name, function in torch_forms.FUNCTIONS.items()},
    **{name: (torch_forms.two, function) for name, function in torch_forms.PAIRS.items()},
    **{name: (torch_forms.alone, function) for name, function in torch_forms.POOLS.items()},
    **{name: (torch_forms.alone, function) for name, function in torch_forms.SOFTMAXES.items()},
}
SHAPES = ((8, 24, 24), (21, 12, 30), (5, 18, 42))
Counts = tuple[int, int, bool]  # compared, different, whether something was announced


def generator(*key: object) -> np.random.Generator:
    """A generator of its own for each thing that is drawn."""
    return np.random.default_rng(zlib.crc32(repr(key).encode()) ^ SEED)


def counted(module: Any, engine: str, x: np.ndarray[Any, Any]) -> Counts | None:
    """Codes compared and different; None where PyTorch or the front end refuses the module."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            compared, different, _ = made.compare(module, engine, x, engine)
        except (RuntimeError, hwsim.HwsimError):
            return None
    return compared, different, any(issubclass(w.category, RuntimeDifference) for w in said)


def layer(name: str, engine: str, turn: int) -> Counts | None:
    """One layer with weights, drawn anew."""
    rng = generator(name, engine, turn)
    build, shape = torch_forms.LAYERS[name]
    setting = made.SETTINGS[turn % 2]
    by_channel = bool(turn // 2 % 2) and not name.startswith("transposed")
    with made.engine(engine):
        try:
            module = torch_forms.layer(
                build(), rng, setting, by_channel=by_channel, biased=bool(turn // 4 % 2)
            )
        except RuntimeError:
            return None
    reach = 127 if name.startswith("depthwise") and engine in ("fbgemm", "x86") else 275
    return counted(module, engine, made.inputs(rng, module, (48, *shape), reach))


def single(name: str, engine: str, turn: int) -> Counts | None:
    """One function, pair or pool, drawn anew."""
    rng = generator(name, engine, turn)
    build, function = ALONE[name]
    shape = SHAPES[turn // 2 % len(SHAPES)]
    module = build(function, shape, rng, made.SETTINGS[turn % 2])
    batch = POOLED if name in torch_forms.POOLS else 1
    return counted(module, engine, made.inputs(rng, module, (batch, *shape)))


def row(name: str, one: Any, least: int) -> list[str]:
    """The line of an operator: again and again until there are enough outputs."""
    shown, totals = [], []
    for engine in made.ENGINES:
        total, different, announced, turn, refused = 0, 0, False, 0, 0
        while (total < least or turn < TURNS) and refused < TURNS:
            found = one(name, engine, turn)
            turn += 1
            if found is None:
                refused += 1
                continue
            total, different = total + found[0], different + found[1]
            announced |= found[2] and found[1] > 0
        totals.append(total)
        shown.append(_cell(different, total, announced=announced))
    return [name, f"{min(filter(None, totals), default=0):,}", *shown]


def _cell(different: int, total: int, *, announced: bool) -> str:
    if not total:
        return "refused"
    return f"{different:,}{MARK}" if announced else f"{different:,}"


def network(name: str, least: int) -> list[str]:
    """The line of a whole network: its outputs, sample by sample."""
    shape, shown, total = torch_networks.NETWORKS[name][1], [], 0
    for engine in made.ENGINES:
        module = torch_networks.quantized(name, engine, SEED)
        x = generator(name, engine).normal(0, 1, (least, *shape)).astype(np.float32)
        with warnings.catch_warnings(), made.engine(engine):
            warnings.simplefilter("ignore")
            wanted = [module(torch.from_numpy(x[i : i + 1])).numpy() for i in range(least)]
            got = hwsim.emulate(hwsim.load(module, example=(1, *shape)), x)
        total = got.size
        shown.append(f"{int((got != np.concatenate(wanted)).sum()):,}")
    return [name, f"{total:,}", *shown]


def brevitas(name: str, least: int) -> list[str]:
    """The line of a module of Brevitas."""
    module, shape = brevitas_networks.trained(name, SEED), brevitas_networks.NETWORKS[name][1]
    x = generator(name).normal(0, 1, (least, *shape)).astype(np.float32)
    with warnings.catch_warnings(record=True) as said, torch.no_grad():
        warnings.simplefilter("always")
        wanted = module(torch.from_numpy(x))
        wanted = (wanted.value if hasattr(wanted, "value") else wanted).numpy()
        got = hwsim.emulate(hwsim.load(module, example=(1, *shape)), x)
    different = int((got != wanted).sum())
    announced = any(issubclass(w.category, RuntimeDifference) for w in said) and different > 0
    cell = _cell(different, got.size, announced=announced)
    return [f"Brevitas: {name}", f"{got.size:,}", cell, "", "", ""]


def main() -> int:
    """Measure, print a table, write JSON and page."""
    parser = options(__doc__)
    parser.add_argument("--least", type=int, default=50_000, help="outputs of an operator")
    parser.add_argument("--samples", type=int, default=1000, help="of a network")
    args = parser.parse_args()
    lines = [row(name, layer, args.least) for name in torch_forms.LAYERS]
    lines += [row(name, single, args.least) for name in ALONE]
    lines += [network(name, args.samples) for name in torch_networks.NETWORKS]
    lines += [brevitas(name, args.samples) for name in brevitas_networks.NETWORKS]
    facts = {"provenance": provenance("torch", "brevitas", "numpy"), "seed": SEED}
    tell(args, "torch_operators.py", HEAD, lines, facts)
    fine = ("0", "refused", "")
    return int(any(c not in fine and MARK not in c for line in lines for c in line[2:]))


if __name__ == "__main__":
    one_thread()
    sys.exit(main())
