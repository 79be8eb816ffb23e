"""What data tell of a model: accuracy, hazards and the precisions that remove them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hwsim.errors import HwsimError
from hwsim.evaluation.scores import Accuracy
from hwsim.frontends import as_graph
from hwsim.graph import Graph
from hwsim.losses.report import Hazards
from hwsim.losses.suggestion import Suggestion


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
    from hwsim.compress.any_float import float_reference, integer_graph, is_float_object
    from hwsim.evaluation.measure import by_name, choose_output, measure

    graph = integer_graph(model, x)
    port = choose_output(graph, output)
    arrays = by_name(graph, x)
    run = reference
    if isinstance(reference, str | Path) or is_float_object(reference):
        run = float_reference(reference, graph, port.name, arrays)
    elif reference is not None:
        run = _called(reference, several=len(graph.inputs) > 1)
    return measure(graph, arrays, labels, output=port.name, names=names, reference=run)


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
