"""Commands that make a small integer network of a float one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwsim import defaults
from hwsim.cli.console import Progress, print_json, print_note
from hwsim.cli.groups import PreparationOptions, grouped
from hwsim.cli.options import (
    Classes,
    Json,
    Labels,
    Output,
    TargetAccuracy,
    TargetBits,
    TargetCycles,
)
from hwsim.cli.targets import expect_target
from hwsim.errors import HwsimError

if TYPE_CHECKING:
    from hwsim.compress.choice.target import ChoiceTarget

FloatFile = Annotated[
    Path, typer.Argument(metavar="FLOAT", help="A float .onnx file, or a .pt2 of PyTorch.")
]
Data = Annotated[
    list[str],
    typer.Option(
        "--data",
        "--input",
        "-i",
        metavar="D",
        help="Samples: a .npy, .npz or .csv file, a folder of images, or set:digits/train; "
        "NAME=D for each input.",
    ),
]

Sums = Annotated[
    str | None,
    typer.Option(
        "--accumulator",
        metavar="SUMS",
        help="Narrow sums: wrap12, sat12, or exact12 (weights whose sums always fit); by layer "
        "wrap12,fc*=sat16,conv1=none.",
    ),
]


@grouped
def quantize(
    model: FloatFile,
    data: Data,
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="M", help="The file to write, .onnx or .hwsim."),
    ],
    bits: Annotated[
        str, typer.Option(metavar="wNaN", help="Of weights and activations, 1 to 16 each.")
    ] = "w8a8",
    layer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=wNaN",
            help="Other bits by a pattern of names; w4 or a8, or w4,3,2 by channel.",
        ),
    ] = None,
    ends: Annotated[
        str | None,
        typer.Option(metavar="wNaN", help="Bits of the first and last layers and what they read."),
    ] = None,
    scheme: Annotated[
        str, typer.Option(help="Scales: power-of-two, symmetric or affine.")
    ] = "power-of-two",
    method: Annotated[
        str, typer.Option(help="Of ranges: mse, minmax, average, percentile:99.9 or entropy.")
    ] = "mse",
    per_tensor: Annotated[
        bool, typer.Option("--per-tensor", help="One scale a layer's weights, not one a channel.")
    ] = False,
    histograms: Annotated[
        bool, typer.Option("--histograms", help="Show what each tensor held and its codes hold.")
    ] = False,
    equalize: Annotated[
        bool, typer.Option("--equalize", help="Channels between two layers to ranges alike first.")
    ] = False,
    correct_bias: Annotated[
        bool, typer.Option("--correct-bias", help="Take the weights' mean error off the biases.")
    ] = False,
    rounding: Annotated[
        str, typer.Option(help="Of weights: nearest; by their sums' error, feedback or adaptive.")
    ] = "nearest",
    channel_bits: Annotated[
        str | None,
        typer.Option(
            metavar="FEW-MOST",
            help="Bits of weights by channel, as 2-6, whose average a layer's bits then are.",
        ),
    ] = None,
    accumulator: Sums = None,
    samples: Annotated[
        int, typer.Option(help="Samples that ranges come from, evenly over the data.")
    ] = 1024,
    target_accuracy: TargetAccuracy = None,
    target_bits: TargetBits = None,
    target_cycles: TargetCycles = None,
    target: Annotated[
        str, typer.Option(metavar="NAME", help="The device that --target-cycles is about.")
    ] = defaults.TARGET,
    least: Annotated[
        str, typer.Option(metavar="wNaN", help="The fewest bits to choose; --bits are the most.")
    ] = "w2a2",
    cost: Annotated[
        str,
        typer.Option(help="What an accuracy is to cost least of: operations (of bits), or bits."),
    ] = "operations",
    test: Annotated[
        list[str] | None,
        typer.Option(metavar="X", help="Samples for the accuracy, where not those of --data."),
    ] = None,
    labels: Labels = None,
    classes: Classes = None,
    output: Output = None,
    *,
    preparation: PreparationOptions,
    as_json: Json = False,
) -> None:
    """Quantize a float model after training, from what it does on calibration data.

    With labels (--labels, or in the data) float and integer accuracy are counted side by side.
    With a target bits, or channels for cycles, are chosen by layer: by what each alone
    loses, then by trying. Several targets are kept together.
    """
    from hwsim.cli.choosing import judges_of, show_choice
    from hwsim.cli.floats import accuracy_of, float_samples, warn_of_classes
    from hwsim.cli.labelled import named_files
    from hwsim.compress.any_float import any_float
    from hwsim.compress.choice.choose import choose
    from hwsim.compress.choice.judges import expect_output
    from hwsim.compress.choice.target import parse_target
    from hwsim.compress.quantize.options import LinearScheme
    from hwsim.compress.quantize.result import check_suffix
    from hwsim.compress.quantize.run import run
    from hwsim.compress.samples import Batches
    from hwsim.compress.sums.quantized import with_narrow_sums
    from hwsim.verbs.designs import fewest_cycles

    linear = LinearScheme.parse(
        bits,
        _layers(layer),
        ends=ends,
        scheme=scheme,
        method=method,
        per_channel=not per_tensor,
        equalize=equalize,
        correct_bias=correct_bias,
        rounding=rounding,
        channel_bits=channel_bits,
        exact=out.suffix.lower() != ".onnx",
    )
    bounds = target_accuracy, target_bits, target_cycles
    asked = parse_target(*bounds, least=least, cost=cost, accumulator=accumulator)
    cycles = None if target_cycles is None else fewest_cycles(target)
    check_suffix(out)
    expect_target(out, read=(model, *data, labels, *(test or ())))
    if accumulator is not None and out.suffix.lower() != ".hwsim":
        raise HwsimError(
            f"the output must be a .hwsim file for --accumulator, which no ONNX file holds, not "
            f"{out}"
        )
    if target_cycles is not None and out.suffix.lower() != ".hwsim":
        raise HwsimError(
            f"the output must be a .hwsim file for --target-cycles, whose channels go from the "
            f"Graph (hwsim to-onnx writes ONNX of it), not {out}"
        )
    if samples < 1:
        raise HwsimError(f"--samples must be at least 1, not {samples}")
    prepare = preparation.parse()
    with Progress(f"reading {model}") as progress:
        found = any_float(model)
        expect_output(found, output)
        own = None if test else labels
        given = float_samples(found, data, own, classes, prepare)
        tested = given if not test else float_samples(found, test, labels, classes, prepare)
        progress("calibrating")
        try:
            batches = Batches(found, given.arrays, samples=samples)
        except HwsimError as error:
            raise HwsimError(f"{', '.join(data)}: {error}") from None
        if asked is None:
            made = run(found, batches, linear)
        else:
            files = named_files(test or data, labels)
            judges = judges_of(asked, given, tested if test else None, files, progress)
            judges = replace(judges, output=output)
            made = choose(found, batches, linear, asked, judges, cycles)
        if accumulator is not None:
            made = with_narrow_sums(made, found, batches, accumulator)
        warn_of_classes(made.graph, given, batches.places, output)
        progress("counting accuracy")
        score, why = accuracy_of(made.graph, tested, model, output, asked=labels is not None)
        made.save(out)
    facts: dict[str, Any] = {
        "model": str(model),
        "file": str(out),
        "form": made.form if out.suffix.lower() == ".onnx" else "hwsim",
        "bits": _shown_bits(asked, least, bits),
        "scheme": scheme,
        "method": method,
        "sums": made.sums,
        "layers": list(made.rows),
        "output_sqnr": made.sqnr,
        "prepared": given.says or None,
        "histograms": list(made.histograms),
        "remarks": list(made.remarks),
        "accuracy": score,
        "choice": None if made.choice is None else made.choice.to_dict(),
        "next": f"hwsim plan {out}",
    }
    if as_json:
        print_json(facts)
        return
    from hwsim.cli.histograms import show_histograms
    from hwsim.cli.tables import show_quantized

    if histograms:
        show_histograms(facts["histograms"])
    if facts["choice"] is not None:
        show_choice(facts["choice"])
    show_quantized(facts)
    for remark in made.remarks:
        print_note(remark)
    if why:
        print_note(why)


def _shown_bits(asked: ChoiceTarget | None, least: str, most: str) -> str:
    return most if asked is None or asked.kind == "cycles" else f"chosen from {least} to {most}"


def _layers(texts: Sequence[str] | None) -> dict[str, str]:
    """Bits by pattern."""
    found = {}
    for text in texts or ():
        name, equals, bits = text.rpartition("=")
        if not (name and equals):
            raise HwsimError(f"--layer must be NAME=wNaN, not {text!r}")
        found[name] = bits
    return found
