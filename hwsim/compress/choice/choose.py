"""A float model quantized for a target, whichever it is."""

from __future__ import annotations

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


def choose(
    model: FloatModel,
    batches: Batches | BatchStream,
    linear: LinearScheme,
    target: ChoiceTarget,
    judges: Judges,
    cycles: Cycles | None,
) -> QuantizedModel:
    """Bits by layer for an accuracy or for bits of weights, channels for a target of cycles.

    `cycles` counts those of a Graph; other targets do without. Raises HwsimError with
    exit status 1 for a bound that nothing meets.
    """
    if cycles is None:
        return choose_widths(model, batches, linear, target, judges)
    made = run(model, batches, linear)
    return choose_channels(model, made, batches, target, judges, cycles)
