"""A quantized model trained: by labels, and by a teacher."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from hwsim import defaults
from hwsim.compress.any_float import integer_graph
from hwsim.graph import Graph

if TYPE_CHECKING:
    from hwsim.compress.prune.gradual import GradualPruning
    from hwsim.compress.training.fit import Fitted


class TrainingKeywords(TypedDict, total=False):
    """Keywords of `finetune` and `distil`: the fields of what a training takes, with its defaults.

    Those of `hwsim.compress.training.fit.Wishes`: `start` is the float model that the model was
    quantized from, as `quantize` takes one: training begins with its weights. `output` is the one
    that classifies, of several. `learn_steps` learns the requantizers' multipliers too,
    `learn_entries` the entries of codebooks (`encode`), `keep_zeros` leaves weights that are 0 (a
    pruned model's) at 0, `best` keeps the epoch of the highest accuracy, and `checkpoint` is a file
    that holds the state after each epoch, from which the same call goes on. `pruning` takes weights
    while it trains. `accumulator` gives layers narrow sums to be trained for, in units chosen on
    the data: `wrap12` and `sat12` wrap and saturate beyond 12 bits, `exact12` leads to weights
    whose sums need no more for any input; `wrap12,fc*=sat16,conv1=none` is by patterns of nodes,
    the last that fits counts. `grids` keep each weight in a format of its own: a WeightGrid by
    node, or the Keras model of HGQ2 whose formats they are.

    Those of `hwsim.compress.training.loop.Training`: `epochs`, samples a `batch`, Adam's largest
    `rate` and its weight `decay`, label `smoothing`, the share of the loss that a teacher has
    (`distil`) and the `temperature` that softens its scores, the weight of what narrow sums reach
    beyond their ends (`overflow`), the `seed`, `check` to compare each batch with the emulator,
    `patience` to end after so many epochs without a better one, and PyTorch's `device`.
    """

    start: Any
    output: str | None
    learn_steps: bool
    learn_entries: bool
    keep_zeros: bool
    best: bool
    checkpoint: str | Path | None
    pruning: GradualPruning | None
    grids: Any
    accumulator: str | None
    epochs: int
    batch: int
    rate: float
    decay: float
    smoothing: float
    distil: float
    temperature: float
    overflow: float
    seed: int
    check: bool
    patience: int | None
    device: str


def finetune(
    model: Any,
    x: Any,
    labels: Any,
    *,
    test: tuple[Any, Any] | None = None,
    names: Sequence[str] | None = None,
    log: Callable[[str], None] | None = None,
    **options: Unpack[TrainingKeywords],
) -> Fitted:
    """Train a quantized model on labelled data, its forward pass with the emulator's integers.

    `model` is a Graph or what `load` takes, a module of Brevitas too, which runs on the first of
    the samples; `x` and `labels` are as `accuracy` takes them, `test` is a pair of such to count
    accuracy on (without it a tenth of the samples is held out). `log` gets a line an epoch.
    `options` are `TrainingKeywords`: epochs, rate, batch, start, learn_steps, ...
    Raises HwsimError for a model that cannot be trained, for data that do not fit, and for a float
    model whose weights are not the model's.
    """
    return _fitted(integer_graph(model, x), (x, labels), test, names, None, log, options)


def distil(
    model: Any,
    x: Any,
    labels: Any = None,
    *,
    teacher: Any,
    features: Mapping[str, str] | None = None,
    test: tuple[Any, Any] | None = None,
    names: Sequence[str] | None = None,
    log: Callable[[str], None] | None = None,
    **options: Unpack[TrainingKeywords],
) -> Fitted:
    """Train a quantized model to answer as a teacher does, and by labels where there are some.

    `teacher` is a float model as `quantize` takes one, or a larger model (a Graph or what `load`
    takes).
    `features` gives edges of the model that shall be like tensors of the teacher, by name. The
    rest is as in `finetune`; of the `options`, `distil` is the teacher's share of the loss (0.7)
    and `temperature` softens its scores.
    Raises HwsimError as `finetune`, and for a teacher that does not take the model's samples.
    """
    from hwsim.compress.training.teachers import any_teacher

    graph = integer_graph(model, x)
    options.setdefault("distil", defaults.TAUGHT)
    taught = any_teacher(teacher, graph, options.get("output"), features or {}, x)
    return _fitted(graph, (x, labels), test, names, taught, log, options)


def _fitted(
    graph: Graph,
    data: tuple[Any, Any],
    test: tuple[Any, Any] | None,
    names: Sequence[str] | None,
    teacher: Any,
    log: Callable[[str], None] | None,
    options: TrainingKeywords,
) -> Fitted:
    from hwsim.compress.training.fit import LabelledBatch, Wishes, fit
    from hwsim.compress.training.grids import grids_of
    from hwsim.compress.training.loop import Training
    from hwsim.evaluation.measure import by_name

    settings: dict[str, Any] = dict(options)
    grids = grids_of(settings.pop("grids", None), graph)
    for name in ("start", "checkpoint"):
        if isinstance(settings.get(name), str):
            settings[name] = Path(settings[name])
    wanted = {one.name: settings.pop(one.name) for one in fields(Wishes) if one.name in settings}
    how, wishes = Training(**settings), Wishes(**wanted)

    def batch(pair: tuple[Any, Any]) -> LabelledBatch:
        arrays = by_name(graph, pair[0])
        if teacher is not None:
            return LabelledBatch.taught(graph, wishes.output, arrays, pair[1], names)
        return LabelledBatch.read(arrays, pair[1], names)

    batches = [None if pair is None else batch(pair) for pair in (data, test)]
    assert batches[0] is not None
    say = None if log is None else lambda epoch: log(str(epoch))
    return fit(graph, batches[0], batches[1], how, wishes, teacher=teacher, grids=grids, say=say)
