"""What the command line does, as functions: plans, builds, checks, accuracy and reports.

`import hwsim` loads none of the libraries that they need; each is imported when it is called.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwsim import defaults
from hwsim.compress.attribution.report import Attribution
from hwsim.compress.quantize.result import QuantizedModel
from hwsim.errors import HwsimError
from hwsim.evaluation.scores import Accuracy
from hwsim.extras import hardware
from hwsim.frontends import as_graph
from hwsim.graph import Graph
from hwsim.losses.report import Hazards
from hwsim.losses.suggestion import Suggestion
from hwsim.reporting.facts import rate_text
from hwsim.reporting.tradeoff import Plans

if TYPE_CHECKING:
    from hwsim.compress.prune.prune import Pruned
    from hwsim.compress.training.fit import Fitted

Log = Callable[[str], None]


def accuracy(
    model: Any,
    x: Any,
    labels: Any,
    *,
    output: str | None = None,
    names: Sequence[str] | None = None,
    reference: Any = None,
) -> Accuracy:
    """How often a classifier is right: top-1, top-5, by class, and what it mistakes for what.

    `model` is a Graph or what `load` takes; `x` is `(batch, *shape)` as `emulate` takes it, or a
    dict of such arrays by input name, and is read in pieces, so it may be a mapped file. `labels`
    are class numbers `(batch,)`, one-hot rows, or texts among `names`, the classes in order.
    `output` names the output that classifies, where the model has several. `reference` is a float
    model to put beside it: the path of an ONNX file, or a function from `x` to its outputs.
    Raises HwsimError for labels that do not fit, and for outputs that are none of a classifier.
    """
    from hwsim.evaluation.measure import by_name, choose_output, measure
    from hwsim.evaluation.reference import onnx_reference

    graph = as_graph(model)
    port = choose_output(graph, output)
    arrays = by_name(graph, x)
    run = reference
    if isinstance(reference, str | Path):
        run = onnx_reference(Path(reference), graph, port.name)
    elif reference is not None:
        run = _called(reference, several=len(graph.inputs) > 1)
    return measure(graph, arrays, labels, output=port.name, names=names, reference=run)


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

    `model` is a Graph or what `load` takes, `reference` the path of the float ONNX file (or its
    ModelProto), whose tensors' names its edges have. `x` and `labels` are as `accuracy` takes them;
    without labels the float model's classes are the right ones. Each layer's error is the sum of
    what it inherits, the rounding of its weights and biases, its accumulators, numbers out of
    range, the rounding of its codes, and what its tables or its arithmetic add; each sample that
    only the float model gets right belongs to the layer that decides it. A notebook shows the
    result with histograms. `equalize` is for what was quantized with it: the float model's channels
    are brought to ranges alike in the same way, and its layers then are those that were quantized.
    Raises HwsimError for models that do not belong together, and for data that do not fit.
    """
    from hwsim.compress.attribution import find
    from hwsim.compress.float_model import FloatModel
    from hwsim.compress.quantize.equalize import equalized

    plain = isinstance(reference, str | Path)
    floats = (
        FloatModel.read(Path(reference))
        if plain
        else FloatModel.of(reference, Path("the reference"))
    )
    if equalize:
        floats = equalized(floats)[0]
    return find(as_graph(model), floats, x, labels, names=names, output=output)


def finetune(
    model: Any,
    x: Any,
    labels: Any,
    *,
    test: tuple[Any, Any] | None = None,
    start: str | Path | None = None,
    output: str | None = None,
    names: Sequence[str] | None = None,
    learn_steps: bool = False,
    keep_zeros: bool = False,
    best: bool = False,
    checkpoint: str | Path | None = None,
    log: Log | None = None,
    **settings: Any,
) -> Fitted:
    """Train a quantized model on labelled data, its forward pass with the emulator's integers.

    `model` is a Graph or what `load` takes; `x` and `labels` are as `accuracy` takes them, `test`
    is a pair of such to count accuracy on (without it a tenth of the samples is held out). `start`
    is the float ONNX file that the model was quantized from: training begins with its weights.
    `learn_steps` learns the requantizers' multipliers too, `keep_zeros` leaves weights that are 0
    (a pruned model's) at 0, `best` keeps the epoch of the highest accuracy, and `checkpoint` is a
    file that holds the state after each epoch, from which the same call goes on. `log` gets a line
    an epoch. `settings` are those of
    `hwsim.compress.training.loop.Training`: epochs, rate, batch, seed, check, ...
    Raises HwsimError for a model that cannot be trained, for data that do not fit, and for a float
    model whose weights are not the model's.
    """
    wishes = (output, start, learn_steps, keep_zeros, best, checkpoint)
    return _fitted(as_graph(model), (x, labels), test, names, wishes, None, log, settings)


def distil(
    model: Any,
    x: Any,
    labels: Any = None,
    *,
    teacher: Any,
    features: Mapping[str, str] | None = None,
    test: tuple[Any, Any] | None = None,
    start: str | Path | None = None,
    output: str | None = None,
    names: Sequence[str] | None = None,
    learn_steps: bool = False,
    keep_zeros: bool = False,
    best: bool = False,
    checkpoint: str | Path | None = None,
    log: Log | None = None,
    **settings: Any,
) -> Fitted:
    """Train a quantized model to answer as a teacher does, and by labels where there are some.

    `teacher` is the path of a float ONNX file, or a larger model (a Graph or what `load` takes).
    `features` gives edges of the model that shall be like tensors of the teacher, by name. The
    rest is as in `finetune`; of the `settings`, `distil` is the teacher's share of the loss,
    `temperature` softens its scores, and `features` in them weighs its tensors.
    Raises HwsimError as `finetune`, and for a teacher that does not take the model's samples.
    """
    from hwsim.compress.training.teachers import any_teacher

    graph = as_graph(model)
    taught = any_teacher(teacher, graph, output, features or {})
    wishes = (output, start, learn_steps, keep_zeros, best, checkpoint)
    return _fitted(graph, (x, labels), test, names, wishes, taught, log, settings)


def _fitted(
    graph: Graph,
    data: tuple[Any, Any],
    test: tuple[Any, Any] | None,
    names: Sequence[str] | None,
    wishes: tuple[str | None, str | Path | None, bool, bool, bool, str | Path | None],
    teacher: Any,
    log: Log | None,
    settings: Mapping[str, Any],
) -> Fitted:
    from hwsim.compress.training.fit import LabelledBatch, Wishes, fit
    from hwsim.compress.training.loop import Training
    from hwsim.evaluation.measure import by_name

    output, start, learn_steps, keep_zeros, best, checkpoint = wishes
    wanted = Wishes(
        output=output,
        start=None if start is None else Path(start),
        learn_steps=learn_steps,
        keep_zeros=keep_zeros,
        best=best,
        checkpoint=None if checkpoint is None else Path(checkpoint),
    )
    batches = [
        None if pair is None else LabelledBatch.read(by_name(graph, pair[0]), pair[1], names)
        for pair in (data, test)
    ]
    assert batches[0] is not None
    say = None if log is None else lambda epoch: log(str(epoch))
    return fit(
        graph, batches[0], batches[1], Training(**settings), wanted, teacher=teacher, say=say
    )


def hazards(model: Any, x: Any, *, effect_samples: int = 1000) -> Hazards:
    """What a model loses on real data, place by place, the largest effect on the output first.

    `model` is a Graph or what `load` takes; an hls4ml `ModelGraph` is looked at for more, since it
    knows the weights as they were. `x` is `(batch, *shape)` as `emulate` takes it, or a dict of
    such arrays by input name. Counted are numbers that wrap, saturate or become 0 because they are
    out of range, and those that lose fraction bits: at the inputs, at casts, requantizers and in
    accumulators. The effect of a place is what changes in the outputs of `effect_samples` samples
    where that place alone loses nothing.
    Raises HwsimError for a model with state, and for data that do not fit.
    """
    from hwsim.losses.find import find
    from hwsim.losses.model_graph import changed_weights

    found = find(as_graph(model), x, effect_samples=effect_samples)
    if not _is_model_graph(model):
        return found
    return replace(found, named=(*changed_weights(model), *found.named))


def suggest(
    model: Any, x: Any, *, margin: int | str = 0, overflow_only: bool = False
) -> Suggestion:
    """The narrowest precisions of hls4ml that remove the hazards of a model on real data.

    `model` is an hls4ml `ModelGraph`, or a Graph that came from one, or its file; `x` is as
    `hazards` takes it. `margin` is how many integer bits more there shall be than the data need, or
    `"intervals"` for those of the worst case. With `overflow_only` roundings stay; those of the
    inputs always do, since reals have more digits than any type. Layers have hls4ml's names where a
    `ModelGraph` is given, and those of what they give (which are the same for Keras) from a Graph.
    Raises HwsimError for a model that did not come from hls4ml.
    """
    from hwsim.losses.model_graph import layer_names
    from hwsim.losses.suggest import suggest as find

    names = layer_names(model) if _is_model_graph(model) else None
    return find(as_graph(model), x, margin=margin, overflow_only=overflow_only, names=names)


def _is_model_graph(model: Any) -> bool:
    """Whether a model is one of hls4ml, which may not be installed."""
    return not isinstance(model, str | Path | Graph) and hasattr(model, "get_layers")


def _called(function: Any, *, several: bool) -> Callable[[Mapping[str, Any]], Any]:
    if not callable(function):
        raise HwsimError(
            f"reference must be the path of an ONNX file or a function, not "
            f"{type(function).__name__}"
        )

    def run(batch: Mapping[str, Any]) -> Any:
        found = function(dict(batch) if several else next(iter(batch.values())))
        return found.detach() if hasattr(found, "detach") else found  # a torch tensor

    return run


def plan(model: Any, *, target: str = defaults.TARGET, clock: str = defaults.CLOCK) -> Plans:
    """What can be had on a target: plans from the smallest to the fastest, without synthesis.

    `model` is a Graph or what `load` takes. A notebook shows the result as a picture and a table.
    Raises HwsimError for an unknown target, for a clock that is no
    frequency or period, and for operators without hardware.
    """
    targets, explore = hardware("rtl.targets"), hardware("rtl.plan.explore")
    mhz = hardware("rtl.flow.clock").parse_clock(clock)
    known = targets.find_target(target).name
    return Plans(explore.explore(as_graph(model), known, mhz).to_dict())


def to_hls4ml(
    model: Any,
    output_dir: str | Path,
    *,
    backend: str = "Vitis",
    io_type: str = "io_parallel",
    strategy: str = "Latency",
    reuse_factor: int = 1,
    project_name: str = "myproject",
    integers: bool = False,
) -> Any:
    """A model as an hls4ml `ModelGraph` with every precision explicit, whose csim gives its codes.

    `model` is a Graph or what `load` takes. `write()` puts the project into `output_dir`,
    `compile()` and `predict(x)` run its C++; arrays are channels last, and reals. `backend` is
    Vitis or Vivado. `strategy` and `reuse_factor` are those of layers whose sums do not depend on
    the order; a layer whose sums do keeps its own. With `integers` both ends are written
    without what is float32 there: a project then takes and gives codes less their zero point where
    a scale is no power of two.
    Raises HwsimError where hls4ml is missing, and for what has no like in hls4ml, every node in one
    sentence.
    """
    from hwsim.hls4ml_project import to_model

    return to_model(
        as_graph(model),
        output_dir,
        backend=backend,
        io_type=io_type,
        strategy=strategy,
        reuse_factor=reuse_factor,
        project_name=project_name,
        integers=integers,
    )


def to_onnx(
    model: Any,
    out: str | Path | None = None,
    *,
    form: str = "integer",
    integers: bool = False,
    mixed: bool = False,
    samples: int = 16,
) -> Any:
    """A model as an ONNX `ModelProto` whose runtimes give its codes; written to `out` if given.

    `model` is a Graph or what `load` takes. `form` says in which operators: `integer` (plain ONNX
    on whole numbers, for any Graph and any runtime), `qdq` (QuantizeLinear and DequantizeLinear, as
    ONNX Runtime computes them; with `mixed` integer operators do what they cannot say) or `qonnx`
    (Quant and MultiThreshold, as QONNX's executor runs them, with a batch of 1).
    Ports keep their names, shapes and types; with `integers` they take and give codes, in the
    narrowest type that holds them. A Graph with state has an input and an output (`NAME.next`) more
    for each. What was written is run on `samples` random samples by ONNX Runtime or QONNX where
    they are installed, and by ONNX's own evaluator or hwsim's reader, and must give the same
    numbers; 0 leaves that out.
    Raises HwsimError for what has no like in that form, every node in one sentence.
    """
    from hwsim.onnx_export import to_model
    from hwsim.storage import write_atomically

    made, _ = to_model(as_graph(model), form=form, integers=integers, mixed=mixed, samples=samples)
    if out is not None:
        write_atomically(Path(out), made.SerializeToString())
    return made


def prune(
    model: Any,
    amount: float = 0.5,
    *,
    by: str = "magnitude",
    pattern: str = "unstructured",
    scope: str = "layer",
    layers: Sequence[str] | None = None,
    x: Any = None,
    labels: Any = None,
) -> Pruned:
    """Take an `amount` of the weights or channels out of a quantized model: what matters least.

    `model` is a Graph or what `load` takes. `by` is magnitude, activation, zeros, taylor or
    movement (all but the first on samples `x`, the last two with class numbers `labels`);
    `pattern` is unstructured, channels, N:M such as 2:4, or PExSIMD such as 4x8; `scope` is layer
    or global, and `layers` are nodes (None: all). Raises HwsimError for values that are none of
    these, for data that are missing, for a layer that there is not, and for a pattern that divides
    none.
    """
    from hwsim.compress.prune import prune as pruning
    from hwsim.compress.prune.masks import parse_pattern

    how = pruning.Pruning(
        amount=amount,
        by=by,
        pattern=parse_pattern(pattern),
        scope=scope,
        layers=None if layers is None else tuple(layers),
    )
    return pruning.prune(as_graph(model), how, x, labels)


def quantize(
    model: Any,
    data: Any,
    *,
    bits: str = "w8a8",
    layers: Mapping[str, str] | None = None,
    ends: str | None = None,
    scheme: str = "power-of-two",
    method: str = "mse",
    per_channel: bool = True,
    equalize: bool = False,
    correct_bias: bool = False,
    adaptive: bool = False,
    samples: int | None = 1024,
    out: str | Path | None = None,
) -> QuantizedModel:
    """Quantize a float ONNX model after training, from what it does on calibration data.

    `model` is a path or a `ModelProto` of float32, `data` `(batch, *shape)` as the model takes it,
    or a dict of such arrays by input name; of it `samples` are taken, evenly (None: all), and read
    in batches. Or it is an iterable of batches that can be gone through again, or a generator
    function: the first `samples` are taken. `bits` are those of weights and activations, from 1 to
    16 each (1 bit of weights is a sign; of activations 0 and 1, or a sign where they have one).
    `layers` are other bits by a pattern of names (`{"conv*": "w8a8", "fc": "w4"}`), the last that
    fits counts; `ends` are those of the first and last layers and of what they read. `scheme` is
    `power-of-two` (hardware shifts, and QONNX's executor has the same integers), `symmetric` (any
    scale) or `affine` (zero points of activations too); of these w8a8 is a QDQ file with ONNX
    Runtime's integers. `method` is `mse`, `minmax`, `average`, `percentile:99.9` or `entropy`.
    `equalize` brings the channels between two layers to ranges alike first, for what has one scale
    a tensor; `correct_bias` takes the mean error of rounded weights off the biases,
    `adaptive` rounds each weight up or down so that its layer's sums err least (needs PyTorch).
    Written to `out` if given: `.onnx` for other tools too, or `.hwsim`, whole or not at all.
    Raises HwsimError for a model with operators that there is no rule for (all are named), and for
    data that does not fit.
    """
    from hwsim.compress.quantize.options import LinearScheme
    from hwsim.compress.quantize.run import float_model, run
    from hwsim.compress.samples import Batches, BatchStream

    linear = LinearScheme.parse(
        bits,
        layers or {},
        ends=ends,
        scheme=scheme,
        method=method,
        per_channel=per_channel,
        equalize=equalize,
        correct_bias=correct_bias,
        adaptive=adaptive,
    )
    found = float_model(model)
    batches: Batches | BatchStream
    if hasattr(data, "shape") or isinstance(data, Mapping):
        arrays = data if isinstance(data, Mapping) else {found.inputs[0]: data}
        batches = Batches(found, arrays, samples=samples)
    else:
        batches = BatchStream(found, data, samples=samples)
    made = run(found, batches, linear)
    if out is not None:
        made.save(out)
    return made


def explore(
    model: Any,
    out: str | Path,
    *,
    x: Any = None,
    reference: str | Path | None = None,
    target: str = defaults.TARGET,
    clock: str = defaults.CLOCK,
) -> dict[str, Any]:
    """Write a model into the folder `out` for Model Explorer: a graph, and data for its nodes.

    `model` is a Graph or what `load` takes. The files are JSON, and Model Explorer is not needed to
    write them; `next` in the result is the command that opens them. Data are bits, ranges, work and
    cycles (of the plan that `build` takes for a target); with samples `x`, as `emulate` takes them,
    the share of codes at the ends of their formats; and with a float ONNX file as `reference` the
    distance of each tensor from the float one of its name.
    Raises HwsimError for samples and a reference that do not fit; nothing is written then.
    """
    from hwsim.explorer import write_folder

    label = Path(model).name if isinstance(model, str | Path) else "graph"
    return write_folder(
        as_graph(model), label, Path(out), x=x, reference=reference, target=target, clock=clock
    )


class Built(dict[str, Any]):
    """What `build.json` holds, as a dict that a notebook shows in one line."""

    def __repr__(self) -> str:
        counted = "dsp" in self
        dsp = f"{self['dsp']:,} DSP" if counted else f"{self['planned_dsp']:,} DSP planned"
        return (
            f"Built({self['name']} for {self['target']}: {rate_text(self['fps'])} frames/s at "
            f"{self['clock_mhz']:g} MHz, {dsp}; {self['bitstream'] or self['verilog']})"
        )


def build(
    model: Any,
    out: str | Path,
    *,
    target: str = defaults.TARGET,
    clock: str = defaults.CLOCK,
    fps: float | None = None,
    max_dsp: int | None = None,
    rtl_only: bool = False,
    pins: str | Path | None = None,
    name: str | None = None,
    log: Log | None = None,
) -> Built:
    """Write Verilog, memories and manifest into the folder `out`, and make the bitstream.

    `model` is a Graph or what `load` takes. `fps` asks for the smallest design that reaches so many
    inferences a second, `max_dsp` for the fastest within so many multipliers. Returns a dict,
    what `build.json` holds. Raises HwsimError as `hwsim build` ends: for a request out of reach,
    and with exit status 1 for a design that does not fit or misses its clock.
    """
    targets, rtl_build = hardware("rtl.targets"), hardware("rtl.build")
    named = name or (Path(model).stem if isinstance(model, str | Path) else None)
    request = rtl_build.Request(
        target=targets.find_target(target).name,
        clock_mhz=hardware("rtl.flow.clock").parse_clock(clock),
        fps=fps,
        max_dsp=max_dsp,
        rtl_only=rtl_only,
        pins=None if pins is None else Path(pins),
        name=named,
    )
    return Built(rtl_build.build(as_graph(model), Path(out), request, log=log))


def report(folder: str | Path) -> Path:
    """Write `report.html` into a folder that `build` wrote; gives its path."""
    from hwsim.reporting import write_report

    return write_report(Path(folder))
