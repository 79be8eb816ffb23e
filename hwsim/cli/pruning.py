"""The command that takes weights or channels out of a network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from hwsim.cli.console import Progress, console, print_json
from hwsim.cli.options import Json, Labels, Like, Mean, Model, Resize, Scale, Std
from hwsim.errors import HwsimError


def prune(
    model: Model,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="The .hwsim file to write, or of a float ONNX model the .onnx file.",
        ),
    ],
    amount: Annotated[
        float, typer.Option(metavar="A", help="The share that goes, from 0 to below 1.")
    ] = 0.5,
    by: Annotated[
        str,
        typer.Option(
            "--by",
            metavar="SCORE",
            help="magnitude; on data activation or zeros; with labels taylor or movement.",
        ),
    ] = "magnitude",
    pattern: Annotated[
        str,
        typer.Option(
            metavar="PATTERN",
            help="unstructured, channels, N:M (2:4, whatever the amount) or PExSIMD (4x8).",
        ),
    ] = "unstructured",
    scope: Annotated[
        str, typer.Option(metavar="SCOPE", help="Of each layer, or global: of all together.")
    ] = "layer",
    layers: Annotated[
        list[str] | None,
        typer.Option("--layer", metavar="NODE", help="A layer to prune; all where none is named."),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data",
            "--input",
            "-i",
            metavar="D",
            help="Samples: .npy, .npz, .csv or a folder of images; NAME=D for each input.",
        ),
    ] = None,
    labels: Labels = None,
    scale: Scale = None,
    mean: Mean = None,
    std: Std = None,
    resize: Resize = False,
    like: Like = None,
    as_json: Json = False,
) -> None:
    """Take the weights or channels out of a network that matter least.

    Weights become 0. Channels go with all that makes and reads them: what is
    left has the codes of the whole network that finds real zero in them.
    """
    from hwsim.compress.prune import prune as pruning
    from hwsim.compress.prune.masks import parse_pattern
    from hwsim.data import Preparation
    from hwsim.frontends import load

    prepare = Preparation.parse(scale, mean, std, resize=resize)
    how = pruning.Pruning(
        amount=amount,
        by=by,
        pattern=parse_pattern(pattern),
        scope=scope,
        layers=None if layers is None else tuple(layers),
    )
    if out.suffix not in (".hwsim", ".onnx"):
        raise HwsimError(f"--out must be a .hwsim or .onnx file, not {out}")
    with Progress(f"pruning {model}"):
        if out.suffix == ".onnx":
            facts = _prune_float(model, out, how)
        else:
            graph = load(model, like=like)
            images, classes = _data(graph, data, labels, prepare)
            found = pruning.prune(graph, how, images, classes)
            found.graph.save(out)
            facts = pruning.facts_of(graph, found.graph, found.whole)
            facts["hash"] = found.graph.hash()
    if as_json:
        print_json({"model": str(model), "out": str(out), **facts})
        return
    _show(facts)


def _prune_float(model: Path, out: Path, how: Any) -> dict[str, Any]:
    """Write a float model with weights of 0; figures."""
    from hwsim.compress.any_float import any_float
    from hwsim.compress.prune.float_weights import facts_of_float, prune_float
    from hwsim.storage import write_atomically

    before = any_float(model)
    found = prune_float(before, how)
    write_atomically(out, found.proto.SerializeToString())
    return facts_of_float(before, found)


def _data(
    graph: Any, given: list[str] | None, labels: Path | None, prepare: Any
) -> tuple[Any, Any]:
    """Samples by input name, and class numbers where there are any."""
    from hwsim.cli.labelled import read_data

    if not given:
        if labels is not None:
            raise HwsimError("--labels must come with --data, the samples that they belong to")
        return None, None
    data = read_data(graph, given, labels, None, prepare, required=False)
    return data.arrays, data.labels


def _show(facts: Mapping[str, Any]) -> None:
    """A line a layer, and what all of them come to."""
    from hwsim.cli.sheet import table

    named = (*facts["layers"].items(), ("total", facts["totals"]))
    rows = [(name, *_row(one), one.get("whole") or "") for name, one in named]
    heads = ("layer", "outputs", "weights", "of them 0", "products", "why it stays whole")
    console().print(table("", heads, rows, ("outputs", "weights", "of them 0", "products")))


def _row(one: Mapping[str, Any]) -> tuple[str, ...]:
    keys = ("outputs", "weights", "zeros", "macs")
    return tuple(" → ".join(f"{n:,}" for n in one[key]) if key in one else "" for key in keys)
