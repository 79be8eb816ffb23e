"""Fashion-MNIST by small integer networks: the whole table, over seeds, from nothing.

    python benchmarks/compressed_networks.py --out FOLDER [--data FOLDER] [--seeds 3] [--jobs N]
        [--device cuda] [--only w4a4 ternary:rate=0.005] [--epochs N] [--json FILE] [--page PAGE]

Trains the float networks, thins them (`float-sparse`: a quarter of the weights, `float-half`: half
of the channels), then makes each case of `compressed_cases.py` of them, every one in a process of
its own, `--jobs` at once. Accuracy is counted by the emulator on all test images, and each code of
training's forward pass is compared with the emulator's there. Models, logs and figures stay in the
folder: what is finished is not made again, what was killed goes on from its last epoch. `brevitas`
trains the same network by Brevitas, w4a4, with the same data, teacher and epochs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from common import markdown, options, provenance, rewritten, table, write_json
from compressed_cases import CASES, figures, made, recipe
from compressed_float import (
    Samples,
    halved,
    read_float,
    sparse,
    teacher,
    trained,
    write_float,
)

from hwsim.compress.float_model import FloatModel

FLOAT, SPARSE, HALF, PEER = "float", "float-sparse", "float-half", "brevitas"
THINNED = (SPARSE, HALF)
HEAD = (
    "case",
    "seeds",
    "mean %",
    "least %",
    "most %",
    "below float",
    "wanted %",
    "zeros %",
    "bits",
)


def main() -> None:
    """Run the script."""
    args = _parser().parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.one:
        return _one(args, args.one, args.seed)
    cases = args.only or [*CASES, PEER]
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    thinned = [name for name in THINNED if any(name in (c, _start(c)) for c in cases)]
    lost: list[str] = []
    for stage in ([FLOAT], thinned, [case for case in cases if case not in (FLOAT, *THINNED)]):
        if not lost:
            lost = _all(args, [(case, seed) for case in stage for seed in seeds])
    found = [
        json.loads(path.read_text(encoding="utf-8")) for path in sorted(args.out.glob("*.json"))
    ]
    rows = list(_rows(found))
    print(table(HEAD, rows))
    if args.json:
        write_json(args.json, {"runs": found, **provenance("torch", "numpy", "onnxruntime")})
    if args.page:
        page = rewritten(args.page, Path(__file__).name, markdown(HEAD, rows))
        args.page.write_text(page, encoding="utf-8")
    if lost:
        raise SystemExit(f"error: {len(lost)} runs ended without figures: {', '.join(lost)}")


def _start(case: str) -> str:
    name = case.partition(":")[0]
    return recipe(case).start if name in CASES else FLOAT


def _parser() -> argparse.ArgumentParser:
    parser = options(__doc__ or "")
    parser.add_argument("--out", type=Path, required=True, help="where models and figures go")
    parser.add_argument("--set", default="fashion-mnist", help="the data set's name")
    parser.add_argument("--data", type=Path, help="the folder of its files")
    parser.add_argument("--samples", type=int, help="the first of each part, to try it")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="how many at once")
    parser.add_argument("--device", default="cpu", help="where trainings compute")
    parser.add_argument(
        "--only", nargs="+", metavar="CASE", help=", ".join([*THINNED, *CASES, PEER])
    )
    parser.add_argument("--epochs", type=int, help="of each training, instead of the recipe's")
    parser.add_argument("--float-epochs", type=int, default=20)
    parser.add_argument("--one", metavar="CASE", help="make one case, of one seed, in this process")
    parser.add_argument("--seed", type=int, default=0, help="with --one")
    return parser


def _all(args: argparse.Namespace, wanted: Sequence[tuple[str, int]]) -> list[str]:
    """Run what has no figures yet, some at once; the names of those that failed."""
    left = [pair for pair in wanted if not _figures(args.out, *pair).exists()]
    running: dict[str, subprocess.Popen[bytes]] = {}
    lost = []
    while left or running:
        while left and len(running) < args.jobs:
            case, seed = left.pop(0)
            running[f"{case}-{seed}"] = _started(args, case, seed)
        time.sleep(0.2)
        for name, process in list(running.items()):
            if process.poll() is not None:
                del running[name]
                lost += [name] if process.returncode else []
                print(name, "failed" if process.returncode else "done", file=sys.stderr, flush=True)
    return lost


def _started(args: argparse.Namespace, case: str, seed: int) -> subprocess.Popen[bytes]:
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    with _file(args.out, case, seed, "log").open("ab") as log:
        command = [sys.executable, __file__, *sys.argv[1:], "--one", case, "--seed", str(seed)]
        return subprocess.Popen(
            command, stdout=log, stderr=log, env={**os.environ, **dict.fromkeys(names, "1")}
        )


def _file(out: Path, case: str, seed: int, suffix: str) -> Path:
    return out / f"{case.replace(':', '_').replace(',', '_')}-{seed}.{suffix}"


def _figures(out: Path, case: str, seed: int) -> Path:
    return _file(out, case, seed, "json")


def _one(args: argparse.Namespace, case: str, seed: int) -> None:
    """One case of one seed, into its files."""
    import torch

    torch.set_num_threads(1)
    data = Samples.read(args.set, args.data, args.samples)
    start, cpu = time.perf_counter(), time.process_time()
    facts: dict[str, Any] = {"case": case, "seed": seed, "device": args.device}
    if case in (FLOAT, *THINNED):
        facts |= _float(args, case, seed, data)
    elif case.partition(":")[0] == PEER:
        from compressed_brevitas import beside

        epochs = args.epochs or CASES["w4a4"].epochs
        state = _file(args.out, case, seed, "safetensors")
        facts |= beside(_onnx(args.out, seed), data, seed, epochs, args.device, state)
    else:
        facts |= _integers(args, case, seed, data)
    facts |= {
        "seconds": round(time.perf_counter() - start, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "made": provenance("torch", "numpy", "onnxruntime"),
    }
    write_json(_figures(args.out, case, seed), facts)


def _onnx(out: Path, seed: int, name: str = FLOAT) -> Path:
    return _file(out, name, seed, "onnx")


def _say(epoch: int) -> None:
    print(f"{time.perf_counter():.0f} s epoch {epoch}", flush=True)


def _float(args: argparse.Namespace, case: str, seed: int, data: Samples) -> dict[str, Any]:
    side, epochs, path = data.x.shape[-1], args.float_epochs, _onnx(args.out, seed, case)
    more: dict[str, Any] = {"epochs": epochs, "device": args.device, "say": _say}
    if case == FLOAT:
        network = trained(data, seed, **more)
    else:
        more["teach"] = teacher(_onnx(args.out, seed), side, args.device)
        dense = read_float(_onnx(args.out, seed), side)
        thin = sparse if case == SPARSE else halved
        network = thin(dense, data, seed, **more)
    write_float(network, side, path)
    model = FloatModel.read(path)
    (image,), (logits,) = model.inputs, model.outputs
    parts = range(0, len(data.xt), 500)
    picked = [
        found[logits].argmax(1)
        for found in model.run(({image: data.xt[at : at + 500]} for at in parts), model.outputs)
    ]
    right = sum(
        int((found == data.yt[at : at + 500]).sum())
        for at, found in zip(parts, picked, strict=True)
    )
    count = sum(int(p.numel()) for p in network.parameters())
    layers = network.layers().values()
    return {
        "accuracy": right / len(data.xt),
        "right": right,
        "images": len(data.xt),
        "parameters": count,
        "weights": sum(one.numel() for one in layers),
        "zeros": sum(int((one == 0).sum()) for one in layers),
        "epochs": args.float_epochs,
    }


def _integers(args: argparse.Namespace, case: str, seed: int, data: Samples) -> dict[str, Any]:
    from dataclasses import asdict, replace

    how = recipe(case)
    if args.epochs and how.epochs:
        how = replace(how, epochs=args.epochs)
    checkpoint = _file(args.out, case, seed, "checkpoint")
    graph = made(
        how,
        {name: _onnx(args.out, seed, name) for name in (FLOAT, *THINNED)},
        data,
        seed=seed,
        device=args.device,
        checkpoint=checkpoint,
        say=lambda epoch: print(f"{time.perf_counter():.0f} s", epoch, flush=True),
    )
    graph.save(_file(args.out, case, seed, "hwsim"))
    checkpoint.unlink(missing_ok=True)
    return {"recipe": asdict(how), **figures(graph, data, args.device)}


def _rows(found: Sequence[Mapping[str, Any]]) -> Iterator[list[str]]:
    """One for each case: the mean and the ends over the seeds, and how far below float."""
    floats = {one["seed"]: one["accuracy"] for one in found if one["case"] == FLOAT}
    order = [FLOAT, *THINNED, *CASES, PEER]
    names = sorted(
        {one["case"] for one in found}, key=lambda n: (order.index(n.partition(":")[0]), n)
    )
    for name in names:
        runs = [one for one in found if one["case"] == name]
        shares = [100 * one["accuracy"] for one in runs]
        below = [100 * (floats[one["seed"]] - one["accuracy"]) for one in runs]
        wanted = recipe(name).wanted if name.partition(":")[0] in CASES else ""
        zeros = [100 * one["zeros"] / one["weights"] for one in runs if "zeros" in one]
        bits = [one["weight_bits"] for one in runs if "weight_bits" in one]
        yield [
            name,
            str(len(runs)),
            *(f"{of(shares):.2f}" for of in (statistics.mean, min, max)),
            f"{statistics.mean(below):.2f}",
            "91.5" if name == FLOAT else wanted,
            f"{statistics.mean(zeros):.1f}" if zeros else "",
            f"{statistics.mean(bits):,.0f}" if bits else "",
        ]


if __name__ == "__main__":
    main()
