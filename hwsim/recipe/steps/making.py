"""Steps that give a network other codes at once: quantize and encode."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hwsim.compress.choice.judges import Pair, own_pair, tested_pair
from hwsim.compress.choice.target import parse_target
from hwsim.compress.float_model import FloatModel
from hwsim.compress.quantize.nonlinear import WeightSet, chosen_sets, encoded
from hwsim.compress.quantize.options import LinearScheme
from hwsim.compress.training.start import float_weights
from hwsim.data import Labelled
from hwsim.errors import HwsimError
from hwsim.extras import expect_libraries
from hwsim.ops import Weighted
from hwsim.recipe.job import INTEGERS, Job, Masks, StepResult, save_masks
from hwsim.recipe.keys import Values, arguments_of

CODES = "codes"
"""What `from` may be where no float weights are wanted."""

TARGETS = ("target_accuracy", "target_bits", "target_cycles")


def quantization(values: Values) -> dict[str, Any]:
    """A step's options as the verb takes them."""
    found = {name: value for name, value in values.items() if name not in ("per_tensor", "layer")}
    return {**found, "layers": values["layer"], "per_channel": not values["per_tensor"]}


def check_quantization(values: Values) -> None:
    """Raise HwsimError for what the scheme refuses, and for no samples."""
    if values["samples"] < 1:
        raise HwsimError(f"samples must be at least 1, not {values['samples']}")
    given = quantization(values)
    given["layers"] = given["layers"] or {}
    LinearScheme.parse(**arguments_of(LinearScheme.parse, given))
    bounds = {name.removeprefix("target_"): given[name] for name in TARGETS if name in given}
    parse_target(**arguments_of(parse_target, {**given, **bounds}))


def expect_quantizing(values: Values) -> None:
    """Raise HwsimError where what rounds by gradients, or chooses for a target, is missing."""
    if values["rounding"] == "adaptive":
        expect_libraries("torch", extra="train", what="adaptive rounding")
    expect_choosing(values, "a choice of widths or channels")


def expect_choosing(values: Values, what: str) -> None:
    """Raise HwsimError where what a target is chosen with is not installed."""
    if any(values[name] is not None for name in TARGETS):
        expect_libraries("scipy", extra="train", what=what)


def run_quantization(job: Job) -> StepResult:
    """The float network in integers."""
    from hwsim.verbs import quantize

    before = job.before.path
    data = job.data.of_floats(FloatModel.read(before), "calibration")
    job.say("calibrating")
    made = quantize(before, dict(data.arrays), **quantization(job.values), **_judged(job, data))
    made.graph.save(job.folder / INTEGERS)
    after = replace(
        job.before,
        path=job.folder / INTEGERS,
        floats=before,
        origin=None if made.proto is None else job.folder / INTEGERS,
        equalized=bool(job.values["equalize"]),
    )
    masks: Masks = {}
    if job.before.zeros and made.proto is None:  # channels went
        ops = {n.name: n.op for n in made.graph.nodes if isinstance(n.op, Weighted)}
        masks = {name: op.weights != 0 for name, op in ops.items()}
    elif job.before.zeros:
        reals = float_weights(made.graph, after.float_model())
        masks = {name: parts["weights"] != 0 for name, parts in reals.items()}
    facts: dict[str, Any] = {"form": made.form, "output_sqnr": made.sqnr, "layers": [*made.rows]}
    if made.choice is not None:
        facts["choice"] = made.choice.to_dict()
    return StepResult(
        network=replace(after, masks=save_masks(job.folder, masks)),
        facts=facts,
        notes=tuple(made.remarks),
    )


def _judged(job: Job, data: Labelled) -> dict[str, Any]:
    """What a choice of bits is judged by: labels of the calibration data, and the test data."""
    bounds = [job.values[name] for name in TARGETS]
    if all(bound is None for bound in bounds):
        return {}
    own = own_pair(data)
    found: dict[str, Any] = {"output": job.data.output}
    if own is not None:
        found["labels"] = own[1]
    if job.values["target_accuracy"] is not None and job.data.has("test"):
        found["test"] = tested_in(job.data.of_floats(FloatModel.read(job.before.path), "test"))
    return found


def tested_in(data: Labelled) -> Pair:
    """Samples that an accuracy is tested with, with class numbers; HwsimError names them."""
    try:
        return tested_pair(data)
    except HwsimError as error:
        raise HwsimError(f"[data], test: {error}") from None


def encoding(values: Values) -> None:
    """Raise HwsimError for a set of weights that there is not."""
    for text in (values["weights"], *(values["layer"] or {}).values()):
        if text != "plain":
            WeightSet.parse(text)


def run_encoding(job: Job) -> StepResult:
    """The network with weights of other sets, nearest to the float ones where they are known."""
    graph, given = job.before.graph(), job.values["from"]
    chosen = chosen_sets(graph, job.values["weights"], job.values["layer"] or {})
    reals = None
    notes: tuple[str, ...] = ()
    if given is None:
        try:
            reals = job.before.float_weights()
        except HwsimError as error:
            notes = (f"encoding begins with the codes: {error}",)
    elif given != CODES:
        reals = float_weights(graph, FloatModel.read(given))
    found = encoded(graph, chosen, reals)
    found.save(job.folder / INTEGERS)
    ops = {node.name: node.op for node in found.nodes}
    stored = {
        name: op.encoding.text if op.encoding else "codes"
        for name, op in ops.items()
        if isinstance(op, Weighted)
    }
    facts = {"begins_with": "float weights" if reals is not None else "codes", "stored": stored}
    after = replace(job.before, path=job.folder / INTEGERS)
    return StepResult(network=after, facts=facts, notes=notes)
