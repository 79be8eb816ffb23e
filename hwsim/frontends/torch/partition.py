"""What ExecuTorch's XNNPACK delegate computes in integers, and what it cannot run at all.

Between dequantize and quantize, an operator runs in integers only where the quantizer stands right
behind it; some take a clamp in between. Found by experiment, as the rules of xnnpack.py.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from hwsim.errors import HwsimError
from hwsim.frontends.torch.program import ExportedGraph, ProgramNode, TensorName

QUANTIZE = "quantized_decomposed.quantize_per_tensor"
DEQUANTIZE = "quantized_decomposed.dequantize_per_tensor"
DEQUANTIZERS = (DEQUANTIZE, "quantized_decomposed.dequantize_per_channel")


def _aten(*names: str) -> frozenset[str]:
    return frozenset(f"aten.{name}" for name in names)


SAME = _aten("alias", "clone", "contiguous", "detach", "dropout", "dropout_", "feature_dropout")
"""Operators that lowering takes away."""
CLAMPS = _aten("relu", "relu_", "relu6", "relu6_", "hardtanh", "hardtanh_", "clamp", "clamp_")
RELU = _aten("relu", "relu_")
DENSE = _aten("linear", "addmm", "mm")
LAYERS = DENSE | _aten("conv1d", "conv2d", "convolution", "conv_transpose1d", "conv_transpose2d")
RESHAPES = _aten("_unsafe_view", "flatten", "reshape", "squeeze", "unflatten", "unsqueeze", "view")
FUSED: dict[str, frozenset[str]] = {
    **dict.fromkeys(LAYERS, CLAMPS),
    **dict.fromkeys(_aten("add", "add_"), RELU),
    **dict.fromkeys(_aten("sub", "sub_", "mul", "mul_", "rsub"), frozenset()),
    **dict.fromkeys(_aten("mean", "adaptive_avg_pool2d", "_adaptive_avg_pool2d"), frozenset()),
    **dict.fromkeys(CLAMPS, frozenset()),
}
"""Operators that run in integers, and the clamps that may stand between them and the quantizer."""
POOLS = _aten("adaptive_avg_pool2d", "_adaptive_avg_pool2d")
"""Of a map whose channels lie side by side, lowering puts a copy between them and the quantizer."""
KEEPS = RESHAPES | _aten(
    "adaptive_max_pool2d", "cat", "max_pool2d", "max_pool2d_with_indices", "permute", "transpose"
)
"""Operators whose quantizer must not change the scale."""


class Partition:
    """Which nodes of a program are computed in integers, by name."""

    def __init__(self, graph: ExportedGraph) -> None:
        self._users: dict[str, list[ProgramNode]] = defaultdict(list)
        self._makers: dict[str, ProgramNode] = {}
        for node in graph.nodes:
            for name in _read(node):
                self._users[name].append(node)
            for name in node.outputs:
                self._makers[name] = node
        self._shown, self._meanings = set(graph.outputs), graph.meanings
        self.whole = frozenset(name for node in graph.nodes for name in self._of(node))

    def check(self, nodes: Sequence[ProgramNode]) -> None:
        """Raise HwsimError where the delegate cannot run a node."""
        for node in nodes:
            if node.name not in self.whole and self._weighs(node):
                raise HwsimError(
                    f"{node}: its quantizer must stand right behind it, or behind one ReLU or "
                    "clamp: ExecuTorch lowers no other layer with quantized weights; like='torch' "
                    "reads the program as PyTorch itself runs it"
                )
            if node.op in KEEPS:
                self._keeps(node)

    def _of(self, node: ProgramNode) -> Iterator[str]:
        """The node, and the clamp behind it, where the delegate has integers for it."""
        if node.op not in FUSED or not node.outputs:
            return
        if node.op in CLAMPS and not self._dequantized(node):
            return
        if node.op in LAYERS and not self._weighs(node):
            return
        if node.op in POOLS and any(self._meanings[name].channels_last for name in _read(node)):
            return
        user = self._user(node, through=RESHAPES if node.op in DENSE else frozenset())
        if user is None:
            return
        if user.op == QUANTIZE:
            yield node.name
        elif user.op in FUSED[node.op]:
            last = self._user(user, through=RESHAPES if node.op in DENSE else frozenset())
            if last is not None and last.op == QUANTIZE:
                yield from (node.name, user.name)

    def _weighs(self, node: ProgramNode) -> bool:
        """Whether it is a layer with quantized weights; one with float weights runs in float32."""
        name = node.args.get("mat2" if "mat2" in node.args else "weight")
        maker = self._makers.get(name.name) if isinstance(name, TensorName) else None
        return node.op in LAYERS and maker is not None and maker.op in DEQUANTIZERS

    def _user(self, node: ProgramNode, through: frozenset[str]) -> ProgramNode | None:
        """The only node that reads another's result, beyond those that change nothing."""
        name = node.output
        while name not in self._shown and len(self._users[name]) == 1:
            (user,) = self._users[name]
            if user.op not in SAME | through or not user.outputs:
                return user
            name = user.output
        return None

    def _dequantized(self, node: ProgramNode) -> list[ProgramNode]:
        """The dequantizers that make all of a node's tensors; none where some come otherwise."""
        makers = [self._makers.get(name) for name in _read(node)]
        found = [maker for maker in makers if maker is not None and maker.op == DEQUANTIZE]
        return found if len(found) == len(makers) else []

    def _keeps(self, node: ProgramNode) -> None:
        user = self._user(node, frozenset()) if node.outputs else None
        if user is None or user.op != QUANTIZE:
            return
        wanted = _scale(user)
        if any(_scale(maker) != wanted for maker in self._dequantized(node)):
            raise HwsimError(
                f"{node}: its inputs and its result must have one scale and zero point, else "
                "ExecuTorch cannot load it; like='torch' reads the program as PyTorch itself runs "
                "it"
            )


def _scale(node: ProgramNode) -> tuple[object, object]:
    return node.args.get("scale"), node.args.get("zero_point")


def _read(node: ProgramNode) -> Iterator[str]:
    """Names of the tensors among a node's arguments."""
    for value in node.args.values():
        for each in value if isinstance(value, tuple) else (value,):
            if isinstance(each, TensorName):
                yield each.name
