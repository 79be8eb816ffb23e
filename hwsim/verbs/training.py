"""A quantized model trained: by labels, and by a teacher."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwsim.compress.any_float import integer_graph
from hwsim.graph import Graph

if TYPE_CHECKING:
    from hwsim.compress.training.fit import Fitted


def finetune(
    model: Any,
    x: Any,
    labels: Any,
    *,
    test: tuple[Any, Any] | None = None,
    start: Any = None,
    output: str | None = None,
    names: Sequence[str] | None = None,
    learn_steps: bool = False,
    learn_entries: bool = False,
    keep_zeros: bool = False,
    best: bool = False,
    accumulator: str | None = None,
    grids: Any = None,
    checkpoint: str | Path | None = None,
    log: Callable[[str], None] | None = None,
    **settings: Any,
) -> Fitted:
    """Train a quantized model on labelled data, its forward pass with the emulator's integers.

    `model` is a Graph or what `load` takes, a module of Brevitas too, which runs on the first of
    the samples; `x` and `labels` are as `accuracy` takes them, `test` is a pair of such to count
    accuracy on (without it a tenth of the samples is held out). `start` is the float model that it
    was quantized from, as `quantize` takes one: training begins with its weights.
    `learn_steps` learns the requantizers' multipliers too, `learn_entries` the entries of codebooks
    (`encode`), `keep_zeros` leaves weights that are 0
    (a pruned model's) at 0, `best` keeps the epoch of the highest accuracy, and `checkpoint` is a
    file that holds the state after each epoch, from which the same call goes on. `accumulator`
    gives layers narrow sums to be trained for, in units chosen on the data: `wrap12` and `sat12`
    wrap and saturate beyond 12 bits, `exact12` leads to weights whose sums need no more for any
    input; `wrap12,fc*=sat16,conv1=none` is by patterns of nodes, the last that fits counts.
    `grids` keep each weight in a format of its own: a WeightGrid by node, or the Keras model of
    HGQ2 whose formats they are.
    `log` gets a line an epoch. `settings` are those of
    `hwsim.compress.training.loop.Training`: epochs, rate, batch, seed, check, ...
    Raises HwsimError for a model that cannot be trained, for data that do not fit, and for a float
    model whose weights are not the model's.
    """
    wishes = (output, start, learn_steps, learn_entries, keep_zeros, best, accumulator, checkpoint)
    return _fitted(
        integer_graph(model, x), (x, labels), test, names, wishes, None, grids, log, settings
    )


def distil(
    model: Any,
    x: Any,
    labels: Any = None,
    *,
    teacher: Any,
    features: Mapping[str, str] | None = None,
    test: tuple[Any, Any] | None = None,
    start: Any = None,
    output: str | None = None,
    names: Sequence[str] | None = None,
    learn_steps: bool = False,
    learn_entries: bool = False,
    keep_zeros: bool = False,
    best: bool = False,
    accumulator: str | None = None,
    grids: Any = None,
    checkpoint: str | Path | None = None,
    log: Callable[[str], None] | None = None,
    **settings: Any,
) -> Fitted:
    """Train a quantized model to answer as a teacher does, and by labels where there are some.

    `teacher` is a float model as `quantize` takes one, or a larger model (a Graph or what `load`
    takes).
    `features` gives edges of the model that shall be like tensors of the teacher, by name. The
    rest is as in `finetune`; of the `settings`, `distil` is the teacher's share of the loss,
    `temperature` softens its scores, and `features` in them weighs its tensors.
    Raises HwsimError as `finetune`, and for a teacher that does not take the model's samples.
    """
    from hwsim.compress.training.teachers import any_teacher

    graph = integer_graph(model, x)
    taught = any_teacher(teacher, graph, output, features or {}, x)
    wishes = (output, start, learn_steps, learn_entries, keep_zeros, best, accumulator, checkpoint)
    return _fitted(graph, (x, labels), test, names, wishes, taught, grids, log, settings)


def _fitted(
    graph: Graph,
    data: tuple[Any, Any],
    test: tuple[Any, Any] | None,
    names: Sequence[str] | None,
    wishes: tuple[str | None, Any, bool, bool, bool, bool, str | None, str | Path | None],
    teacher: Any,
    grids: Any,
    log: Callable[[str], None] | None,
    settings: Mapping[str, Any],
) -> Fitted:
    from hwsim.compress.training.fit import LabelledBatch, Wishes, fit
    from hwsim.compress.training.grids import grids_of
    from hwsim.compress.training.loop import Training
    from hwsim.evaluation.measure import by_name

    output, start, learn_steps, learn_entries, keep_zeros, best, accumulator, checkpoint = wishes
    wanted = Wishes(
        output=output,
        start=Path(start) if isinstance(start, str) else start,
        learn_steps=learn_steps,
        learn_entries=learn_entries,
        keep_zeros=keep_zeros,
        best=best,
        accumulator=accumulator,
        checkpoint=None if checkpoint is None else Path(checkpoint),
    )
    batches = [
        None if pair is None else LabelledBatch.read(by_name(graph, pair[0]), pair[1], names)
        for pair in (data, test)
    ]
    assert batches[0] is not None
    say = None if log is None else lambda epoch: log(str(epoch))
    return fit(
        graph,
        batches[0],
        batches[1],
        Training(**settings),
        wanted,
        teacher=teacher,
        grids=grids_of(grids, graph),
        say=say,
    )
