"""A recipe carried out: each step once, in order; what is finished already is taken as it is."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from hwsim.compress.float_model import FloatModel
from hwsim.errors import HwsimError
from hwsim.frontends import load
from hwsim.recipe.data import RecipeData, hash_of_file
from hwsim.recipe.figures import Figures, check_output, figures_of
from hwsim.recipe.job import INTEGERS, Job, Network, Outcome
from hwsim.recipe.reading import Recipe, Step
from hwsim.recipe.work import FINAL, Work, key_of, locked
from hwsim.storage import write_atomically

START = "model"
"""What the row before the first step is called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What a step came to: figures of the network after it, and what the step itself tells.

    `number` is 0 for the model as it was. `seconds` are those that it took when it was done,
    `kept` says that an earlier run did it. `folder` holds its files.
    """

    number: int
    do: str
    figures: Figures
    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    kept: bool = False
    folder: str | None = None

    @property
    def line(self) -> str:
        """The most of it in one line."""
        score, bits = self.figures["accuracy"], self.figures["weight_bits"]
        said = [f"step {self.number}, {self.do}" if self.number else self.do]
        said += [] if score is None else [f"accuracy {100 * score['top1']:.2f} %"]
        said += [f"{bits:,} bits of weights", "kept" if self.kept else f"{self.seconds:.1f} s"]
        return ", ".join(said)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "step": self.number,
            "do": self.do,
            "options": dict(self.options),
            "figures": self.figures,
            "facts": dict(self.facts),
            "notes": list(self.notes),
            "seconds": self.seconds,
            "kept": self.kept,
            "folder": self.folder,
        }


class Watcher(Protocol):
    """Who looks on: told of each step that begins, of what it says, and of what it came to."""

    def begins(self, number: int, do: str) -> None: ...
    def says(self, text: str) -> None: ...
    def ends(self, row: Row) -> None: ...


class NoOne:
    """Nobody looks on."""

    def begins(self, number: int, do: str) -> None:
        """Say nothing."""

    def says(self, text: str) -> None:
        """Say nothing."""

    def ends(self, row: Row) -> None:
        """Say nothing."""


@dataclass(frozen=True, slots=True)
class RecipeRun:
    """What a recipe came to: a row for the model and for each step, and the last network's file.

    `failed` is a sentence where a check did not hold; the steps behind it were not done.
    """

    recipe: Recipe
    rows: tuple[Row, ...]
    model: Path
    failed: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        from hwsim import __version__

        return {
            "recipe": str(self.recipe.file),
            "hwsim": __version__,
            "source": str(self.recipe.model),
            "out": str(self.recipe.out),
            "model": str(self.model),
            "seed": self.recipe.seed,
            "target": self.recipe.target,
            "steps": [row.to_dict() for row in self.rows],
            "failed": self.failed,
        }


def check(recipe: Recipe, data: RecipeData) -> Network:
    """Open the model and all data, before anything is done or written; the network to begin with.

    Raises HwsimError for what cannot be read, and for labels that are missing.
    """
    if not recipe.floats:
        graph = load(recipe.model, like=recipe.like)
        check_output(recipe, graph)
        for part in ("calibration", "train", "test"):
            if data.has(part):
                data.of_graph(graph, part, required=_labelled(recipe, part))
        return Network(path=recipe.model)
    if recipe.like is not None:
        raise HwsimError(f"{recipe.file}: like must be of a quantized model, not of a float one")
    if recipe.model.suffix.lower() != ".onnx":
        raise HwsimError(
            f"{recipe.file}: model must be a float .onnx file where a step quantizes it, not "
            f"{str(recipe.model)!r}"
        )
    model = FloatModel.read(recipe.model)
    for part in ("calibration", "train", "test"):
        if data.has(part):
            data.of_floats(model, part, required=_labelled(recipe, part))
    return Network(path=recipe.model)


def _labelled(recipe: Recipe, part: str) -> bool:
    """Whether a part of the data must have labels."""
    by_labels = any(step.do == "finetune" for step in recipe.steps)
    return part == "train" and by_labels


def run(recipe: Recipe, watcher: Watcher | None = None) -> RecipeRun:
    """Do a recipe's steps in its folder, with a report at the end.

    What an earlier run finished is taken where all that it depends on is the same: the model's and
    the data's content, the options of it and of the steps before it, hwsim's version. A run that
    was killed and is begun again comes to the same files. Raises HwsimError for what cannot be
    read before anything is written, and for a step that fails; those before it are kept.
    """
    from hwsim.recipe.report import write_report

    watch = watcher or NoOne()
    data = RecipeData(recipe)
    network = check(recipe, data)
    keys = _keys(recipe, data)
    with locked(recipe.out) as work:
        folders = [work.place(0, START, keys[0])]
        for step, key in zip(recipe.steps, keys[1:], strict=True):
            folders.append(work.place(step.number, step.do, key))
        work.tidy(folders)
        shared = _Shared(recipe, data, work, watch)
        network, row = shared.first(network, folders[0], keys[0])
        rows, failed = [row], None
        for step, folder, key in zip(recipe.steps, folders[1:], keys[1:], strict=True):
            network, row, failed = shared.step(step, network, rows[-1].figures, folder, key)
            rows.append(row)
            if failed is not None:
                failed = f"{step.where}: {failed}"
                break
        model = network.path
        if not network.is_float:
            model = recipe.out / FINAL
            write_atomically(model, network.path.read_bytes())
        found = RecipeRun(recipe, tuple(rows), model, failed)
        write_report(found)
    return found


def _keys(recipe: Recipe, data: RecipeData) -> list[str]:
    """What the model and each step depend on, as hashes that hold those of the steps before."""
    from hwsim import __version__

    parts = ("calibration", "train", "test")
    known = {part: data.hash(part) for part in parts if data.has(part)}
    model = _hash_of_model(recipe.model)
    known["model"] = model
    first = {
        "hwsim": __version__,
        "model": model,
        "like": recipe.like,
        "floats": recipe.floats,
        "test": known.get("test"),
        "plan": [recipe.target, recipe.clock],
    }
    keys = [key_of(first)]
    for step in recipe.steps:
        reads = {part: known[part] for part in step.kind.reads if part in known}
        options = {name: _plain(value) for name, value in step.values.items()}
        keys.append(key_of({"before": keys[-1], "do": step.do, "options": options, "reads": reads}))
    return keys


def _hash_of_model(path: Path) -> str:
    """Of the file, and of the one beside it where weights lie apart."""
    apart = path.with_name(path.name + ".data")
    return hash_of_file(path) + (hash_of_file(apart) if apart.is_file() else "")


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return hash_of_file(value)
    return list(value) if isinstance(value, tuple) else value


@dataclass(frozen=True, slots=True)
class _Shared:
    """What all steps of a run share."""

    recipe: Recipe
    data: RecipeData
    work: Work
    watch: Watcher

    def first(self, network: Network, folder: Path, key: str) -> tuple[Network, Row]:
        """The model as it is: read, and its figures."""

        def made() -> Outcome:
            if network.is_float and self.recipe.floats:
                return Outcome(network=network)
            load(self.recipe.model, like=self.recipe.like).save(folder / INTEGERS)
            return Outcome(network=Network(path=folder / INTEGERS))

        after, row, _ = self._done(0, START, folder, key, None, made, {})
        return after, row

    def step(
        self, step: Step, before: Network, figures: Figures, folder: Path, key: str
    ) -> tuple[Network, Row, str | None]:
        """One step, or what an earlier run made of it."""
        job = Job(
            values=step.values,
            before=before,
            recipe=self.recipe,
            data=self.data,
            folder=folder,
            checkpoint=self.work.checkpoint(folder),
            say=self.watch.says,
        )
        told = {name: str(v) if isinstance(v, Path) else v for name, v in step.values.items()}
        try:
            known = before, figures
            return self._done(
                step.number, step.do, folder, key, known, lambda: step.kind.run(job), told
            )
        except HwsimError as error:
            raise HwsimError(f"{step.where}: {error}", exit_status=error.exit_status) from None
        except OSError as error:
            raise HwsimError(
                f"{step.where}: {error.filename or self.recipe.out} must be written or read "
                f"({error.strerror}); the steps before it are kept",
                exit_status=1,
            ) from None

    def _done(
        self,
        number: int,
        do: str,
        folder: Path,
        key: str,
        before: tuple[Network, Figures] | None,
        make: Callable[[], Outcome],
        options: Mapping[str, Any],
    ) -> tuple[Network, Row, str | None]:
        place = str(folder.relative_to(self.recipe.out))
        held = self.work.read(folder, key)
        self.watch.begins(number, do)
        if held is None:
            began = time.monotonic()
            self.work.begin(folder)
            try:
                outcome = make()
                network = outcome.network
                same = before is not None and network.path == before[0].path
                held = {
                    "figures": before[1] if same and before else self._figures(network),
                    "facts": dict(outcome.facts),
                    "notes": list(outcome.notes),
                    "seconds": round(time.monotonic() - began, 2),
                }
                if outcome.failed is None:
                    self.work.finish(folder, key, network, held)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            kept, failed = False, outcome.failed
        else:
            network, kept, failed = self.work.network(held, self.recipe.model), True, None
        row = Row(
            number=number,
            do=do,
            figures=held["figures"],
            facts=held["facts"],
            notes=tuple(held["notes"]),
            options=options,
            seconds=held["seconds"],
            kept=kept,
            folder=place,
        )
        self.watch.ends(row)
        return network, row, failed

    def _figures(self, network: Network) -> Figures:
        return figures_of(network, self.recipe, self.data, self.watch.says)
