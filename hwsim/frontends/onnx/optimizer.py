"""What ONNX Runtime 1.32 makes of a QDQ graph on x86-64: its optimizer's rewrites, on a copy.

Only the rewrites that decide which nodes become integer kernels are made, in the runtime's order.
Sources: `graph_transformer_utils.cc` (the order), `matmul_add_fusion.cc`, `qdq_propagation.cc`,
`weight_bias_quantization.cc`, `qdq_s8_to_u8.cc`, `qdq_util.cc` of ONNX Runtime, and experiments
(docs/frontends.md). `kernels.py` holds the last step, the choice of kernels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from hwsim.frontends.onnx.file import OnnxModel
from hwsim.frontends.onnx.graph_copy import DQ, Array, Copy, Q, Step, copy_of

CLAMPS = ("Relu", "Clip")
MOST_ROUNDS = 10  # in which the runtime repeats its first level


def optimized(model: OnnxModel) -> Copy:
    """The graph just before kernels are chosen."""
    copy = copy_of(model)
    folded(copy)
    for _ in range(MOST_ROUNDS):
        before = _print(copy)
        for rewrite in FIRST_LEVEL:
            rewrite(copy)
        if _print(copy) == before:
            break
    repeated_clamps(copy)
    as_unsigned(copy)
    return copy


def _print(copy: Copy) -> list[tuple[str, int]]:
    return [(step.op, step.reads) for step in copy.steps]


def _each(copy: Copy, *ops: str) -> Iterator[Step]:
    """Steps that are still there when their turn comes."""
    for step in list(copy.steps):
        if step.op in ops and copy.makers.get(step.output) is step:
            yield step


def folded(copy: Copy) -> None:
    """What is computed of constants alone becomes one; only its type and shape matter here."""
    for step in _each(copy, Q, "Cast", "Clip", "Transpose", "Reshape", "Squeeze", "Unsqueeze"):
        value = copy.constants.get(step.inputs[0]) if step.inputs else None
        if value is None or step.output in copy.outputs:
            continue
        copy.constants[step.output] = _moved(copy, step, value)
        copy.steps.remove(step)
    copy.index()
    for step in _each(copy, "Transpose"):
        source = copy.maker(step.inputs[0], DQ)
        if source is None or copy.only_reader(source.output) is not step:
            continue
        codes = copy.constants.get(source.inputs[0])
        if codes is not None and source.input(2):  # else the runtime keeps the Transpose
            _turn(copy, source, step, codes)


def _moved(copy: Copy, step: Step, value: Array) -> Array:
    if step.op == Q:
        return _quantized(copy, step, value)
    target = copy.constants.get(step.input(1))
    match step.op:
        case "Transpose":
            return value.transpose(_order(step, value.ndim))
        case "Reshape" if target is not None:
            return value.reshape([int(d) for d in target.ravel()])
        case "Squeeze" if target is not None:
            return value.squeeze(tuple(int(a) for a in target.ravel()))
        case "Unsqueeze" if target is not None:
            return np.expand_dims(value, tuple(int(a) for a in target.ravel()))
    return value


def _quantized(copy: Copy, step: Step, value: Array) -> Array:
    """The codes of constant weights."""
    given = [copy.constants.get(step.input(i)) for i in (1, 2)]
    scale, zero = (np.ones(1) if v is None else v for v in given)
    if not step.input(2):
        zero = np.zeros(1)
    if scale.size > 1 and value.ndim:
        shape = [1] * value.ndim
        shape[step.integer("axis", 1) % value.ndim] = -1
        scale, zero = scale.reshape(shape), zero.reshape(shape) if zero.size > 1 else zero
    dtype = np.dtype(copy.dtype(step))
    info = np.iinfo(dtype)
    with np.errstate(all="ignore"):
        codes = np.rint(value / scale) + zero.astype(np.int64)
    bounded: Array = np.nan_to_num(np.clip(codes, info.min, info.max)).astype(dtype)
    return bounded


def _order(step: Step, rank: int) -> tuple[int, ...]:
    given = step.node.integers("perm") if step.node is not None else ()
    return given or tuple(range(rank - 1, -1, -1))


def _turn(copy: Copy, source: Step, step: Step, codes: Array) -> None:
    """Codes transposed in front of their dequantizer, its axis too."""
    order, name = _order(step, codes.ndim), copy.fresh(source.inputs[0])
    copy.constants[name] = codes.transpose(order)
    axis = source.integer("axis", 1) % max(codes.ndim, 1)
    source.inputs[0] = name
    source.axis = order.index(axis) if copy.scalar(source.input(1)) is None else axis
    copy.drop(step)
    copy.index()


def nothings(copy: Copy) -> None:
    """Identity, Dropout and Cast to float32 go, and a ReLU before a Clip."""
    for step in _each(copy, "Identity", "Dropout", "Cast"):
        real = step.op != "Cast" or (step.integer("to", 0) == 1 and _is_real(copy, step.inputs[0]))
        if step.output not in copy.outputs and real:
            copy.drop(step)
    for step in _each(copy, "Relu"):
        reader = copy.only_reader(step.output)
        limits = reader is not None and reader.op == "Clip" and reader.input(1) in copy.constants
        if limits and reader is not None:
            low = np.maximum(copy.constants[reader.inputs[1]], 0)
            name = copy.fresh(reader.inputs[1])
            copy.constants[name] = low
            reader.inputs[1] = name
            copy.drop(step)
            copy.index()


def _is_real(copy: Copy, tensor: str) -> bool:
    maker = copy.makers.get(tensor)
    return maker is not None and maker.op not in (Q, "Shape", "ArgMax", "Cast")


def padding(copy: Copy) -> None:
    """A Pad by nothing goes, others into the convolution or pool that alone reads them."""
    for step in _each(copy, "Pad"):
        pads = copy.constants.get(step.input(1))
        if pads is not None and not pads.any() and step.output not in copy.outputs:
            copy.drop(step)
            continue
        reader = copy.only_reader(step.output)
        if reader is None or reader.node is None:
            continue
        plain = str(reader.node.attributes.get("auto_pad", "NOTSET")) == "NOTSET"
        counted = reader.integer("count_include_pad", 0) or not any(reader.node.integers("pads"))
        pooled = reader.op == "AveragePool" and counted  # which then counts the padding
        if plain and (reader.op == "Conv" or pooled):
            copy.drop(step)


def shared(copy: Copy) -> None:
    """Steps that compute the same become one; float scalars count by value, others by name."""
    known: dict[object, Step] = {}
    for step in list(copy.steps):
        if step.op == DQ:
            continue
        names = tuple(_value_name(copy, name) for name in step.inputs)
        attributes = str(sorted((step.node.attributes if step.node else {}).items(), key=str))
        key = (step.op, names, attributes, copy.dtype(step) if step.op == Q else "")
        other = known.setdefault(key, step)
        if other is not step:
            copy.rename(step.output, other.output)
            if step.output not in copy.outputs:
                copy.steps.remove(step)
    copy.index()


def _value_name(copy: Copy, name: str) -> object:
    value = copy.constants.get(name)
    if value is not None and value.size == 1 and value.dtype in (np.float32, np.int64):
        return (value.dtype.name, value.shape, value.tobytes())
    return name


def known_shapes(copy: Copy) -> None:
    """The target of a Reshape that is made from its own input's shape counts as constant."""
    for step in _each(copy, "Reshape"):
        chain = _shape_chain(copy, step.input(1), step.inputs[0])
        if chain:
            step.inputs[1] = copy.fresh(step.inputs[1])
            copy.constants[step.inputs[1]] = np.zeros(copy.ranks.get(step.output, 0), np.int64)
            copy.index()
            sources = [s for part in chain if (s := copy.maker(part.inputs[0], DQ)) is not None]
            for part in [*reversed(chain), *sources]:  # what nothing else reads
                read = copy.readers(part.output) or part.output in copy.outputs
                if part in copy.steps and not read:
                    copy.steps.remove(part)
                    copy.index()


def _codes_of(copy: Copy, tensor: str) -> str:
    """What stands before a DequantizeLinear, of which each reader has one of its own."""
    maker = copy.maker(tensor, DQ)
    return maker.inputs[0] if maker is not None else tensor


def _shape_chain(copy: Copy, tensor: str, root: str, depth: int = 6) -> list[Step]:
    """The steps from the shape of `root` to `tensor`, in order; empty where others help."""
    maker = copy.makers.get(tensor)
    if (
        not depth
        or maker is None
        or maker.op not in ("Shape", "Gather", "Unsqueeze", "Slice", "Concat", "Cast")
    ):
        return []
    if maker.op == "Shape":
        return [maker] if _codes_of(copy, maker.inputs[0]) == _codes_of(copy, root) else []
    chain: list[Step] = []
    for name in maker.inputs[: 6 if maker.op == "Concat" else 1]:
        part = [] if name in copy.constants else _shape_chain(copy, name, root, depth - 1)
        if not part and name not in copy.constants:
            return []
        chain += part
    return [*chain, maker]


def products_with_bias(copy: Copy) -> None:
    """MatMul and the Add of a bias become a Gemm."""
    for step in _each(copy, "MatMul"):
        add = copy.only_reader(step.output)
        if add is None or add.op != "Add" or copy.ranks.get(step.inputs[1]) != 2:
            continue
        bias = add.inputs[1 if add.inputs[0] == step.output else 0]
        rank, value = copy.ranks.get(step.inputs[0], 0), copy.constants.get(bias)
        shape = value.shape if value is not None else _shape_behind(copy, bias)
        outputs = _outputs(copy, step.inputs[1])
        row = shape in ((outputs,), (1, outputs)) if rank == 2 else shape == (outputs,)
        if not row and not (rank == 2 and copy.ranks.get(bias) == 2 and value is None):
            continue
        if rank == 2:
            _become_gemm(copy, step, add, bias)
        elif rank > 2 and copy.batch:
            _become_gemm(copy, step, add, bias, reshaped=True)
    copy.index()


def _become_gemm(copy: Copy, product: Step, add: Step, bias: str, reshaped: bool = False) -> None:
    position = copy.steps.index(add)
    gemm = Step("Gemm", [*product.inputs, bias], add.output, None, product.origins + add.origins)
    new = [gemm]
    if reshaped:
        flat, rows = copy.fresh(product.inputs[0]), copy.fresh(add.output)
        new = [
            Step("Reshape", [product.inputs[0], copy.fresh("shape")], flat),
            Step("Gemm", [flat, product.inputs[1], bias], rows, None, gemm.origins),
            Step("Reshape", [rows, copy.fresh("shape")], add.output),
        ]
    copy.steps[position : position + 1] = new
    copy.steps.remove(product)
    copy.ranks.update({s.output: 2 for s in new[:2]})
    copy.index()


def _outputs(copy: Copy, weights: str) -> int:
    """Columns of a matrix of weights behind its dequantizer."""
    maker = copy.maker(weights, DQ)
    codes = copy.constants.get(maker.inputs[0] if maker else weights)
    return int(codes.shape[-1]) if codes is not None and codes.ndim == 2 else -1


def _shape_behind(copy: Copy, tensor: str) -> tuple[int, ...] | None:
    maker = copy.maker(tensor, DQ)
    codes = copy.constants.get(maker.inputs[0]) if maker else None
    return None if codes is None else codes.shape


def _propagates(copy: Copy, step: Step) -> bool:
    if step.op == "MaxPool":
        return copy.opset >= 12
    return step.op in ("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Slice")


def quantizers_backward(copy: Copy) -> None:
    """A pair Q, DQ before each shape operator or max pool that ends in a quantizer."""
    for step in _each(copy, Q):
        if not _scalar_parameters(copy, step):
            continue
        tensor = step.inputs[0]
        while copy.only_reader(tensor) is not None:
            mover = copy.maker(tensor)
            if mover is None or not _propagates(copy, mover):
                break
            tensor = mover.inputs[0]
            maker = copy.maker(tensor)
            if maker is None or maker.op == DQ or copy.only_reader(tensor) is not mover:
                break
            _insert_pair(copy, tensor, [mover], step)


def _scalar_parameters(copy: Copy, step: Step) -> bool:
    return copy.scalar(step.input(1)) is not None and (
        not step.input(2) or copy.scalar(step.input(2)) is not None
    )


def _insert_pair(copy: Copy, tensor: str, readers: Sequence[Step], like: Step) -> None:
    """Between a tensor and some of its readers."""
    given, code = like.inputs[1:], copy.fresh(tensor)
    position = min(copy.steps.index(reader) for reader in readers)
    new = [Step(Q, [tensor, *given], code, like.node if not like.input(2) else None)]
    for reader in readers:
        real = copy.fresh(tensor)
        new.append(Step(DQ, [code, *given], real))
        reader.inputs = [real if name == tensor else name for name in reader.inputs]
        copy.ranks[real] = copy.ranks.get(tensor, 0)
    copy.steps[position:position] = new
    copy.index()


def dequantizers_forward(copy: Copy) -> None:
    """A pair Q, DQ behind each shape operator or max pool that starts at a dequantizer."""
    for step in _each(copy, DQ):
        mover = copy.only_reader(step.output)
        if mover is None or step.inputs[0] in copy.constants:
            continue
        if not _scalar_parameters(copy, step):
            continue
        movers = [mover]
        while movers:
            mover = movers.pop()
            if not _propagates(copy, mover) or mover.output in copy.outputs:
                continue
            readers = [r for r in copy.readers(mover.output) if r.op != Q]
            if readers:
                _insert_pair(copy, mover.output, readers, step)
            movers += readers


def integer_biases(copy: Copy) -> None:
    """The float bias of a layer that a quantizer ends becomes int32."""
    for step in _each(copy, "Conv", "Gemm"):
        data, weights = copy.maker(step.inputs[0], DQ), copy.maker(step.inputs[1], DQ)
        bias = copy.constants.get(step.input(2))
        if data is None or weights is None or bias is None or bias.ndim != 1:
            continue
        if copy.scalar(data.input(1)) is None or not _ends_in_quantizer(copy, step):
            continue
        scale = copy.constants.get(weights.input(1))
        channels = 0 if step.op == "Conv" or step.integer("transB", 0) else 1
        if scale is None or weights.integer("block_size", 0):
            continue
        if copy.scalar(weights.input(1)) is None and (
            scale.shape != bias.shape
            or weights.integer("axis", 1) not in (channels, channels - _weights_rank(copy, weights))
        ):
            continue
        step.bias_codes = True
        codes, real = copy.fresh(step.inputs[2]), copy.fresh(step.inputs[2])
        named = copy.fresh(weights.inputs[1])
        copy.constants[codes] = np.broadcast_to(np.int32(0), bias.shape)
        folded = copy.constants[data.inputs[1]].ndim <= scale.ndim
        if folded:  # else the runtime cannot fold the product of the two scales
            copy.constants[named] = copy.constants[data.inputs[1]] * scale
        copy.steps.insert(copy.steps.index(step), Step(DQ, [codes, named], real))
        step.inputs[2] = real
        copy.index()


def _weights_rank(copy: Copy, weights: Step) -> int:
    codes = copy.constants.get(weights.inputs[0])
    return codes.ndim if codes is not None else copy.ranks.get(weights.output, 2)


def _ends_in_quantizer(copy: Copy, step: Step) -> bool:
    while True:
        readers = copy.readers(step.output)
        if len(readers) != 1:
            return False
        if readers[0].op == Q:
            return True
        if readers[0].op not in CLAMPS:
            return False
        step = readers[0]


def unique_dequantizers(copy: Copy) -> None:
    """One DequantizeLinear for each reader."""
    for step in _each(copy, DQ):
        readers = list(copy.readers(step.output))
        kept = 0 if step.output in copy.outputs else 1
        for reader in readers[kept:]:
            real = copy.fresh(step.output)
            first = reader.inputs.index(step.output)
            if kept and reader is readers[0]:  # the same step reads it twice
                first = len(reader.inputs) - 1 - reader.inputs[::-1].index(step.output)
            reader.inputs[first] = real
            new = Step(DQ, list(step.inputs), real, step.node, axis=step.axis)
            copy.steps.insert(copy.steps.index(step) + 1, new)
            copy.ranks[real] = copy.ranks.get(step.output, 0)
        if len(readers) > kept:
            copy.index()


FIRST_LEVEL = (  # in this order
    nothings, padding, shared, products_with_bias, known_shapes,
    quantizers_backward, dequantizers_forward, integer_biases, unique_dequantizers,
)  # fmt: skip


def repeated_clamps(copy: Copy) -> None:
    """A ReLU or Clip that the quantizer behind it repeats goes."""
    for step in _each(copy, *CLAMPS):
        reader = copy.only_reader(step.output)
        if reader is not None and reader.op == Q and repeated(copy, step, reader):
            copy.drop(step)


def repeated(copy: Copy, step: Step, quantizer: Step) -> bool:
    """Whether a quantizer gives every code of a ReLU or Clip before it alone."""
    scale, zero = copy.scalar(quantizer.input(1)), copy.scalar(quantizer.input(2))
    if scale is None or (quantizer.input(2) and zero is None):
        return False
    info, point = np.iinfo(copy.dtype(quantizer)), int(zero.ravel()[0]) if zero is not None else 0
    if step.op == "Relu":
        return point == int(info.min)
    limits = clip_limits(copy, step)
    if limits is None or scale.ndim or (zero is not None and zero.ndim):
        return False
    low, high = (np.rint(np.float32(v) / np.float32(scale.ravel()[0])) + point for v in limits)
    return bool(low <= info.min and high >= info.max)


def clip_limits(copy: Copy, step: Step) -> tuple[float, float] | None:
    """The constants between which a Clip keeps its input."""
    top = float(np.finfo(np.float32).max)
    limits = [-top, top]
    for i, name in enumerate(("min", "max")):
        if step.input(i + 1):
            value = copy.constants.get(step.input(i + 1))
            if value is None or value.size != 1:
                return None
            limits[i] = float(value.ravel()[0])
        elif step.node is not None and name in step.node.attributes:
            limits[i] = step.node.real(name, limits[i])
    return limits[0], limits[1]


def as_unsigned(copy: Copy) -> None:
    """int8 becomes uint8 between a quantizer and the one dequantizer that alone reads it."""
    for step in _each(copy, Q):
        reader = copy.only_reader(step.output)
        if reader is None or reader.op != DQ:
            continue
        zeros = [copy.scalar(s.input(2)) for s in (step, reader)]
        if zeros[0] is not None and not reader.input(2):
            zeros[1] = np.zeros_like(zeros[0])
        given = [z for z in zeros if z is not None and z.dtype == np.int8]
        if len(given) == 2 and int(given[0].ravel()[0]) == int(given[1].ravel()[0]):
            name = copy.fresh(step.inputs[2])
            copy.constants[name] = np.array(int(given[0].ravel()[0]) + 128, np.uint8)
            step.inputs[2] = name
            reader.inputs[2:] = [name]
