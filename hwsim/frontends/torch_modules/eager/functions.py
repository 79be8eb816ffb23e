"""Functions of one code: tables that PyTorch's own kernels make, when the module is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.float_steps import FloatStep
from hwsim.frontends.shared.arrangement import Arrangement
from hwsim.frontends.shared.values import RawInput
from hwsim.frontends.torch_modules.eager.engines import Engine
from hwsim.frontends.torch_modules.eager.importer import (
    FORMATS,
    Floats,
    QuantizedCodes,
    TorchImporter,
)
from hwsim.frontends.torch_modules.eager.positions import VectorsAndRest, filled, placed
from hwsim.frontends.torch_modules.trace import Call
from hwsim.ops import ChannelTable, Op, Quant, Relu, Table
from hwsim.ops.base import IntArray

Kernel = Callable[[torch.Tensor], torch.Tensor]
CLAMPS = ("clamp", "clip", "hardtanh", "relu6")
WHOLE = 7  # codes from 0 to 6, which a clamp of whole numbers between these leaves as they are
MISPLACED = (
    "PyTorch's qnnpack puts the elements of this clamp in other places, by no rule that is known "
    "here; they stay where they are, as in the other engines, and any may differ"
)


def again(call: Call, changed: Mapping[str, Any]) -> Any:
    """The call once more, with other arguments."""
    held = {**call.arguments, **changed}
    arguments = call.op._schema.arguments
    plain = [held[a.name] for a in arguments if not a.kwarg_only]
    return call.op(*plain, **{a.name: held[a.name] for a in arguments if a.kwarg_only})


def _codes(made: torch.Tensor) -> IntArray:
    return np.asarray(made.int_repr().numpy().ravel(), np.int64)


def function(name: str) -> Callable[[TorchImporter, Call], None]:
    """A handler of operators whose only computed input has that name."""

    def handle(run: TorchImporter, call: Call) -> None:
        value = run.value(call, name)

        def kernel(given: torch.Tensor) -> torch.Tensor:
            made = again(call, {name: given})
            return made if isinstance(made, torch.Tensor) else made[0]

        if isinstance(value, Floats):
            run.values[id(call.output)] = Floats(
                value.source, lambda q: kernel(value.function(q)), plain=False
            )
            return
        tabled(run, call, run.quantized(call, name), kernel, call[name])
        if run.engine is Engine.QNNPACK and call.name.rpartition("::")[2].rstrip("_") in CLAMPS:
            _misplace(run, call, name)

    return handle


def _misplace(run: TorchImporter, call: Call, name: str) -> None:
    """Put the elements of a clamp where qnnpack puts them.

    Of a tensor with channels last PyTorch 2.13 writes the result as if the channels lay first.
    """
    places = _places(call, name)
    numbers = np.arange(places.size).reshape(places.shape)
    if (places == numbers).all():
        return
    made = run.values[id(call.output)]
    assert isinstance(made, QuantizedCodes)
    layout = made.layout
    axes = (*range(1, places.ndim), 0)
    if (places.ravel() != numbers.transpose(axes).ravel()).any():
        run.warn(call.title, MISPLACED)
        return
    moved = layout.transposed(axes).reshaped(layout.shape)
    run.values[id(call.output)] = made.moved(replace(made.codes, layout=moved))


def _places(call: Call, name: str) -> IntArray:
    """Which element of its input each one of a clamp's result is, in one sample of the run's.

    PyTorch is asked: it clamps the elements' own numbers, one digit after the other.
    """
    given = call[name]
    like, numbers = given[:1], np.arange(given[0].numel()).reshape(given.shape[1:])
    bounds = {"min": 0, "max": WHOLE - 1, "min_val": 0, "max_val": WHOLE - 1}
    changed = {key: value for key, value in bounds.items() if key in call.arguments}
    found, factor = np.zeros_like(numbers), 1
    while factor < numbers.size:
        digits = torch.from_numpy(numbers // factor % WHOLE)
        tensor = filled(like, 0, 1.0, 0)
        tensor.copy_(torch.quantize_per_tensor(digits[None].float(), 1.0, 0, given.dtype))
        made = again(call, {**changed, name: tensor})
        found += made.int_repr().numpy()[0].astype(np.int64) * factor
        factor *= WHOLE
    return found


def by_channel(run: TorchImporter, call: Call) -> None:
    """Functions of a code and its channel: a batch normalization, a PReLU with many slopes."""
    given, made = run.quantized(call, "qx"), call.output
    if made.dtype not in FORMATS:
        raise HwsimError(f"{call}: it must give quint8 or qint8, not {made.dtype}")
    shape, fmt = given.layout.shape, given.codes.format
    codes = run.arranged(given.codes, Arrangement.map(shape), call)
    rank = len(shape) - 1
    every = given.all_codes().int_repr()
    if rank > 2:
        raise HwsimError(f"{call}: its input must have at most two axes besides its channels")
    sizes = ((), (256,), (16, 16))[rank]
    whole = every.reshape(1, 1, *sizes) if rank else every.reshape(256, 1)
    whole = whole.expand(-1, shape[0], *([-1] * rank)).contiguous()
    if call["qx"].ndim == 4 and not call["qx"].is_contiguous():
        whole = whole.contiguous(memory_format=torch.channels_last)
    tensor = torch._make_per_tensor_quantized_tensor(whole, given.scale, given.zero_point)
    found = again(call, {"qx": tensor}).int_repr().numpy().astype(np.int64)
    values = found.reshape(shape[0], 256) if rank else found.T
    quant = run.meant(call, float(made.q_scale()), int(made.q_zero_point()))
    table = ChannelTable(values=values, out=FORMATS[made.dtype], first=fmt.min, quant=quant)
    run.give(call, [table], codes, layout=Arrangement.map(shape))


def with_a_number(run: TorchImporter, call: Call) -> None:
    """Arithmetic of reals with one constant number, on either side."""
    names = [n for n in ("self", "other", "exponent") if n in call.arguments]
    if isinstance(run.values.get(id(call["self"])), RawInput):
        _before_quantizer(run, call)
        return
    computed = [n for n in names if id(call[n]) in run.values]
    rest = [call[n] for n in names if n not in computed]
    single = all(not isinstance(v, torch.Tensor) or v.numel() == 1 for v in rest)
    if len(computed) != 1 or not single:
        raise HwsimError(
            f"{call}: reals must be computed with one constant number here, not with a tensor; "
            "FloatFunctional's add, mul and cat are for two quantized tensors"
        )
    function(computed[0])(run, call)


def _before_quantizer(run: TorchImporter, call: Call) -> None:
    """Arithmetic of an input with constants, such as a mean and a deviation: a step of its port."""
    value, other = run.value(call, "self"), call.arguments.get("other")
    name = call.name.removeprefix("aten::")
    plain = call.arguments.get("alpha", 1) == 1 and not call.arguments.get("rounding_mode")
    if name not in ("add", "sub", "mul", "div") or id(other) in run.values or not plain:
        raise HwsimError(f"{call}: the module's input must be quantized first")
    assert isinstance(value, RawInput)
    held = np.asarray(other.numpy() if isinstance(other, torch.Tensor) else other, np.float32)
    shape = held.shape[1:] if held.ndim == call["self"].ndim else held.shape
    step = FloatStep(op=name, values=tuple(float(v) for v in held.ravel()), shape=shape)
    run.values[id(call.output)] = replace(value, steps=(*value.steps, step))


def tabled(
    run: TorchImporter,
    call: Call,
    given: QuantizedCodes,
    kernel: Kernel,
    like: torch.Tensor | None,
) -> None:
    """The result of a kernel on each code; `like` is the tensor of the run that it took.

    Without that, the kernel rounds everything alike.
    """
    made = call.output
    if made.dtype not in FORMATS or made.qscheme() != torch.per_tensor_affine:
        raise HwsimError(f"{call}: it must give quint8 or qint8 with one scale, not {made.dtype}")
    every = given.all_codes()
    vector = _codes(kernel(every.clone()))
    alone = [kernel(every[i : i + 1].clone()) for i in range(len(every))]
    rest = np.concatenate([_codes(code) for code in alone])
    fmt, least = FORMATS[made.dtype], given.codes.format.min
    quant = run.meant(call, float(made.q_scale()), int(made.q_zero_point()))

    def rest_at(case: int) -> Any:
        if like is None:
            return np.zeros(made.shape[1:], bool)
        one = filled(like, case + least, given.scale, given.zero_point)
        found = kernel(one).int_repr().numpy()
        return (found == rest[case])[0]

    mask = VectorsAndRest(vector, rest, rest_at).mask(run, call)
    ops = _operators(vector, given, fmt, quant)
    if mask is None:
        run.give(call, ops, given.codes)
        return
    others = _operators(rest, given, fmt, quant)

    def build(chosen: list[Op]) -> Callable[[str, list[str]], str]:
        return lambda title, edges: run.chain(title, edges[0], chosen, title)

    edge, layout = placed(run, call, [given.codes], mask, build(ops), build(others))
    run.hold(call, edge, layout)


def _operators(values: IntArray, given: QuantizedCodes, fmt: Format, quant: Quant) -> list[Op]:
    """A clip where that is all, else a table."""
    held = given.codes.format
    codes = np.arange(held.min, held.max + 1)
    low, high = int(values.min()), int(values.max())
    if fmt == held and quant == given.quant and (values == np.clip(codes, low, high)).all():
        if (low, high) == (fmt.min, fmt.max):
            return []
        return [Relu(zero_point=low, maximum=None if high == fmt.max else high)]
    return [Table(values=values, out=fmt, quant=quant)]
