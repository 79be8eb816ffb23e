"""What a runtime of QDQ files does that its integers depend on, as data.

`runtimes.py` has the ones that are known; no other code asks for a runtime's name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hwsim.frontends.onnx.model import OnnxModel
from hwsim.frontends.onnx.ort.kernels import Choice

Choices = Mapping[str, Choice]
Prepared = tuple[OnnxModel, Callable[[], Choices]]


@dataclass(frozen=True, slots=True)
class Runtime:
    """One runtime: `like` is what a caller says, `name` what a warning does.

    `adds` says how it adds what it does not add as whole numbers. `prepared` gives the model as the
    runtime takes it and what finds its kernels, or raises HwsimError. `moves` says that it moves
    quantizers and Transposes about, of which `ort/moves.py` warns. `lacks` are operators that are
    read here, and not by it.
    """

    like: str
    name: str
    adds: str
    prepared: Callable[[OnnxModel], Prepared]
    moves: bool = False
    lacks: frozenset[str] = frozenset()
