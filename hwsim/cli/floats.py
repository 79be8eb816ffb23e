"""Samples for a float model, and its accuracy beside that of the integer network made of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hwsim.compress.any_float import float_reference
from hwsim.compress.classes import warn_of_missing
from hwsim.compress.float_model import FloatModel
from hwsim.compress.samples import input_ports
from hwsim.data import Labelled, Preparation
from hwsim.data.by_port import read_by_port
from hwsim.errors import HwsimError
from hwsim.evaluation.measure import choose_output, class_count, measure, read_labels
from hwsim.graph import Graph


def float_samples(
    model: FloatModel,
    inputs: Sequence[str],
    labels: Path | None,
    classes: Path | None,
    prepare: Preparation,
) -> Labelled:
    """Samples in files by the model's inputs, and labels where there are any."""
    ports = input_ports(model)
    return read_by_port(ports, inputs, labels, classes, prepare, required=False, what="--data")


def accuracy_of(
    graph: Graph, data: Labelled, model: Path, output: str | None = None, *, asked: bool
) -> tuple[dict[str, Any] | None, str]:
    """Counts of the integer and the float model, and why there are none where there are none.

    Labels that lie beside the samples and are none of a classifier are left alone; with `asked`
    they are refused.
    """
    if data.labels is None:
        return None, ""
    try:
        port = choose_output(graph, output)
        found = measure(
            graph,
            data.arrays,
            data.labels,
            output=port.name,
            names=data.names,
            reference=float_reference(model, graph, port.name),
        )
    except HwsimError as error:
        if asked:
            raise
        return None, f"no accuracy was counted: {error}"
    beside = found.reference
    assert beside is not None
    return {
        "samples": found.samples,
        "integer": {"right": found.right, "top1": found.top1},
        "float": {"right": beside.right, "top1": beside.top1},
    }, ""


def warn_of_classes(graph: Graph, data: Labelled, places: Any, output: str | None = None) -> None:
    """Warn of classes that the samples at these places have none of, where labels are classes."""
    if data.labels is None:
        return
    count = len(next(iter(data.arrays.values())))
    try:
        port = choose_output(graph, output)
        found = read_labels(data.labels, count, data.names)[places]
    except HwsimError:
        return  # labels of something else, which lie beside the samples
    names = data.names
    warn_of_missing(found, class_count(graph, port), names, "the samples to calibrate with")
