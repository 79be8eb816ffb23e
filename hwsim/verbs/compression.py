"""A float model made small, and what that cost: quantized, pruned, attributed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwsim import defaults
from hwsim.compress.attribution.report import Attribution
from hwsim.compress.quantize.result import QuantizedModel
from hwsim.errors import HwsimError
from hwsim.frontends import as_graph
from hwsim.graph import Graph
from hwsim.verbs.designs import fewest_cycles

if TYPE_CHECKING:
    from hwsim.compress.choice.judges import Judges
    from hwsim.compress.choice.pruned import PruningAim
    from hwsim.compress.choice.target import ChoiceTarget
    from hwsim.compress.float_model import FloatModel
    from hwsim.compress.prune.prune import Pruned
    from hwsim.compress.samples import Batches, BatchStream


def quantize(
    model: Any,
    data: Any,
    *,
    bits: str = "w8a8",
    layers: Mapping[str, Any] | None = None,
    ends: str | None = None,
    scheme: str = "power-of-two",
    method: str = "mse",
    per_channel: bool = True,
    equalize: bool = False,
    correct_bias: bool = False,
    rounding: str = "nearest",
    channel_bits: str | None = None,
    accumulator: str | None = None,
    samples: int | None = 1024,
    target_accuracy: float | str | None = None,
    target_bits: int | None = None,
    target_cycles: int | None = None,
    target: str = defaults.TARGET,
    least: str = "w2a2",
    cost: str = "operations",
    labels: Any = None,
    test: tuple[Any, Any] | None = None,
    output: str | None = None,
    out: str | Path | None = None,
) -> QuantizedModel:
    """Quantize a float model after training, from what it does on calibration data.

    `model` is an ONNX file or `ModelProto` of float32, a float module or exported program of
    PyTorch, or a `.pt2` file of one; `data` is `(batch, *shape)` as the model takes it, or a dict
    of such arrays by input name; of it `samples` are taken, evenly (None: all), and read in
    batches. Or it is an iterable of batches that can be gone through again, or a generator
    function: the first `samples` are taken. `bits` are those of weights and activations, from 1 to
    16 each (1 bit of weights is a sign; of activations 0 and 1, or a sign where they have one).
    `layers` are other bits by a pattern of names (`{"conv*": "w8a8", "fc": "w4"}`), the last that
    fits counts; of weights there may be a number a channel (`"w4,3,2a8"`, or `[4, 3, 2]`).
    `channel_bits` (`"2-6"`) makes a layer's bits of weights an average, and chooses those of each
    channel from the fewest to the most, for the least error of the layer's sums. `ends` are those
    of the first and last layers and of what they read. `scheme` is `power-of-two` (hardware
    shifts, and QONNX's executor has the same integers), `symmetric` (any
    scale) or `affine` (zero points of activations too); of these w8a8 is a QDQ file with ONNX
    Runtime's integers. `method` is `mse`, `minmax`, `average`, `percentile:99.9` or `entropy`.
    `equalize` brings the channels between two layers to ranges alike first, for what has one scale
    a tensor; `correct_bias` takes the mean error of rounded weights off the biases. `rounding` of
    weights is `nearest`, or such that a layer's sums err least: `feedback` (GPTQ: what one weight
    errs the others of its sum take up), `adaptive` (AdaRound, by gradients; needs PyTorch).
    `accumulator` gives layers narrow sums, as `finetune` reads it: a Graph for `.hwsim` alone,
    and not with a target.

    With a target, bits are chosen by layer between `least` and `bits`; what `layers` and `ends`
    name, and inputs, keep theirs. `target_accuracy` (0.915, or "91.5%") takes the least `cost` (bit
    `operations`, or `bits` of weights) whose accuracy on `test`, a pair of samples and labels, is
    so high; without `test` it is counted on the data, with `labels` (as `accuracy` takes them).
    `output` names the one that classifies, of several. `target_bits` takes what is best within so
    many bits of all weights: of the highest accuracy on the data where `labels` are given, else by
    the float model's classes. `target_cycles` leaves bits alone and takes channels out, those that
    matter least, until `target` (the device) has room for hardware of so many cycles an inference
    (`hwsim plan`): a Graph of fewer channels, to be trained again. Of several targets all are kept:
    what is best within bits and cycles, channels and bits exchanged for each other, or with an
    accuracy what costs least. `choice` in the result says what was chosen and tried.
    Written to `out` if given: `.onnx` for other tools too, or `.hwsim`, whole or not at all. A
    `.onnx` file's sums are QONNX's, in float32, and its Graph is what is read from it; otherwise
    the Graph adds whole numbers of any size.
    Raises HwsimError for a model with operators that there is no rule for (all are named), and for
    data that does not fit.
    """
    from hwsim.compress.any_float import any_float
    from hwsim.compress.choice.choose import choose
    from hwsim.compress.choice.judges import expect_output
    from hwsim.compress.choice.target import parse_target
    from hwsim.compress.quantize.options import LinearScheme
    from hwsim.compress.quantize.run import run
    from hwsim.compress.samples import Batches, BatchStream
    from hwsim.compress.sums.quantized import with_narrow_sums

    linear = LinearScheme.parse(
        bits,
        layers or {},
        ends=ends,
        scheme=scheme,
        method=method,
        per_channel=per_channel,
        equalize=equalize,
        correct_bias=correct_bias,
        rounding=rounding,
        channel_bits=channel_bits,
        exact=out is None or Path(out).suffix.lower() != ".onnx",
    )
    bounds = target_accuracy, target_bits, target_cycles
    asked = parse_target(*bounds, least=least, cost=cost, accumulator=accumulator)
    if test is not None and asked is None:
        raise HwsimError("samples to test with must come with a target accuracy, not without")
    cycles = None if target_cycles is None else fewest_cycles(target)
    found = any_float(model, data)
    expect_output(found, output)
    batches: Batches | BatchStream
    if hasattr(data, "shape") or isinstance(data, Mapping):
        arrays = data if isinstance(data, Mapping) else {found.inputs[0]: data}
        batches = Batches(found, arrays, samples=samples)
    else:
        batches = BatchStream(found, data, samples=samples)
    if asked is None:
        made = run(found, batches, linear)
    else:
        judges = replace(_judges(found, batches, asked, labels, test), output=output)
        made = choose(found, batches, linear, asked, judges, cycles)
    if accumulator is not None:
        made = with_narrow_sums(made, found, batches, accumulator)
    if out is not None:
        made.save(out)
    return made


def _judges(
    model: FloatModel,
    batches: Batches | BatchStream,
    target: ChoiceTarget,
    labels: Any,
    test: tuple[Any, Any] | None,
) -> Judges:
    from hwsim.compress.choice.judges import Judges

    arrays = None if labels is None else getattr(batches, "arrays", None)
    if labels is not None and arrays is None:
        raise HwsimError("labels must come with arrays of samples, not with batches")
    own = None if arrays is None else (arrays, labels)
    if test is not None:
        given = test[0] if isinstance(test[0], Mapping) else {model.inputs[0]: test[0]}
        test = (given, test[1])
    return Judges.of(target, own, test)


def prune(
    model: Any,
    amount: float | None = None,
    *,
    by: str = "magnitude",
    pattern: str = "unstructured",
    scope: str = "layer",
    layers: Sequence[str] | None = None,
    x: Any = None,
    labels: Any = None,
    schedule: str = "gradual",
    rounds: int = 1,
    epochs_a_round: int = 0,
    rate: float = 1e-3,
    batch: int = 128,
    seed: int = 0,
    device: str = "cpu",
    teacher: Any = None,
    start: Any = None,
    output: str | None = None,
    checkpoint: str | Path | None = None,
    target_accuracy: float | str | None = None,
    target_bits: int | None = None,
    target_cycles: int | None = None,
    target: str = defaults.TARGET,
    test: tuple[Any, Any] | None = None,
) -> Pruned:
    """Take an `amount` of the weights or channels out of a quantized model: what matters least.

    `model` is a Graph or what `load` takes, a module of Brevitas too, which runs on the first of
    the samples `x`; without an amount a half goes. `by` is magnitude,
    activation, zeros, taylor or movement (all but the first on samples `x`, the last two with class
    numbers `labels`); `pattern` is unstructured, channels, N:M such as 2:4, or PExSIMD such as 4x8;
    `scope` is layer or global, and `layers` are nodes (None: all).

    The amount goes in `rounds`, as `schedule` says (one-shot, iterative or gradual), and after each
    the network is trained for `epochs_a_round` on `x` and `labels`, or to answer as a `teacher`
    does (as `distil` takes it); with `start`, the float model that it came from, from its weights.
    `output` names the one that classifies, of several.
    `rate`, `batch`, `seed` and `device` are those of `hwsim.compress.training.loop.Training`;
    `checkpoint` is a file that holds how far that is, from which the same call goes on.

    With a target amounts are chosen by layer on the samples `x`, by what each layer alone loses and
    then by trying, before any training: the fewest bits of weights that stay whose accuracy is
    `target_accuracy`, on `test` (samples and labels) or else on `x` and `labels`; the best within
    `target_bits` of them; the best whose hardware takes `target_cycles` an inference on the device
    `target`. Several are kept together. `choice` in the result says what was chosen and tried.
    Raises HwsimError for values that are none of these, for data that are missing, for a layer that
    there is not, for a pattern that divides none, and for a target that nothing meets.
    """
    from hwsim.compress.any_float import any_float, integer_graph
    from hwsim.compress.choice.pruned import AMOUNT, parse_pruning_target, prune_to
    from hwsim.compress.prune.masks import parse_pattern
    from hwsim.compress.prune.prune import Pruning
    from hwsim.compress.prune.rounds import Rounds, expect_used
    from hwsim.compress.training.start import float_weights
    from hwsim.compress.training.teachers import any_teacher

    asked = parse_pruning_target(
        target_accuracy, target_bits, target_cycles, amount=amount, scope=scope
    )
    how = Pruning(
        amount=AMOUNT if amount is None else amount,
        by=by,
        pattern=parse_pattern(pattern),
        scope=scope,
        layers=None if layers is None else tuple(layers),
        seed=seed,
        output=output,
    )
    made = {"rate": rate, "batch": batch, "seed": seed, "device": device}
    planned = Rounds.of(schedule, rounds, epochs_a_round, **made)
    expect_used(how, planned, start=start is not None, teacher=teacher is not None)
    if test is not None and asked is None:
        raise HwsimError("samples to test with must come with a target accuracy, not without")
    graph = as_graph(model) if x is None else integer_graph(model, x)
    aim = None
    if asked is not None:
        cycles = None if target_cycles is None else fewest_cycles(target)
        aim = _pruning_aim(graph, asked, cycles, x, labels, test)
    return prune_to(
        graph,
        how,
        planned,
        aim,
        x,
        labels,
        teacher=None if teacher is None else any_teacher(teacher, graph, output, {}, x),
        reals=None if start is None else float_weights(graph, any_float(start, x)),
        checkpoint=None if checkpoint is None else Path(checkpoint),
    )


def _pruning_aim(
    graph: Graph,
    target: ChoiceTarget,
    cycles: Callable[[Graph], int | None] | None,
    x: Any,
    labels: Any,
    test: tuple[Any, Any] | None,
) -> PruningAim:
    from hwsim.compress.choice.pruned import PruningAim
    from hwsim.evaluation.measure import by_name

    if x is None:
        raise HwsimError(f"a target {target.kind} must come with samples, not without")
    tested = None if test is None else (by_name(graph, test[0]), test[1])
    return PruningAim.of(target, by_name(graph, x), labels, tested, cycles=cycles)


def encode(
    model: Any,
    weights: str,
    *,
    layers: Mapping[str, str] | None = None,
    start: str | Path | None = None,
) -> Graph:
    """Store the weights of an integer model as powers of two, sums of them or places in a table.

    `model` is a Graph or what `load` takes; `weights` is the set of all layers (ternary, pot2 to
    pot8, apot3 to apot8, codebook1 to codebook8, or plain, as they are), `layers` are sets by a
    pattern of nodes' names, the last that fits counts. Each weight becomes the nearest of its set;
    with `start`, the float ONNX file that the model was quantized from, the nearest to the float
    one. Raises HwsimError for a set and for a layer that there is not.
    """
    from hwsim.compress.any_float import any_float
    from hwsim.compress.quantize.nonlinear import chosen_sets, encoded
    from hwsim.compress.training.start import float_weights

    graph = as_graph(model)
    chosen = chosen_sets(graph, weights, layers or {})
    reals = None if start is None else float_weights(graph, any_float(start))
    return encoded(graph, chosen, reals)


def attribute(
    model: Any,
    reference: Any,
    x: Any,
    labels: Any = None,
    *,
    names: Sequence[str] | None = None,
    output: str | None = None,
    equalize: bool = False,
) -> Attribution:
    """Where accuracy went: an integer network against the float one it came from, layer by layer.

    `model` is a Graph or what `load` takes, `reference` the float model, as `quantize`
    takes it, whose tensors' names its edges have. `x` and `labels` are as `accuracy` takes them;
    without labels the float model's classes are the right ones. Each layer's error is the sum of
    what it inherits, the rounding of its weights and biases, its accumulators, numbers out of
    range, the rounding of its codes, and what its tables or its arithmetic add; each sample that
    only the float model gets right belongs to the layer that decides it. A notebook shows the
    result with histograms. `equalize` is for what was quantized with it: the float model's channels
    are brought to ranges alike in the same way, and its layers then are those that were quantized.
    Raises HwsimError for models that do not belong together, and for data that do not fit.
    """
    from hwsim.compress.any_float import any_float
    from hwsim.compress.attribution import find
    from hwsim.compress.quantize.equalize import equalized

    floats = any_float(reference, x)
    if equalize:
        floats = equalized(floats)[0]
    return find(as_graph(model), floats, x, labels, names=names, output=output)
