"""A recipe carried out: each step once, in order; what is finished already is taken as it is."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from hwsim.compress.any_float import any_float
from hwsim.errors import HwsimError
from hwsim.frontends import load
from hwsim.recipe.data import RecipeData, hash_of_file
from hwsim.recipe.figures import Figures, check_output, figures_of
from hwsim.recipe.job import FLOATS, INTEGERS, Job, Network, StepResult
from hwsim.recipe.reading import CompressionRecipe, RecipeStep
from hwsim.recipe.report import write_report
from hwsim.recipe.result import RecipeRun, Row
from hwsim.recipe.work import FINAL, WorkFolder, key_of, locked, own_code
from hwsim.storage import write_atomically

START = "model"
"""What the row before the first step is called."""


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


def check(recipe: CompressionRecipe, data: RecipeData) -> Network:
    """Open the model and all data, before anything is done or written; the network to begin with.

    Raises HwsimError for what cannot be read, for labels that are missing, and for libraries and
    programs that a step needs and that are not there.
    """
    for step in recipe.steps:
        try:
            step.kind.ready(step.values)
        except HwsimError as error:
            raise HwsimError(f"{step.where}: {error}") from None
    if not recipe.setting.floats:
        graph = load(recipe.setting.model, like=recipe.setting.like)
        check_output(recipe.setting, graph)
        for part in ("calibration", "train", "test"):
            if data.has(part):
                data.of_graph(graph, part, required=_labelled(recipe, data, part))
        return Network(path=recipe.setting.model)
    if recipe.setting.like is not None:
        raise HwsimError(
            f"{recipe.setting.file}: like must be of a quantized model, not of a float one"
        )
    model = any_float(recipe.setting.model)
    for part in ("calibration", "train", "test"):
        if data.has(part):
            data.of_floats(model, part, required=_labelled(recipe, data, part))
    return Network(path=recipe.setting.model, source=recipe.setting.model)


def _labelled(recipe: CompressionRecipe, data: RecipeData, part: str) -> bool:
    """Whether a part of the data must have labels: to train with, or to count an accuracy on."""
    if part == "train" and any(step.kind.labels(step.values) for step in recipe.steps):
        return True
    asked = [step for step in recipe.steps if step.values.get("target_accuracy") is not None]
    if data.has("test"):
        return part == "test" and bool(asked)
    return any(part in step.kind.data(step.values) for step in asked)


def run(recipe: CompressionRecipe, watcher: Watcher | None = None) -> RecipeRun:
    """Do a recipe's steps in its folder, with a report at the end.

    What an earlier run finished is taken where all that it depends on is the same: the model's and
    the data's content, the options of it and of the steps before it, hwsim's own code. A run that
    was killed and is begun again comes to the same files. Raises HwsimError for what cannot be
    read before anything is written, and for a step that fails; those before it are kept.
    """
    watch = watcher or NoOne()
    data = RecipeData(recipe.setting)
    network = check(recipe, data)
    keys = _keys(recipe, data)
    with locked(recipe.setting.out) as work:
        folders = [work.place(0, START, keys[0])]
        for step, key in zip(recipe.steps, keys[1:], strict=True):
            folders.append(work.place(step.number, step.do, key))
        work.tidy(folders)
        shared = _Steps(recipe, data, work, watch)
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
            model = recipe.setting.out / FINAL
            write_atomically(model, network.path.read_bytes())
        found = RecipeRun(recipe, tuple(rows), model, failed)
        write_report(found)
    return found


def _keys(recipe: CompressionRecipe, data: RecipeData) -> list[str]:
    """What the model and each step depend on, as hashes that hold those of the steps before."""
    parts = ("calibration", "train", "test")
    known = {part: data.hash(part) for part in parts if data.has(part)}
    model = _hash_of_model(recipe.setting.model)
    known["model"] = model
    first = {
        "hwsim": own_code(),
        "model": model,
        "like": recipe.setting.like,
        "floats": recipe.setting.floats,
        "test": known.get("test"),
        "plan": [recipe.setting.target, recipe.setting.clock],
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
class _Steps:
    """What all steps of a run share."""

    recipe: CompressionRecipe
    data: RecipeData
    work: WorkFolder
    watch: Watcher

    def first(self, network: Network, folder: Path, key: str) -> tuple[Network, Row]:
        """The model as it is: read, and its figures."""

        def made() -> StepResult:
            if network.source is not None:
                if network.is_float:
                    return StepResult(network=network)
                proto = any_float(network.source).proto  # of a program of PyTorch
                write_atomically(folder / FLOATS, proto.SerializeToString())
                return StepResult(network=Network(path=folder / FLOATS, source=folder / FLOATS))
            load(self.recipe.setting.model, like=self.recipe.setting.like).save(folder / INTEGERS)
            return StepResult(network=Network(path=folder / INTEGERS))

        after, row, _ = self._done(0, START, folder, key, None, made, {})
        return after, row

    def step(
        self, step: RecipeStep, before: Network, figures: Figures, folder: Path, key: str
    ) -> tuple[Network, Row, str | None]:
        """One step, or what an earlier run made of it."""
        job = Job(
            values=step.values,
            before=before,
            setting=self.recipe.setting,
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
                f"{step.where}: {error.filename or self.recipe.setting.out} must be written or "
                f"read ({error.strerror}); the steps before it are kept",
                exit_status=1,
            ) from None

    def _done(
        self,
        number: int,
        do: str,
        folder: Path,
        key: str,
        before: tuple[Network, Figures] | None,
        make: Callable[[], StepResult],
        options: Mapping[str, Any],
    ) -> tuple[Network, Row, str | None]:
        place = str(folder.relative_to(self.recipe.setting.out))
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
            network, kept, failed = self.work.network(held, self.recipe.setting.model), True, None
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
        return figures_of(network, self.recipe.setting, self.data, self.watch.says)
