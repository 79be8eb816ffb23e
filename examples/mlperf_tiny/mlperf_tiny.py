"""Your copies of MLPerf Tiny's int8 models: whose integers, how accurate, what hardware."""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

import hwsim
from hwsim import Graph, HwsimError
from rtl.build import Request, build
from rtl.plan.explore import explore
from rtl.targets import find_target

Array = npt.NDArray[Any]
SETS = ("tflm", "reference", "builtin", "xnnpack")
KNOWN = {
    "kws_ref_model": "aeea436800704fce17b17292e4412630ad856e9d777c044c64ef748a880bd0ae",
    "ad01_int8": "87cf24194ef93d1d9b11a591d805526b98008e351655d29883c825c9c106ba24",
    "vww_96_int8": "597a384c8c2c8a1276f04702f25013b7838f2f814f1ca7c174d295b73e3d6b7b",
    "pretrainedResnet_quant": "3c002613d1b2475eb51dd78dfb85a546c8ae658dee71cf6ade43b022fe205415",
}
"""SHA-256 of the files that the page's figures are of, by their names in the suite."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Outputs of one kernel set for random inputs; None where its runtime did not run."""

    like: str
    outputs: int | None
    different: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """A design; look-up tables and the clock it reached only where it was built."""

    target: str
    cycles: int
    frames_per_second: float
    multipliers: int
    block_rams: int | None
    look_up_tables: int | None = None
    fmax_mhz: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that is said of one model; `known` is None where no hash of it is known."""

    model: str
    sha256: str
    known: bool | None
    compared: list[Compared]
    quality: str | None
    hardware: Hardware | str


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL.tflite")
    parser.add_argument(
        "--data", action="append", default=[], metavar="MODEL=FILE.npz", help="arrays x and y"
    )
    parser.add_argument("--like", default="tflm", choices=SETS, help="of accuracy and hardware")
    parser.add_argument("--samples", type=int, default=200, help="random inputs a kernel set")
    parser.add_argument("--target", default="ecp5-85k")
    parser.add_argument("--build", type=Path, metavar="DIR", help="place and route into DIR")
    parser.add_argument("--markdown", action="store_true", help="print rows of a Markdown table")
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    try:
        find_target(given.target)
        if given.samples < 1:
            raise HwsimError(f"--samples must be at least 1, not {given.samples}")
        if given.json and not given.json.absolute().parent.is_dir():
            raise HwsimError(f"the folder of --json {given.json} must be there")
        data = dict(named(text) for text in given.data)
        unknown = sorted(data.keys() - {path.stem for path in given.models})
        if unknown:
            raise HwsimError(f"--data must name one of the models, not {', '.join(unknown)}")
        reports = [report(path, data.get(path.stem), given) for path in given.models]
    except (HwsimError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print("\n".join(map(row if given.markdown else page, reports)))
    if given.json:
        text = json.dumps([asdict(one) for one in reports], indent=1)
        given.json.write_text(f"{text}\n", encoding="utf-8")
    return int(any(one.different for each in reports for one in each.compared))


def named(text: str) -> tuple[str, Path]:
    """The model and the file of a `--data` option."""
    name, mark, path = text.partition("=")
    if not (mark and Path(path).suffix == ".npz"):
        raise HwsimError(f"--data must be MODEL=FILE.npz, not {text!r}")
    return name, Path(path)


def report(path: Path, data: Path | None, given: argparse.Namespace) -> Report:
    """Everything about one model."""
    graph = hwsim.load(path, like=given.like)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Report(
        model=path.stem,
        sha256=digest,
        known=None if path.stem not in KNOWN else KNOWN[path.stem] == digest,
        compared=[compared(path, like, given.samples) for like in SETS],
        quality=None if data is None else quality(graph, data),
        hardware=hardware(graph, path.stem, given),
    )


def compared(path: Path, like: str, samples: int) -> Compared:
    """Random codes through hwsim and through the runtime itself."""
    graph = hwsim.load(path, like=like)
    (port,) = graph.inputs
    shape, rng = port_shape(graph), np.random.default_rng(1)
    x = rng.integers(port.type.lo, port.type.hi + 1, (samples, *shape))
    given = x.astype(port.element) if port.element else real(x, port.type)
    wanted = ran(path, like, given)
    if wanted is None:
        return Compared(like=like, outputs=None, different=None)
    found = hwsim.emulate(graph, given)
    return Compared(like=like, outputs=wanted.size, different=int((found != wanted).sum()))


def port_shape(graph: Graph) -> tuple[int, ...]:
    """The axes of a sample, as the model's user sees them."""
    (port,) = graph.inputs
    order = port.axes or tuple(range(len(port.type.shape)))
    return port.shape or tuple(port.type.shape[axis] for axis in order)


def real(codes: Array, kind: Any) -> Array:
    """Reals on the grid of an input."""
    return ((codes - kind.zero_point) * kind.scales()[0]).astype(np.float32)


def ran(path: Path, like: str, x: Array) -> Array | None:
    """The outputs of the runtime, a sample at a time; None where it is missing or refuses."""
    needed = "tflite_micro" if like == "tflm" else "ai_edge_litert"
    if importlib.util.find_spec(needed) is None:
        return None
    try:
        return micro(path, x) if like == "tflm" else litert(path, like, x)
    except RuntimeError:
        return None


def micro(path: Path, x: Array) -> Array:
    from tflite_micro import runtime

    interpreter, rows = runtime.Interpreter.from_bytes(path.read_bytes()), []
    for sample in x:
        interpreter.set_input(sample[None], 0)
        interpreter.invoke()
        rows.append(interpreter.get_output(0)[0].copy())
    return np.stack(rows)


def litert(path: Path, like: str, x: Array) -> Array:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kernels = {
        "xnnpack": OpResolverType.AUTO,
        "builtin": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        "reference": OpResolverType.BUILTIN_REF,
    }[like]
    interpreter = Interpreter(str(path), experimental_op_resolver_type=kernels, num_threads=1)
    interpreter.allocate_tensors()
    (given,), (made,) = interpreter.get_input_details(), interpreter.get_output_details()
    rows = []
    for sample in x:
        interpreter.set_tensor(given["index"], sample[None])
        interpreter.invoke()
        rows.append(interpreter.get_tensor(made["index"])[0].copy())
    return np.stack(rows)


def quality(graph: Graph, path: Path) -> str:
    """Right classes; of a model that gives back its input, how well its error tells y = 1 apart."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if not {"x", "y"} <= set(arrays.files):
                raise HwsimError(f"{path} must hold arrays x and y, not {', '.join(arrays.files)}")
            x, y = arrays["x"], arrays["y"]
    except (OSError, ValueError, BadZipFile) as error:
        raise HwsimError(f"{path} must be an .npz file of arrays x and y ({error})") from None
    if y.shape != (len(x),):
        raise HwsimError(f"{path}: y must be one label a sample, {(len(x),)}, not {y.shape}")
    found = hwsim.emulate(graph, x)
    (port,), (end,) = graph.inputs, graph.outputs
    if found.shape[1:] != x.shape[1:]:
        right = int((found.reshape(len(x), -1).argmax(1) == y).sum())
        return f"accuracy {right / len(x):.4f} of {len(x):,} samples"
    kinds = port.type, graph.types()[end.tensor]
    before, after = (
        real(v.astype(np.int64), kind) if np.issubdtype(v.dtype, np.integer) else v
        for v, kind in zip((x, found), kinds, strict=True)
    )
    errors = ((after - before) ** 2).reshape(len(x), -1).mean(1)
    return f"AUC {auc(errors, y):.4f} of {len(x):,} samples"


def auc(scores: Array, y: Array) -> float:
    """The chance that a sample of y = 1 has a higher score than one of y = 0; ties count half."""
    one, none = scores[y == 1][:, None], scores[y == 0]
    if not (one.size and none.size):
        raise HwsimError("y of a model that gives back its input must hold both 0 and 1")
    return float(((one > none) + 0.5 * (one == none)).mean())


def hardware(graph: Graph, name: str, given: argparse.Namespace) -> Hardware | str:
    """What `hwsim plan` says of the default plan, or what was built; why there is none."""
    try:
        (default,) = (p for p in explore(graph, target=given.target).options if p.default)
        if not given.build:
            return Hardware(
                target=given.target,
                cycles=default.cycles,
                frames_per_second=default.fps,
                multipliers=default.multipliers,
                block_rams=default.block_rams,
            )
        facts = build(graph, given.build / name, Request(target=given.target, name=name))
    except HwsimError as error:
        return str(error)
    made = facts["implementation"]
    return Hardware(
        target=given.target,
        cycles=facts["analytic_cycles"],
        frames_per_second=default.fps,
        multipliers=made["dsp"],
        block_rams=made["bram"],
        look_up_tables=made["lut"],
        fmax_mhz=made["fmax_mhz"],
    )


def page(one: Report) -> str:
    """A model's paragraph."""
    known = {True: "known", False: "not the file that is known", None: "not known"}[one.known]
    lines = [f"{one.model}", f"  SHA-256    {one.sha256} ({known})"]
    for each in one.compared:
        said = "its runtime is missing or refuses the model"
        if each.different is not None:
            said = f"{each.different:,} of {each.outputs:,} outputs different"
        lines.append(f"  {each.like:<10} {said}")
    lines.append(f"  quality    {one.quality or 'no --data'}")
    made = one.hardware
    if isinstance(made, str):
        return "\n".join([*lines, f"  hardware   {made}"])
    lines.append(
        f"  hardware   {made.cycles:,} cycles, {made.frames_per_second:,.0f} frames/s at 50 MHz, "
        f"{made.multipliers} DSP, {made.block_rams} BRAM ({made.target})"
    )
    if made.look_up_tables is not None:
        lines.append(f"             {made.look_up_tables:,} LUT, {made.fmax_mhz} MHz routed")
    return "\n".join(lines)


def row(one: Report) -> str:
    """A model's row of a Markdown table."""
    counts = [
        "not run" if c.different is None else f"{c.different:,} of {c.outputs:,}"
        for c in one.compared
    ]
    made = one.hardware
    if isinstance(made, str):
        cells = ["none", "", "", "", "", ""]
    else:
        used = [made.look_up_tables, made.multipliers, made.block_rams]
        cells = [made.target, f"{made.cycles:,}", f"{made.frames_per_second:,.0f}"]
        cells += ["" if count is None else f"{count:,}" for count in used]
    return f"| {' | '.join([one.model, f'`{one.sha256[:12]}`', *counts, *cells])} |"


if __name__ == "__main__":
    raise SystemExit(main())
