"""Commands that write a model in the files of other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwsim import defaults
from hwsim.cli.console import Progress, console, print_json
from hwsim.cli.options import Json, Like, Model


def to_onnx(
    model: Model,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE.onnx", help="The file to write.")
    ],
    form: Annotated[
        str,
        typer.Option(
            "--as",
            metavar="FORM",
            help="integer (any model, any runtime), qdq or qonnx.",
        ),
    ] = "integer",
    integers: Annotated[
        bool, typer.Option("--integers", help="Codes at both ends, not reals.")
    ] = False,
    mixed: Annotated[
        bool, typer.Option("--mixed", help="Integer operators where the form has none.")
    ] = False,
    samples: Annotated[
        int, typer.Option("--check", help="Random samples on which the file is run; 0 for none.")
    ] = 16,
    like: Like = None,
    as_json: Json = False,
) -> None:
    """Write a model as an ONNX file whose runtimes give the same codes."""
    from hwsim.frontends import load
    from hwsim.onnx_export import write_model

    with Progress(f"writing {out}"):
        graph = load(model, like=like)
        facts = write_model(graph, out, form=form, integers=integers, mixed=mixed, samples=samples)
    if as_json:
        print_json({"model": str(model), **facts})
        return
    from hwsim.cli.tables import show_onnx

    show_onnx(facts)


def explore(
    model: Model,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="The folder of the files to open.")
    ],
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", "-i", metavar="X", help="Samples, for data that need some."),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(metavar="FLOAT.onnx", help="A float model to compare each tensor with."),
    ] = None,
    target: Annotated[str, typer.Option(help="Whose plan gives the cycles.")] = defaults.TARGET,
    clock: Annotated[str, typer.Option(help="Of that plan.")] = defaults.CLOCK,
    like: Like = None,
    as_json: Json = False,
) -> None:
    """Write a model as a graph for Model Explorer, with data to colour its nodes by."""
    from hwsim.cli.batch import open_inputs
    from hwsim.explorer import write_folder
    from hwsim.frontends import load

    with Progress(f"writing {out}"):
        graph = load(model, like=like)
        x = None if inputs is None else open_inputs(graph, inputs)
        facts = write_folder(
            graph, model.name, out, x=x, reference=reference, target=target, clock=clock
        )
    if as_json:
        print_json({"model": str(model), **facts})
        return
    console().print(f"open: {facts['next']}", markup=False, soft_wrap=True)


def to_hls4ml(
    model: Model,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="The folder of the project.")
    ],
    backend: Annotated[str, typer.Option(help="Vitis or Vivado.")] = "Vitis",
    io: Annotated[str, typer.Option(help="io_parallel or io_stream.")] = "io_parallel",
    strategy: Annotated[
        str, typer.Option(help="Latency or Resource, of layers whose sums take any order.")
    ] = "Latency",
    reuse_factor: Annotated[int, typer.Option(help="Of the same layers.")] = 1,
    integers: Annotated[
        bool, typer.Option("--integers", help="Leave out scales and float32 at both ends.")
    ] = False,
    like: Like = None,
    as_json: Json = False,
) -> None:
    """Write a model as an hls4ml project whose C++ simulation gives the same codes."""
    from hwsim.frontends import load
    from hwsim.hls4ml_project import write_project

    with Progress(f"writing {out}"):
        facts = write_project(
            load(model, like=like),
            out,
            backend=backend,
            io_type=io,
            strategy=strategy,
            reuse_factor=reuse_factor,
            integers=integers,
        )
    if as_json:
        print_json({"model": str(model), **facts})
        return
    from hwsim.cli.tables import show_layers

    show_layers(facts)
