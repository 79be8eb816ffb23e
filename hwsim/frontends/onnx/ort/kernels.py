"""Which kernel ONNX Runtime 1.32 chooses for each node of a QDQ graph on x86-64.

It looks for groups: dequantizers, an operator, perhaps a ReLU or Clip, a quantizer. Sources:
`qdq_selectors.cc` and `qdq_selector_action_transformer.cc` of ONNX Runtime, and experiments
(docs/frontends.md). Everything that no group takes runs in float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np

from hwsim.frontends.onnx.model import OnnxModel
from hwsim.frontends.onnx.ort.graph_copy import CLAMPS, DQ, Array, CopiedNode, Copy, Q
from hwsim.frontends.onnx.ort.optimizer import optimized
from hwsim.frontends.onnx.ort.quantizers import repeated

EIGHT_BITS = ("int8", "uint8")
SIXTEEN_BITS = ("int16", "uint16")
SMALL_WEIGHTS = ("int2", "uint2", "int4", "uint4", "int8", "uint8")
# A convolution's bias scale may be off by so much, absolute and relative.
BIAS_TOLERANCE = (1e-6, 1e-2)
MOST_SMALL = 64


class RuntimeKernel(Enum):
    """How a node is computed."""

    FLOAT = "float32"
    INTEGER = "integers"  # from codes to codes
    TO_FLOAT = "integers, result float32"  # exact sums times a float32
    BLOCKS = "MatMulNBits"  # activations rounded to 8 bits in blocks


WHOLE_SUMS = (RuntimeKernel.INTEGER, RuntimeKernel.TO_FLOAT)


@dataclass(frozen=True, slots=True)
class Choice:
    """The kernel of a node, the type of its activations, and whether its bias was made int32.

    `bias_scale` is the input's scale that counted for the bias, where it was not its last one.
    """

    kernel: RuntimeKernel = RuntimeKernel.FLOAT
    dtype: str = ""
    bias_codes: bool = False
    bias_scale: float | None = None


FLOAT = Choice()


def choices(model: OnnxModel, scales: Mapping[str, float]) -> Mapping[str, Choice]:
    """The choice for each tensor that a node of the model makes.

    `scales` are those of tensors that had another scale when float biases were made int32.
    """
    copy = ready(model, scales)
    found: dict[str, Choice] = {}
    for step in copy.steps:
        earlier = scales.get(step.inputs[0]) if step.bias_codes else None
        choice = replace(chosen(copy, step), bias_scale=earlier)
        found.update(dict.fromkeys(step.origins, choice))
    return found


def ready(model: OnnxModel, scales: Mapping[str, float]) -> Copy:
    """The graph just before kernels are chosen; `scales` as those of `choices`.

    A bias that was made int32 keeps its scale where that of its input has changed since.
    """
    copy = optimized(model)
    for step in copy.steps:
        if not step.bias_codes or step.inputs[0] not in scales:
            continue
        weights, bias = (copy.maker(step.inputs[place], DQ) for place in (1, 2))
        own = copy.constants.get(weights.input(1)) if weights is not None else None
        if bias is not None and own is not None and bias.input(1) in copy.constants:
            copy.constants[bias.input(1)] = np.float32(scales[step.inputs[0]]) * own
    return copy


@dataclass(frozen=True, slots=True)
class Group:
    """An operator with the dequantizers before it and the quantizers behind it."""

    step: CopiedNode
    sources: tuple[CopiedNode, ...]
    quantizers: tuple[CopiedNode, ...]
    types: tuple[str, ...]
    ends: tuple[str, ...]

    @property
    def closed(self) -> bool:
        """Whether all inputs come from dequantizers and all readers are one quantizer."""
        return len(self.sources) == self.step.reads and len(self.quantizers) == 1


def chosen(copy: Copy, step: CopiedNode) -> Choice:
    """The kernel that one step gets."""
    if step.op.removeprefix("com.microsoft.").startswith(("QLinear", "QGemm")):
        return Choice(RuntimeKernel.INTEGER)
    if step.op == "com.microsoft.MatMulIntegerToFloat":
        return Choice(RuntimeKernel.TO_FLOAT)
    rule = RULES.get(step.op)
    group = grouped(copy, step) if rule is not None else None
    kernel = RuntimeKernel.FLOAT
    if rule is not None and group is not None:
        kernel = rule(copy, group)
    if kernel is RuntimeKernel.FLOAT and step.op in ("MatMul", "Gemm") and in_blocks(copy, step):
        kernel = RuntimeKernel.BLOCKS
    dtype = group.types[0] if group is not None and group.types else ""
    if group is not None and kernel is RuntimeKernel.INTEGER and rule in (alike, added):
        dtype = group.ends[0]  # that of all of them
    return Choice(kernel, dtype, step.bias_codes)


def grouped(copy: Copy, step: CopiedNode) -> Group | None:
    """The group around a step; none where a ReLU or Clip behind it must stay, or readers mix."""
    sources = tuple(s for name in step.inputs if (s := copy.maker(name, DQ)) is not None)
    if any(copy.only_reader(s.output) is None for s in sources):
        return None
    clamp = clamp_behind(copy, step)
    end = clamp or step
    behind = copy.readers(end.output)
    quantizers = tuple(s for s in behind if s.op == Q)
    if clamp is not None and (len(quantizers) != 1 or not repeated(copy, clamp, quantizers[0])):
        return None
    if quantizers and (len(behind) != 1 or step.output in copy.outputs):
        return None
    types = tuple(copy.dtype(s) for s in sources)
    return Group(step, sources, quantizers, types, tuple(copy.dtype(s) for s in quantizers))


def clamp_behind(copy: Copy, step: CopiedNode) -> CopiedNode | None:
    """The ReLU or Clip that alone reads a step and has one reader itself."""
    readers = copy.readers(step.output)
    if len(readers) != 1 or readers[0].op not in CLAMPS:
        return None
    return readers[0] if copy.only_reader(readers[0].output) is not None else None


def convolution(copy: Copy, group: Group) -> RuntimeKernel:
    """QLinearConv: uint8 in and out, 8-bit weights, a bias that has nearly the sum's scale."""
    if not group.closed or group.types[0] != "uint8" or group.ends[0] != "uint8":
        return RuntimeKernel.FLOAT
    if group.types[1] not in EIGHT_BITS or not _bias_fits(copy, group):
        return RuntimeKernel.FLOAT
    return RuntimeKernel.INTEGER


def _bias_fits(copy: Copy, group: Group) -> bool:
    if len(group.sources) < 3:
        return True
    data, weights, bias = group.sources
    zero = copy.constants.get(bias.input(2))
    scales = [copy.constants.get(s.input(1)) for s in (data, weights, bias)]
    if group.types[2] != "int32" or (zero is not None and zero.any()):
        return False
    if any(s is None for s in scales):
        return False
    sx, sw, sb = (np.asarray(s, np.float32).ravel() for s in scales)
    if sb.size not in (1, sw.size) and sw.size != 1:
        return False
    wanted = (sx * sw).astype(np.float64)
    absolute, relative = BIAS_TOLERANCE
    return bool(np.all(np.abs(sb - wanted) <= absolute + relative * np.abs(wanted)))


def product(copy: Copy, group: Group) -> RuntimeKernel:
    """QLinearMatMul, or MatMulIntegerToFloat where no quantizer follows."""
    if len(group.sources) != 2 or group.types[0] != "uint8" or group.types[1] not in EIGHT_BITS:
        return RuntimeKernel.FLOAT
    if not group.quantizers:
        return RuntimeKernel.TO_FLOAT
    weights = group.sources[1]
    several = copy.scalar(weights.input(1)) is None
    shifted = group.types[1] == "int8" and _weights_type(copy, group) == "uint8"
    if group.ends[0] != "uint8" or (several and shifted and not weights.input(2)):
        return RuntimeKernel.FLOAT
    return RuntimeKernel.INTEGER


def gemm(copy: Copy, group: Group) -> RuntimeKernel:
    """QGemm: any 8-bit types that agree, an int32 bias of whatever scale."""
    if len(group.sources) != group.step.reads or not set(group.types[:2]) <= set(EIGHT_BITS):
        return RuntimeKernel.FLOAT
    if group.types[0] == "int8" and _weights_type(copy, group) != "int8":
        return RuntimeKernel.FLOAT
    if not group.sources[0].input(2) or not _zero_of_weights(copy, group):
        return RuntimeKernel.FLOAT
    node = group.step.node
    factors = (1.0, 1.0) if node is None else (node.real("alpha", 1.0), node.real("beta", 1.0))
    bias_wrong = len(group.types) > 2 and (group.types[2] != "int32" or factors != (1.0, 1.0))
    if bias_wrong or (group.quantizers and group.ends[0] != group.types[0]):
        return RuntimeKernel.FLOAT
    return RuntimeKernel.INTEGER if group.quantizers else RuntimeKernel.TO_FLOAT


def _zero_of_weights(copy: Copy, group: Group) -> bool:
    """Whether weights have a zero point: given, or made where one scale's int8 becomes uint8."""
    weights = group.sources[1]
    made = group.types[1] == "int8" and _weights_type(copy, group) == "uint8"
    scale = copy.constants.get(weights.input(1))
    return bool(weights.input(2)) or (made and scale is not None and scale.ndim == 0)


def _weights_type(copy: Copy, group: Group) -> str:
    """uint8 for int8 weights too, where two products of them could pass 16 bits."""
    return "int8" if group.types[1] == "int8" and _small(copy, group.sources[1]) else "uint8"


def _small(copy: Copy, source: CopiedNode) -> bool:
    """Whether the codes of a constant are small enough to stay int8."""
    codes = copy.constants.get(source.inputs[0])
    return codes is not None and bool((np.abs(codes.astype(np.int64)) <= MOST_SMALL).all())


def _held(copy: Copy, group: Group) -> set[str]:
    """The types of all codes; int8 constants count as weights do."""
    found = set(group.ends)
    for source, dtype in zip(group.sources, group.types, strict=True):
        constant = source.inputs[0] in copy.constants and dtype == "int8"
        found.add("uint8" if constant and not _small(copy, source) else dtype)
    return found


def alike(copy: Copy, group: Group) -> RuntimeKernel:
    """Pools and others: all types 8 bits and the same."""
    types = _held(copy, group)
    same = group.closed and len(types) == 1 and types <= set(EIGHT_BITS)
    return RuntimeKernel.INTEGER if same else RuntimeKernel.FLOAT


def added(copy: Copy, group: Group) -> RuntimeKernel:
    """QLinearAdd and QLinearMul: as `alike`, and no scale or zero point may have an axis."""
    given = [name for s in (*group.sources, *group.quantizers) for name in s.inputs[1:3] if name]
    plain = all(name in copy.constants and copy.constants[name].ndim == 0 for name in given)
    return alike(copy, group) if plain else RuntimeKernel.FLOAT


RULES = {
    "Conv": convolution,
    "MatMul": product,
    "Gemm": gemm,
    **dict.fromkeys(("Add", "Mul"), added),
    **dict.fromkeys(
        ("AveragePool", "GlobalAveragePool", "LeakyRelu", "Sigmoid", "Softmax", "Concat"), alike
    ),
}


def in_blocks(copy: Copy, step: CopiedNode) -> bool:
    """MatMulNBits: activations that no 4- or 8-bit dequantizer gives, constant small weights.

    16-bit dequantizers and quantizers are looked through.
    """
    data, weights = copy.maker(step.inputs[0], DQ), copy.maker(step.inputs[1], DQ)
    if weights is None or (data is not None and copy.dtype(data) not in SIXTEEN_BITS):
        return False
    if clamp_behind(copy, step) is not None:
        return False
    codes, scale = copy.constants.get(weights.inputs[0]), copy.constants.get(weights.input(1))
    zero = copy.constants.get(weights.input(2))
    if (
        codes is None
        or scale is None
        or codes.ndim != 2
        or copy.dtype(weights) not in SMALL_WEIGHTS
    ):
        return False
    if any(copy.dtype(s) not in SIXTEEN_BITS for s in copy.readers(step.output) if s.op == Q):
        return False
    columns = scale.shape == (codes.shape[1],) and weights.integer("axis", 1) == 1
    if not columns and (scale.ndim != 0 or _shared(copy, scale)):
        return False
    if zero is not None and zero.shape != scale.shape:
        return False
    if step.op == "MatMul":
        return True
    plain = step.node is None or (
        step.node.real("alpha", 1.0) == 1.0
        and not step.integer("transA", 0)
        and not step.integer("transB", 0)
        and step.node.real("beta", 1.0) == 1.0
    )
    return plain and _bias_is_row(copy, step, codes.shape[1])


def _shared(copy: Copy, scalar: Array) -> bool:
    """Whether more than one input has that constant, which the runtime makes one by value."""
    names = (name for step in copy.steps for name in step.inputs if name in copy.constants)
    values = (copy.constants[name] for name in names)
    alike = [v for v in values if v.dtype == scalar.dtype and v.ndim == 0 and v == scalar]
    return len(alike) > 1


def _bias_is_row(copy: Copy, step: CopiedNode, outputs: int) -> bool:
    bias = step.input(2)
    if not bias:
        return True
    maker = copy.maker(bias, DQ)
    value = copy.constants.get(maker.inputs[0] if maker is not None else bias)
    return value is not None and value.shape == (outputs,)
