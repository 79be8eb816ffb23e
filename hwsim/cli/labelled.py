"""What `accuracy` and `verify --labels` do with files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hwsim.cli.console import Progress
from hwsim.compress.any_float import any_float, float_reference
from hwsim.compress.attribution import Attribution, find
from hwsim.compress.quantize.equalize import equalized
from hwsim.data import Labelled, Preparation
from hwsim.data.by_port import read_by_port
from hwsim.data.npz import is_npz
from hwsim.errors import HwsimError
from hwsim.evaluation.measure import check_names, choose_output, measure
from hwsim.evaluation.scores import Accuracy
from hwsim.graph import Graph
from hwsim.reporting.folder import read_graph
from hwsim.verification import Trial
from hwsim.verification import prepare as make_trial


def accuracy_of_files(
    graph: Graph,
    inputs: Sequence[str],
    labels: Path | None,
    classes: Path | None,
    prepare: Preparation,
    output: str | None,
    reference: Path | None,
    progress: Progress,
) -> tuple[Accuracy, str]:
    """The accuracy of a model on labelled files, and what was done to the data in words."""
    port = choose_output(graph, output)
    progress("reading samples and labels")
    data = read_data(graph, inputs, labels, classes, prepare, required=True)
    beside = None if reference is None else float_reference(reference, graph, port.name)
    progress("emulating")
    try:
        check_inferred(graph, output, data)
        found = measure(
            graph,
            data.arrays,
            data.labels,
            output=port.name,
            names=data.names,
            reference=beside,
            say=progress.update,
        )
    except HwsimError as error:
        raise HwsimError(f"{named_files(inputs, labels)}: {error}") from None
    return found, data.says


def attribution_of_files(
    graph: Graph,
    reference: Path,
    inputs: Sequence[str],
    labels: Path | None,
    classes: Path | None,
    prepare: Preparation,
    output: str | None,
    progress: Progress,
    *,
    equalize: bool,
) -> Attribution:
    """Where the accuracy of a model went, against the float one, on files; labels may lack."""
    progress("reading the reference and samples")
    floats = any_float(reference)
    if equalize:
        floats = equalized(floats)[0]
    data = read_data(graph, inputs, labels, classes, prepare, required=False)
    progress("comparing")
    try:
        return find(
            graph,
            floats,
            data.arrays,
            data.labels,
            names=data.names,
            output=output,
            say=progress.update,
        )
    except HwsimError as error:
        raise HwsimError(f"{named_files(inputs, labels)}: {error}") from None


def read_trial(
    folder: Path,
    inputs: Sequence[str] | None,
    labels: Path | None,
    classes: Path | None,
    prepare: Preparation,
    output: str | None,
    samples: int | None,
) -> Trial | None:
    """Data for the design in a build folder; None where random samples are asked for."""
    if not inputs:
        if labels is not None:
            raise HwsimError("--labels must come with --input, the samples that they belong to")
        return None
    graph = read_graph(folder)
    data = read_data(graph, inputs, labels, classes, prepare, required=False)
    # The y of a .npz may be anything; what a folder or a table holds are classes.
    wanted = None if labels is None and any(is_npz(Path(one)) for one in inputs) else data.labels
    try:
        if wanted is not None:
            check_inferred(graph, output, data)
        return make_trial(
            folder, data.arrays, labels=wanted, samples=samples, output=output, names=data.names
        )
    except HwsimError as error:
        raise HwsimError(f"{named_files(inputs, labels)}: {error}") from None


def check_inferred(graph: Graph, output: str | None, data: Labelled) -> None:
    """Raise HwsimError where classes that only the data names are not as many as the model's."""
    if data.inferred and data.names is not None:
        check_names(graph, choose_output(graph, output), data.names)


def read_data(
    graph: Graph,
    inputs: Sequence[str],
    labels: Path | None,
    classes: Path | None,
    prepare: Preparation,
    *,
    required: bool,
) -> Labelled:
    """The samples of a model in files given by `--input`, and their labels if there are any."""
    return read_by_port(graph.inputs, inputs, labels, classes, prepare, required=required)


def named_files(inputs: Sequence[str], labels: Path | None) -> str:
    """The files as messages call them."""
    return ", ".join([*inputs, *([str(labels)] if labels else [])])
