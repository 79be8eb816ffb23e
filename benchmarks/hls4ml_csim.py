"""The emulator against hls4ml's compiled simulation (csim), on the same models in one run.

    PYTHONPATH=. python benchmarks/hls4ml_csim.py [--json FILE] [--batch N]

`hls_model.predict` of both backends, `hwsim` on one thread and on all cores (csim has one thread):
three accumulators of a 16-64-32-32-5 MLP (inferred: proven exact; fixed<16,6>: rounds and wraps at
each step; fixed<16,6> saturating: every step in order), a 28 x 28 CNN and an LSTM of 100 steps and
64 units, with the seconds that it takes to read. Timed on standard normal
inputs and weights of a trained network's size; codes are compared on those and on inputs that
overflow every format.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from common import interleaved, one_thread, provenance, write_json

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from support.hls4ml_models import Model, csim
from support.hls4ml_sequences import recurrent

from hwsim.emulator.run import Emulator, planned

AUTO = {"accum": "auto", "result": "auto"}


def shrink(model: Model) -> None:
    """Divide the last layer's weights, which are about 1, by the root of the number of terms."""
    weights = model.layers[-1]["weight_data"]
    weights /= np.sqrt(weights[..., 0].size)


def mlp(accum: str | None) -> Model:
    """16-64-32-32-5 with ReLU, hls4ml's default precisions but for the accumulator."""
    model, source = Model(1, (16,), given="fixed<16,6>"), "x"
    types = AUTO if accum is None else {"accum": accum, "result": "fixed<16,6>"}
    for k, outputs in enumerate((64, 32, 32, 5)):
        source = model.dense(source, outputs, types)
        shrink(model)
        if k < 3:
            source = model.activation(source, "relu", {})
    return model


def cnn() -> Model:
    """conv8-pool-conv16-pool-dense10 on 28 x 28, everything inferred."""
    model = Model(2, (28, 28, 1), given="fixed<16,6>")
    source = "x"
    for filters in (8, 16):
        source = model.conv(source, filters, (3, 3), AUTO)
        shrink(model)
        source = model.pool(model.activation(source, "relu", {}), "Max", 2, {})
    model.dense(model.reshape(source, 400), 10, AUTO)
    shrink(model)
    return model


def lstm() -> Model:
    """100 steps of 16 features, 64 units; everything of hls4ml's default precision."""
    model, one = Model(3, (100, 16), given="fixed<16,6>"), {"accum": "fixed<16,6>"}
    recurrent(model, "LSTM", "x", 64, {**one, "result": "fixed<16,6>"})
    for name in ("weight_data", "recurrent_weight_data"):
        model.layers[-1][name] /= np.sqrt(len(model.layers[-1][name]))
    return model


def inputs(model: Model, samples: int) -> Any:
    """Standard normal numbers, float32."""
    shape = (samples, *model.shapes["x"])
    return np.random.default_rng(samples).normal(0, 1, shape).astype(np.float32)


def products(emulator: Emulator, batch: int) -> Callable[[], None]:
    """The float64 matrix products alone of a batch, piece by piece, where all sums are exact."""
    pairs = []
    for step in emulator.plan:
        if "w" in step.constants:
            weights = step.constants["w"].astype(np.float64)
            rows = emulator.chunk * emulator.types[step.output].size // weights.shape[1]
            pairs.append((np.ones((rows, weights.shape[0])), weights))

    def run() -> None:
        for _ in range(-(-batch // emulator.chunk)):
            for x, weights in pairs:
                np.matmul(x, weights)

    return run


def measure(make: Callable[[], Model], batch: int, csim_batch: int, rounds: int) -> dict[str, Any]:
    """Samples a second of both, and how many results differ."""
    model = make()
    with tempfile.TemporaryDirectory() as place:
        theirs = model.build(f"{place}/vitis")
        ours = make().build(f"{place}/hwsim", backend="hwsim")
        start = time.perf_counter()
        ours.compile()
        read = time.perf_counter() - start
        x = inputs(model, batch)
        few = x[:csim_batch].astype(np.float64)  # so that csim's wide results come out whole
        wild = np.concatenate([few, model.data(csim_batch).astype(np.float64)])
        want = csim(theirs, wild)  # compiles
        got = ours.predict(wild)
        (name,) = want
        emulator = planned(ours.config.backend.compiled(ours))
        seconds = interleaved(
            {
                "predict": with_threads(1, lambda: ours.predict(x)),
                "predict_all_cores": with_threads(cores(), lambda: ours.predict(x)),
                "csim": lambda: theirs.predict(few),
                "products": products(emulator, batch),
            },
            rounds,
        )
    rates = {name: batch / seconds[name] for name in ("predict", "predict_all_cores")}
    rates["csim"] = csim_batch / seconds["csim"]
    return {
        "compared": got.size,
        "different": int((got != want[name].reshape(got.shape)).sum()),
        "samples_per_s": rates,
        "ratio": rates["predict"] / rates["csim"],
        "ratio_all_cores": rates["predict_all_cores"] / rates["csim"],
        "share_of_products": seconds["products"] / seconds["predict"],
        "read_s": read,
        "carriers": [step.carrier.value for step in emulator.plan],
    }


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def with_threads(count: int, run: Callable[[], object]) -> Callable[[], None]:
    """The same on so many threads, whatever BLAS is limited to."""

    def limited() -> None:
        os.environ["HWSIM_NUM_THREADS"] = str(count)
        run()

    return limited


def changed_precision() -> float:
    """Milliseconds from a changed precision to the first prediction, conversion included."""
    best = float("inf")
    for width in range(10, 16):
        model = mlp(f"fixed<{width},6>")
        x = inputs(model, 1)
        with tempfile.TemporaryDirectory() as place:
            start = time.perf_counter()
            built = model.build(place, backend="hwsim")
            built.compile()
            built.predict(x)
            best = min(best, (time.perf_counter() - start) * 1000)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--batch", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    one_thread()
    wrap, saturate = "fixed<16,6>", "fixed<16,6,TRN,SAT>"
    results = {
        "mlp, inferred (exact)": measure(lambda: mlp(None), given.batch, 5000, given.rounds),
        f"mlp, accum {wrap}": measure(lambda: mlp(wrap), given.batch, 5000, given.rounds),
        f"mlp, accum {saturate}": measure(lambda: mlp(saturate), given.batch, 5000, given.rounds),
        "cnn 28 x 28, inferred": measure(cnn, 2000, 150, given.rounds),
        "lstm 100 x 64, fixed<16,6>": measure(lstm, 500, 20, given.rounds),
    }
    milliseconds = changed_precision()
    for name, found in results.items():
        rates = found["samples_per_s"]
        print(
            f"{name:34} hwsim {rates['predict']:12,.0f}/s  csim {rates['csim']:9,.0f}/s  "
            f"ratio {found['ratio']:6.1f} ({found['ratio_all_cores']:.1f} on {cores()} cores)  "
            f"different {found['different']} of {found['compared']}  "
            f"products {100 * found['share_of_products']:.0f} %  read in {found['read_s']:.3f} s"
        )
    print(f"changed precision to first prediction, best of six: {milliseconds:.0f} ms")
    if given.json:
        made = provenance("numpy", "hls4ml")
        write_json(
            given.json, {"results": results, "changed_precision_ms": milliseconds, "made": made}
        )


if __name__ == "__main__":
    main()
