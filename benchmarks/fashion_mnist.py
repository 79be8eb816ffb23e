"""One small CNN on Fashion-MNIST, quantized by each toolchain: its own runtime beside hwsim.

    python benchmarks/fashion_mnist.py [--data FOLDER] [--images N] [--only WORD] [--page FILE]

The data are those of Debian's package `dataset-fashion-mnist`. The network is trained here, in half
a minute. A toolchain that is not installed is left out, and said so. Exit status 1 where a logit
differs and no warning said so.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from common import markdown, one_thread, provenance, rewritten, table, write_json  # noqa: E402
from fashion_network import FOLDER, Array, images, read, trained  # noqa: E402
from fashion_toolchains import TOOLCHAINS  # noqa: E402
from fashion_ways import Way  # noqa: E402

import hwsim  # noqa: E402
from hwsim.frontends.shared.builder import RuntimeDifference  # noqa: E402

CALIBRATION = 500
HEAD = ["toolchain", "runtime", "accuracy", "hwsim's", "logits", "different", "announced"]


def measured(way: Way, pixels: Array, labels: Array) -> dict[str, Any]:
    """One row: logits and accuracy of both."""
    x = way.fed(pixels)
    theirs = way.logits(x)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        graph = way.graph()
    start = time.perf_counter()
    codes = theirs.dtype.kind != "f"
    ours = np.asarray(hwsim.emulate(graph, x, codes=codes))
    return {
        "toolchain": way.toolchain,
        "runtime": way.runtime,
        "accuracy": float((theirs.argmax(1) == labels).mean()),
        "hwsim_accuracy": float((ours.argmax(1) == labels).mean()),
        "logits": int(theirs.size),
        "different": int(np.count_nonzero(ours != theirs)),
        "announced": [str(w.message) for w in said if issubclass(w.category, RuntimeDifference)],
        "hwsim_seconds": time.perf_counter() - start,
    }


def cells(row: dict[str, Any]) -> list[str]:
    """A row of the table."""
    return [
        row["toolchain"],
        row["runtime"],
        f"{100 * row['accuracy']:.2f}",
        f"{100 * row['hwsim_accuracy']:.2f}",
        f"{row['logits']:,}",
        f"{row['different']:,}",
        "yes" if row["announced"] else "",
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=FOLDER, help="of the four files")
    parser.add_argument("--images", type=int, default=10_000, help="test images to compare on")
    parser.add_argument("--only", default="", help="toolchains and runtimes with this word alone")
    parser.add_argument("--json", type=Path, help="where the figures go")
    parser.add_argument("--page", type=Path, help="a page whose table is written anew")
    arguments = parser.parse_args()
    one_thread()
    logging.disable(logging.WARNING)
    network = trained(arguments.data)
    calibration = images(arguments.data, "train")[:CALIBRATION]
    pixels = images(arguments.data, "t10k")[: arguments.images]
    labels = read(arguments.data, "t10k-labels")[: arguments.images]
    with torch.no_grad():
        right = float((network(torch.from_numpy(pixels)).argmax(1).numpy() == labels).mean())
    print(f"float: {100 * right:.2f}")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for chain in TOOLCHAINS:
            missing = [name for name in chain.needs if importlib.util.find_spec(name) is None]
            if missing:
                print(f"left out, for want of {', '.join(missing)}: {chain.ways.__doc__}")
                continue
            for way in chain.ways(network, calibration, Path(folder)):
                if arguments.only.lower() in f"{way.toolchain} {way.runtime}".lower():
                    rows.append(measured(way, pixels, labels))
                    print("  ".join(cells(rows[-1])), flush=True)
    if arguments.json:
        packages = ("numpy", "onnxruntime", "torch")
        write_json(arguments.json, provenance(*packages) | {"float_accuracy": right, "rows": rows})
    body = [["the float network", "PyTorch", f"{100 * right:.2f}", *[""] * 4]]
    body += [cells(row) for row in rows]
    if arguments.page:
        page = rewritten(arguments.page, Path(__file__).name, markdown(HEAD, body))
        arguments.page.write_text(page, encoding="utf-8")
    print(table(HEAD, body))
    return int(any(row["different"] and not row["announced"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
