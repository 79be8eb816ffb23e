"""A float model quantized for a target, whichever it is."""

from __future__ import annotations

from hwsim.compress.choice.both import choose_both
from hwsim.compress.choice.cycles import choose_channels
from hwsim.compress.choice.judges import Judges
from hwsim.compress.choice.rooms import Cycles
from hwsim.compress.choice.run import choose_widths
from hwsim.compress.choice.target import ChoiceTarget
from hwsim.compress.float_model import FloatModel
from hwsim.compress.quantize.options import LinearScheme
from hwsim.compress.quantize.result import QuantizedModel
from hwsim.compress.quantize.run import run
from hwsim.compress.samples import Batches, BatchStream
from hwsim.errors import HwsimError


def choose(
    model: FloatModel,
    batches: Batches | BatchStream,
    linear: LinearScheme,
    target: ChoiceTarget,
    judges: Judges,
    cycles: Cycles | None,
) -> QuantizedModel:
    """Bits by layer for an accuracy or for bits of weights, channels for a target of cycles.

    Both where cycles come with another bound. `cycles` counts those of a Graph; other targets do
    without. Raises HwsimError with exit status 1 for bounds that nothing meets.
    """
    if target.accuracy is not None and judges.data is None:
        raise HwsimError("a target accuracy must come with samples and their labels, not without")
    if target.kind != "cycles":
        target.check_most(linear.widths)
    if cycles is None:
        return choose_widths(model, batches, linear, target, judges)
    if target.kind != "cycles":
        return choose_both(model, batches, linear, target, judges, cycles)
    made = run(model, batches, linear)
    return choose_channels(model, made, batches, target, judges, cycles)
