"""Options that several commands share, and how `--help` shows a command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from hwsim.frontends import FILES

Model = Annotated[Path, typer.Argument(metavar="MODEL", help=f"A {' or '.join(FILES)} file.")]
Like = Annotated[
    str | None,
    typer.Option(
        metavar="RUNTIME",
        help="Whose integers: of a .tflite file tflm, reference, builtin or xnnpack; of an .onnx "
        "file onnxruntime, openvino, tensorrt or tvm; of a .pt2 file executorch or torch.",
    ),
]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="A folder that `hwsim build` wrote.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")]
Inputs = Annotated[
    list[str],
    typer.Option(
        "--input",
        "-i",
        metavar="X",
        help="A .npy or .npz of (batch, *shape); NAME=FILE for each input of a model with several; "
        "FILE.npz:KEY for one array of several.",
    ),
]
Outputs = Annotated[
    list[str],
    typer.Option(
        "--output",
        "-o",
        metavar="Y",
        help="Where results go, as .npy; NAME=FILE for each output of a model with several, or one "
        ".npz for all.",
    ),
]

_DATA = typer.Option(
    "--input",
    "-i",
    metavar="X",
    help="A .npy, .npz or .csv file, a folder of images, or set:digits/test; NAME=X for each input "
    "of several.",
)
Data = Annotated[list[str], _DATA]
DataOrNone = Annotated[list[str] | None, _DATA]
Labels = Annotated[
    Path | None,
    typer.Option(
        metavar="Y",
        help="Class numbers in a .npy, .npz or .csv file, where the data itself has none.",
    ),
]
Classes = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="The classes' names, one a line, in the model's order."),
]
TargetAccuracy = Annotated[
    str | None,
    typer.Option(
        metavar="A", help="Choose bits by layer: the least whose accuracy is 0.915 or 91.5%."
    ),
]
TargetBits = Annotated[
    int | None,
    typer.Option(metavar="B", help="Choose bits by layer: the best in B bits of all weights."),
]
TargetCycles = Annotated[
    int | None,
    typer.Option(
        metavar="C", help="Take channels out until an inference takes C cycles (hwsim plan)."
    ),
]
Output = Annotated[
    str | None,
    typer.Option("--output", metavar="NAME", help="The output that classifies, of several."),
]
Scale = Annotated[
    str | None,
    typer.Option(metavar="1/255", help="A factor on the data; for images 1/255 by default."),
]
Mean = Annotated[
    str | None,
    typer.Option(metavar="M[,M..]", help="Subtracted after --scale; one, or one a channel."),
]
Std = Annotated[
    str | None,
    typer.Option(metavar="S[,S..]", help="Divided by after --mean; one, or one a channel."),
]
Resize = Annotated[
    bool,
    typer.Option("--resize", help="Scale images to cover the model's size and keep the middle."),
]


class Commands(TyperGroup):
    """The commands; a flag is shown without `<bool>`."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The options before a command's name."""
        return [_bare(param) for param in super().get_params(ctx)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of a name."""
        found = super().get_command(ctx, cmd_name)
        if found is not None:
            for param in found.get_params(ctx):
                _bare(param)
        return found


def _bare(param: Any) -> Any:
    if getattr(param, "is_flag", False) and param.metavar is None:
        param.metavar = ""
    return param


def examples(*lines: str) -> str:
    """The foot of a command's help: whole calls, one a line."""
    return "\n\n".join(("Examples:", *(f"  hwsim {line}" for line in lines)))
