"""What a network comes to after a step: accuracy, bits, work, and what a plan of hardware says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hwsim.compress.figures import bit_operations, weight_bits
from hwsim.compress.float_accuracy import accuracy_of_floats
from hwsim.compress.float_model import FloatModel
from hwsim.compress.quantize.places import places
from hwsim.errors import HwsimError
from hwsim.evaluation.measure import choose_output, measure
from hwsim.evaluation.scores import Accuracy
from hwsim.extras import hardware
from hwsim.graph import Graph
from hwsim.ops import Weighted

if TYPE_CHECKING:
    from collections.abc import Callable

    from hwsim.recipe.data import RecipeData
    from hwsim.recipe.job import Network
    from hwsim.recipe.setting import Setting

FLOAT_BITS = 32

Figures = dict[str, Any]


def figures_of(
    network: Network, setting: Setting, data: RecipeData, say: Callable[[str], None]
) -> Figures:
    """Figures of a network; what is not known of it is None.

    `accuracy` is that of the emulator on all test samples, of a float model ONNX Runtime's.
    `weight_bits` are bits as hardware stores them, `bias_bits` those that biases take. `macs` and
    `bit_operations` are those of an inference, the latter products by the bits of both factors.
    `plan` is what `hwsim build` takes by default on the recipe's target.
    """
    if network.is_float:
        model = FloatModel.read(network.path)
        say("counting the float model's accuracy")
        counted = _counted(lambda: _float_accuracy(model, data), setting)
        return {**_of_floats(model), **counted, "plan": None}
    graph = network.graph()
    say("counting accuracy")
    counted = _counted(lambda: _accuracy(graph, data, say), setting)
    return {**_of_graph(graph), **counted, "plan": plan_of(graph, setting.target, setting.clock)}


def _counted(count: Callable[[], Accuracy | None], setting: Setting) -> Figures:
    """Counts, or in `uncounted` why there are none; labels that were asked for are an error.

    Those that lie beside the samples may be of something else than classes.
    """
    try:
        found = count()
    except HwsimError as error:
        if setting.data["test_labels"] is not None:
            raise
        return {"accuracy": None, "uncounted": str(error)}
    if found is None:
        return {"accuracy": None}
    return {"accuracy": {"samples": found.samples, "right": found.right, "top1": found.top1}}


def _of_graph(graph: Graph) -> Figures:
    ops = [node.op for node in graph.nodes if isinstance(node.op, Weighted)]
    weights, biases = sum(op.weights.size for op in ops), sum(op.bias.size for op in ops)
    zeros = sum(int((op.weights == 0).sum()) for op in ops)
    return {
        "parameters": weights + biases,
        "weights": weights,
        "zeros": zeros,
        "sparsity": zeros / weights if weights else 0.0,
        "weight_bits": weight_bits(graph),
        "bias_bits": sum(op.bias.size * _width(op.bias) for op in ops),
        "macs": sum(one.macs for one in graph.work().values()),
        "bit_operations": bit_operations(graph),
    }


def _width(codes: Any) -> int:
    """Bits of two's complement that hold all codes."""
    least, most = int(codes.min()), int(codes.max())
    return 1 + max((-1 - least if least < 0 else 0).bit_length(), max(most, 0).bit_length())


def _of_floats(model: FloatModel) -> Figures:
    constants, layers = model.constants, places(model).layers
    weights = {layer.weights: constants[layer.weights] for layer in layers}
    biases = {layer.bias: constants[layer.bias] for layer in layers if layer.bias in constants}
    count, zeros = (
        sum(part.size for part in weights.values()),
        sum(int((part == 0).sum()) for part in weights.values()),
    )
    held = sum(part.size for part in biases.values())
    return {
        "parameters": count + held,
        "weights": count,
        "zeros": zeros,
        "sparsity": zeros / count if count else 0.0,
        "weight_bits": FLOAT_BITS * count,
        "bias_bits": FLOAT_BITS * held,
        "macs": None,
        "bit_operations": None,
    }


def _accuracy(graph: Graph, data: RecipeData, say: Callable[[str], None]) -> Accuracy | None:
    if not data.has("test"):
        return None
    given = data.of_graph(graph, "test")
    if given.labels is None:
        return None
    return measure(
        graph, given.arrays, given.labels, output=data.output, names=given.names, say=say
    )


def _float_accuracy(model: FloatModel, data: RecipeData) -> Accuracy | None:
    if not data.has("test"):
        return None
    given = data.of_floats(model, "test")
    if given.labels is None:
        return None
    return accuracy_of_floats(model, given.arrays, given.labels, given.names, output=data.output)


def plan_of(graph: Graph, target: str, clock: str) -> Figures:
    """The plan that a build takes by default, or why there is none."""
    try:
        mhz = hardware("rtl.flow.clock").parse_clock(clock)
        found = hardware("rtl.plan.explore").explore(graph, target, mhz, 2)
    except HwsimError as error:
        return {"problem": str(error)}
    option = next(one for one in found.options if one.default)
    return {
        "target": found.target,
        "cycles": option.cycles,
        "fps": option.fps,
        "multipliers": option.multipliers,
        "block_rams": option.block_rams,
        "memory_bits": option.memory_bits,
        "fits": option.fits,
    }


def check_output(setting: Setting, graph: Graph) -> None:
    """Raise HwsimError where the recipe names an output that the network has not."""
    if setting.data["output"] is not None:
        choose_output(graph, setting.data["output"])
