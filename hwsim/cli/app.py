"""The table of commands: each has its function, and whole calls at the foot of its help."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from hwsim.cli import (
    attribution,
    compress,
    compression,
    designs,
    encoding,
    exports,
    installation,
    pruning,
    reading,
    training,
)
from hwsim.cli.options import Commands, examples

app = typer.Typer(
    name="hwsim",
    cls=Commands,
    help="A quantized network: the same integers in NumPy, in RTL and on an FPGA.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from hwsim import __version__

        sys.stdout.write(f"hwsim {__version__}\n")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """A quantized network: the same integers in NumPy, in RTL and on an FPGA."""


app.command(epilog=examples("inspect model.onnx"))(reading.inspect)

app.command(
    epilog=examples(
        "emulate model.onnx -i x.npy -o y.npy", "emulate model.onnx -i data.npz:x_test -o y.npy"
    )
)(reading.emulate)

app.command(
    epilog=examples(
        "accuracy model.onnx -i x.npy --labels y.npy",
        "accuracy model.onnx -i test.npz --reference float.onnx",
        "accuracy model.onnx -i images/ --resize --mean 0.5 --std 0.5",
    )
)(reading.accuracy)

app.command(
    epilog=examples(
        "finetune model.onnx --data x.npy --labels y.npy -o tuned.hwsim",
        "finetune model.onnx --data train.npz --from float.onnx -o tuned.hwsim",
    )
)(training.finetune)

app.command(
    epilog=examples("distil model.onnx --data train.npz --teacher float.onnx -o taught.hwsim")
)(training.distil)

app.command(
    epilog=examples(
        "compress --new recipe.toml", "compress recipe.toml --check", "compress recipe.toml"
    )
)(compress.compress)

app.command(
    epilog=examples("hazards model.hwsim -i x.npy", "hazards model.onnx -i data.npz:x_test --top 5")
)(reading.hazards)

app.command(
    epilog=examples(
        "quantize float.onnx --data train.npz -o m.onnx",
        "quantize float.onnx --data train.npz --bits w4a8 --layer 'fc*=w8' -o m.onnx",
        "quantize float.onnx --data x.npy --test test.npz --ends w8a8 --bits w3a4 -o m.hwsim",
    )
)(compression.quantize)

app.command(
    epilog=examples(
        "attribute quantized.onnx --reference float.onnx -i test.npz:x --labels test.npz:y",
        "attribute quantized.onnx --reference float.onnx -i x.npy --page where.html",
    )
)(attribution.attribute)

app.command(
    epilog=examples(
        "prune model.hwsim --amount 0.75 -o sparse.hwsim",
        "prune model.onnx --pattern channels --by taylor --data train.npz -o small.hwsim",
    )
)(pruning.prune)

app.command(
    epilog=examples(
        "encode model.onnx --weights pot4 -o shifts.hwsim",
        "encode m.onnx --weights ternary --layer 'conv1=pot4' --from float.onnx -o t.hwsim",
    )
)(encoding.encode)

app.command(
    epilog=examples(
        "plan model.onnx",
        "plan model.onnx --target ecp5-85k --clock 40MHz --picture plans.svg",
    )
)(designs.plan)

app.command(
    epilog=examples(
        "build model.onnx -o build --rtl-only",
        "build model.onnx -o build --target ecp5-25k --clock 50MHz --fps 1000",
    )
)(designs.build)

app.command(
    name="to-hls4ml",
    epilog=examples(
        "to-hls4ml model.hwsim -o project",
        "to-hls4ml model.onnx -o project --io io_stream --strategy Resource --reuse-factor 8",
    ),
)(exports.to_hls4ml)

app.command(
    name="to-onnx",
    epilog=examples("to-onnx model.tflite -o m.onnx", "to-onnx model.hwsim -o m.onnx --as qonnx"),
)(exports.to_onnx)

app.command(
    epilog=examples("explore model.tflite -o folder", "explore model.onnx -o folder -i x.npy"),
)(exports.explore)

app.command(
    epilog=examples(
        "verify build",
        "verify build -i x.npy --samples 64",
        "verify build -i x.npy --labels y.npy",
    )
)(designs.verify)

app.command(epilog=examples("report build"))(designs.report)

app.command(epilog=examples("doctor", "doctor --group rtl"))(installation.doctor)
