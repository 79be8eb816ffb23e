"""Commands that write a model in the files of other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwsim.cli.console import Progress, print_json
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
