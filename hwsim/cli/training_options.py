"""Options of the commands that train, each once, and what they ask of a training."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwsim.cli.compression import Sums

if TYPE_CHECKING:
    from hwsim.compress.training.fit import Wishes
    from hwsim.compress.training.loop import Training

TestData = Annotated[
    list[str] | None,
    typer.Option(
        "--test", metavar="X", help="Samples to count accuracy on; a tenth of the data otherwise."
    ),
]
TestLabels = Annotated[
    Path | None, typer.Option(metavar="Y", help="Their labels, where the samples have none.")
]
Start = Annotated[
    Path | None,
    typer.Option("--from", metavar="FLOAT", help="The float model it was quantized from."),
]
Epochs = Annotated[int, typer.Option(help="How often all samples are seen.")]
Rate = Annotated[float, typer.Option(help="The largest step of the weights.")]
Batch = Annotated[int, typer.Option(help="Samples a step.")]
Seed = Annotated[int, typer.Option(help="Of the samples' order, and of those held out.")]
Check = Annotated[
    bool, typer.Option("--check", help="Compare each batch with the emulator, edge by edge.")
]
Device = Annotated[
    str, typer.Option(metavar="D", help="Where PyTorch computes: cpu, cuda, cuda:1.")
]
LearnSteps = Annotated[
    bool, typer.Option("--learn-steps", help="Learn the requantizers' multipliers too.")
]
LearnEntries = Annotated[
    bool, typer.Option("--learn-entries", help="Learn the entries of codebooks too.")
]
KeepZeros = Annotated[
    bool, typer.Option("--keep-zeros", help="Weights that are 0 stay so, as pruning left them.")
]
Best = Annotated[
    bool, typer.Option("--best", help="Keep the epoch of the highest accuracy, not the last.")
]
Patience = Annotated[
    int | None,
    typer.Option(metavar="N", help="With --best: end after N epochs without a better."),
]
Checkpoint = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Keeps the state after each epoch; a call goes on from it."),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOptions:
    """What `finetune` and `distil` have in common: fields of `Training` and `Wishes` by name."""

    test: TestData = None
    test_labels: TestLabels = None
    start: Start = None
    epochs: Epochs = 5
    rate: Rate = 1e-3
    batch: Batch = 128
    seed: Seed = 0
    device: Device = "cpu"
    learn_steps: LearnSteps = False
    learn_entries: LearnEntries = False
    keep_zeros: KeepZeros = False
    best: Best = False
    patience: Patience = None
    accumulator: Sums = None
    check: Check = False
    checkpoint: Checkpoint = None

    @property
    def files(self) -> tuple[Path | str | None, ...]:
        """What is read, besides the model and its data."""
        return (*(self.test or ()), self.test_labels, self.start)

    def training(self, **more: Any) -> Training:
        """How it is trained; `more` are settings that not all commands have."""
        from hwsim.compress.training.loop import Training

        return Training(**self._of(Training), **more)

    def wishes(self, output: str | None) -> Wishes:
        """What else is asked, for an output of the model."""
        from hwsim.compress.training.fit import Wishes

        return Wishes(**self._of(Wishes), output=output)

    def _of(self, kind: Any) -> dict[str, Any]:
        own = {item.name for item in fields(self)}
        return {item.name: getattr(self, item.name) for item in fields(kind) if item.name in own}
