"""The data that a recipe names: read by a model's ports, and known by their content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hwsim.compress.float_model import FloatModel
from hwsim.compress.samples import input_ports
from hwsim.data import Labelled
from hwsim.data.by_port import read_by_port
from hwsim.data.npz import split_key
from hwsim.data.sets.named import named_part
from hwsim.errors import HwsimError
from hwsim.evaluation.measure import check_names, choose_output
from hwsim.graph import Graph
from hwsim.ports import InputPort
from hwsim.recipe.setting import Setting


class RecipeData:
    """The parts of a recipe's data: `calibration` (or else the samples to train with), and so on.

    What is wrong with them is an HwsimError that names the recipe and the part.
    """

    def __init__(self, setting: Setting) -> None:
        self._setting, self._hashes = setting, dict[str, str]()

    def has(self, part: str) -> bool:
        """Whether the recipe names it."""
        return bool(self._given(part))

    def of_graph(self, graph: Graph, part: str, *, required: bool = False) -> Labelled:
        """A part by a graph's inputs; `required` are labels."""
        found = self._read(graph.inputs, part, required=required)
        if found.inferred and found.names is not None and not graph.state:
            check_names(graph, choose_output(graph, self.output), found.names)
        return found

    def of_floats(self, model: FloatModel, part: str, *, required: bool = False) -> Labelled:
        """A part by a float model's inputs."""
        return self._read(input_ports(model), part, required=required)

    @property
    def output(self) -> str | None:
        """The output that classifies, where it is named."""
        value = self._setting.data["output"]
        return None if value is None else str(value)

    def hash(self, part: str) -> str:
        """SHA-256 of a part's content, its labels' and of what is done to it."""
        if part not in self._hashes:
            found = [_hash_of(text) for text in self._given(part)]
            files = [self._labels(part), self._setting.data["classes"]]
            told = [None if file is None else _hash_of(str(file)) for file in files]
            names = [text.partition("=")[0] for text in self._given(part) if "=" in text]
            what = json.dumps([found, told, names, str(self._setting.prepare), self.output])
            self._hashes[part] = hashlib.sha256(what.encode()).hexdigest()
        return self._hashes[part]

    def _given(self, part: str) -> Sequence[str]:
        found: Any = self._setting.data[part]
        if found is None and part == "calibration":
            found = self._setting.data["train"]
        return found or ()

    def _labels(self, part: str) -> Path | None:
        known = "train" if part == "calibration" else part
        if part == "calibration" and self._setting.data["calibration"] is not None:
            return None  # samples of their own
        found: Path | None = self._setting.data[f"{known}_labels"]
        return found

    def _read(self, ports: Sequence[InputPort], part: str, *, required: bool) -> Labelled:
        data = self._setting.data
        try:
            return read_by_port(
                ports,
                self._given(part),
                self._labels(part),
                data["classes"],
                self._setting.prepare,
                required=required,
                what=part,
            )
        except HwsimError as error:
            raise HwsimError(f"{self._setting.file}, [data], {part}: {error}") from None


def _hash_of(text: str) -> str:
    """Of what a text of a recipe names: a data set's part, a folder's files, or a file."""
    part = named_part(Path(text))
    if part is not None:
        found = hashlib.sha256(f"{part[0].name} {part[1].inputs.shape}".encode())
        found.update(part[1].inputs.tobytes())
        found.update(part[1].labels.tobytes())
        return found.hexdigest()
    path, key = _file_of(text)
    if path.is_dir():
        files = sorted(one for one in path.rglob("*") if one.is_file())
        told = [f"{one.relative_to(path)} {hash_of_file(one)}" for one in files]
        return hashlib.sha256("\n".join(told).encode()).hexdigest()
    return f"{hash_of_file(path)} {key}"


def _file_of(text: str) -> tuple[Path, str | None]:
    """The file that `NAME=FILE.npz:KEY` names, and the key."""
    path = Path(text)
    if not path.exists() and "=" in text:
        name, _, rest = text.partition("=")
        path = path if "/" in name else Path(rest)
    return path, None if path.exists() else split_key(path)[1]


def hash_of_file(path: Path) -> str:
    """SHA-256 of a file's bytes; HwsimError where it cannot be read."""
    file = path if path.exists() else split_key(path)[0]
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise HwsimError(f"{file} must be a file that can be read ({error.strerror})") from None
