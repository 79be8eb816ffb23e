"""The steps that there are: for each its keys, what it takes and gives, and what does it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hwsim import defaults
from hwsim.compress.training.fit import Wishes
from hwsim.compress.training.loop import Training
from hwsim.recipe.job import Job, StepResult
from hwsim.recipe.keys import Key, Values, keys_of
from hwsim.recipe.steps import making, pruning, telling, training
from hwsim.verbs.compression import attribute, encode, prune, quantize
from hwsim.verbs.designs import build, plan
from hwsim.verbs.training import distil
from hwsim.verification import verify

Check = Callable[[Values], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepKind:
    """What there is to know of a kind of step.

    `takes` is floats or integers, or both; `gives` what the network is afterwards, where that
    changes. `data` names the parts of the data that the step cannot do without, and `reads` all
    that it depends on; `labels` tells whether those to train with must have labels. `after` are
    steps that must come before it, `of_floats` says that it looks at the recipe's float model, and
    `words` are values of a file's key that are no file. `check` raises HwsimError for options that
    the step refuses, `check_floats` for those that it refuses for a float network, and `ready` for
    libraries and programs that it needs and that are missing.
    """

    keys: Mapping[str, Key]
    takes: tuple[str, ...] = ("integers",)
    gives: str | None = None
    data: Callable[[Values], tuple[str, ...]] = lambda _: ()
    reads: tuple[str, ...] = ()
    labels: Check = lambda _: False
    after: tuple[str, ...] = ()
    of_floats: bool = False
    words: tuple[str, ...] = ()
    check: Check
    ready: Check = lambda _: None
    check_floats: Check | None = None
    run: Callable[[Job], StepResult]


def _with(found: dict[str, Key], *more: Key) -> dict[str, Key]:
    return {**found, **{key.name: key for key in more}}


def _negated(found: dict[str, Key]) -> dict[str, Key]:
    """Keys with `per_tensor` for `per_channel`, as the command has it."""
    return {
        ("per_tensor" if name == "per_channel" else name): (
            Key("per_tensor", "bool", not key.default) if name == "per_channel" else key
        )
        for name, key in found.items()
    }


SETTINGS = _with(
    {
        **keys_of(Wishes, leave=("output", "checkpoint")),
        **keys_of(Training, leave=("distil", "features", "temperature")),
    },
    Key("from", "Path"),
)

KINDS: Mapping[str, StepKind] = {
    "quantize": StepKind(
        keys=_negated(keys_of(quantize, leave=("out", "output"), rename={"layers": "layer"})),
        takes=("floats",),
        gives="integers",
        data=lambda _: ("calibration",),
        reads=("calibration",),
        check=making.check_quantization,
        ready=making.expect_quantizing,
        run=making.run_quantization,
    ),
    "prune": StepKind(
        keys=_with(
            keys_of(prune, leave=("checkpoint", "output"), rename={"layers": "layer"}),
            Key("teacher", "Path"),
            Key("from", "Path"),
        ),
        takes=("floats", "integers"),
        data=lambda values: ("train",) if pruning.needs_data(values) else (),
        reads=("train", "model"),
        words=(making.CODES,),
        labels=pruning.needs_labels,
        check=pruning.check_pruning,
        ready=pruning.expect_pruning,
        check_floats=pruning.check_float_pruning,
        run=pruning.run_pruning,
    ),
    "encode": StepKind(
        keys=keys_of(encode, rename={"layers": "layer", "start": "from"}),
        words=(making.CODES,),
        check=making.encoding,
        run=making.run_encoding,
    ),
    "finetune": StepKind(
        keys=SETTINGS,
        labels=lambda _: True,
        data=lambda _: ("train",),
        reads=("train",),
        words=(making.CODES,),
        check=training.check_training,
        ready=lambda _: training.expect_training(),
        run=training.run_training,
    ),
    "distil": StepKind(
        keys=_with(
            {
                **keys_of(distil, leave=("names",), rename={"features": "feature"}),
                **SETTINGS,
            },
            Key("teacher", "Path"),
            Key("share", "float", defaults.TAUGHT),
            Key("temperature", "float", Training().temperature),
        ),
        data=lambda _: ("train",),
        reads=("train", "model"),
        words=(making.CODES,),
        check=training.check_training,
        ready=lambda _: training.expect_training(),
        run=training.run_training,
    ),
    "attribute": StepKind(
        keys=keys_of(attribute, leave=("names", "output")),
        reads=("calibration", "model"),
        of_floats=True,
        check=lambda _: None,
        run=telling.run_attribution,
    ),
    "plan": StepKind(keys=keys_of(plan), check=telling.check_plan, run=telling.run_plan),
    "build": StepKind(
        keys=keys_of(build, leave=("out", "name", "log")),
        check=telling.check_build,
        ready=telling.expect_building,
        run=telling.run_build,
    ),
    "verify": StepKind(
        keys=keys_of(verify, leave=("folder", "output", "names", "log")),
        after=("build",),
        check=telling.check_verification,
        ready=lambda _: telling.expect_verifying(),
        run=telling.run_verification,
    ),
}
"""By what `do` says."""
