"""The command `attribute`, and what it found, for people."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwsim.cli.compression import Data
from hwsim.cli.console import Progress, console, print_json
from hwsim.cli.groups import PreparationOptions, grouped
from hwsim.cli.options import (
    Classes,
    Json,
    Labels,
    Like,
    Model,
    Output,
)
from hwsim.cli.sheet import table
from hwsim.cli.targets import expect_target

if TYPE_CHECKING:
    from hwsim.compress.attribution import Attribution
    from hwsim.compress.attribution.report import Decisions, LayerError

HEADS = {
    "input": "inherited", "weights": "weights", "bias": "bias", "sums": "sums",
    "saturation": "saturated", "rounding": "rounded", "table": "table", "arithmetic": "arithmetic",
    "undivided": "undivided",
}  # fmt: skip


@grouped
def attribute(
    model: Model,
    inputs: Data,
    reference: Annotated[
        Path, typer.Option(metavar="FLOAT", help="The float model that it was made from.")
    ],
    labels: Labels = None,
    classes: Classes = None,
    output: Output = None,
    page: Annotated[
        Path | None,
        typer.Option(metavar="FILE.html", help="Write a page with histograms too."),
    ] = None,
    equalize: Annotated[
        bool, typer.Option("--equalize", help="The model was quantized with --equalize.")
    ] = False,
    *,
    preparation: PreparationOptions,
    like: Like = None,
    as_json: Json = False,
) -> None:
    """Tell where accuracy went: the integer model against the float one, layer by layer.

    Each layer's error is split into what it inherits and what its weights, biases, range, rounding
    and tables add, and each sample that is lost belongs to the layer that decides it.
    """
    from hwsim.cli.labelled import attribution_of_files
    from hwsim.frontends import load
    from hwsim.storage import write_atomically

    prepare = preparation.parse()
    if page is not None:
        expect_target(page, option="--page", read=(model, *inputs, reference, labels))
    with Progress(f"reading {model}") as progress:
        graph = load(model, like=like)
        found = attribution_of_files(
            graph,
            reference,
            inputs,
            labels,
            classes,
            prepare,
            output,
            progress,
            equalize=equalize,
        )
        if page is not None:
            from hwsim.compress.attribution.page import whole

            write_atomically(page, whole(found.to_dict(), str(model)).encode())
    if as_json:
        print_json({"model": str(model), "input": inputs, **found.to_dict()})
        return
    show(found)


def show(found: Attribution) -> None:
    """A row a layer, then who decides the lost samples, then what was not compared."""
    out = console()
    used = [part for part in HEADS if any(one.parts[part].rms for one in found.layers)]
    columns = (
        ("node", "format"),
        ("SQNR dB", "own"),
        ("mean", "largest"),
        *((HEADS[part],) for part in used),
        ("of the output",),
    )
    rows = [_row(one, used) for one in found.layers]
    heads = [name for stack in columns[1:] for name in stack]
    out.print(table(f"errors in reals on {found.samples:,} samples", columns, rows, heads))
    if found.decisions is not None:
        _show_decisions(found.decisions)
    for note in (note for one in found.layers for note in one.notes):
        out.print(f"not told apart: {note}", markup=False, soft_wrap=True)
    for what, names in (("edges", found.edges), ("tensors", found.tensors)):
        if names:
            text = f"{what} without a counterpart: {', '.join(names)}"
            out.print(text, markup=False, soft_wrap=True)


def _row(one: LayerError, used: list[str]) -> tuple[str, ...]:
    return (
        one.edge,
        one.format,
        _decibels(one.sqnr_db),
        _decibels(one.own_sqnr_db),
        f"{one.mean:.3g}",
        f"{one.largest:.3g}",
        *(_percent(one.parts[part].share) for part in used),
        _percent(one.share_of_output),
    )


def _show_decisions(found: Decisions) -> None:
    out = console()
    out.print(
        f"right: {found.float_right:,} in float, {found.integer_right:,} in integers; "
        f"{found.lost:,} lost, {found.gained:,} gained",
        markup=False,
        soft_wrap=True,
    )
    rows = [
        (
            one.edge,
            f"{one.decided:,}",
            f"{one.first:,}",
            ", ".join(f"{a}→{b} {n:,}" for (a, b), n in list(one.changes.items())[:4]),
        )
        for one in found.layers
        if one.decided or one.first
    ]
    if rows:
        heads = ("node", "decides", "first", "class")
        out.print(table("layers that decide the lost samples", heads, rows, ("decides", "first")))


def _decibels(value: float | None) -> str:
    return "exact" if value is None else f"{value:.1f}"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"
