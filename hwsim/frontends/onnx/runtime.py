"""What a runtime of QDQ files does that its integers depend on, as data.

`runtimes.py` has the ones that are known; no other code asks for a runtime's name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from hwsim.frontends.onnx.model import OnnxModel, OnnxNode
from hwsim.frontends.onnx.ort.kernels import Choice
from hwsim.frontends.onnx.ort.resizing import ResizedAxis
from hwsim.frontends.shared.values import Unary

Choices = Mapping[str, Choice]
Prepared = tuple[OnnxModel, Callable[[], Choices]]


@dataclass(frozen=True, slots=True)
class Runtime:
    """One runtime: `like` is what a caller says, `name` what a warning does.

    `adds` says how it adds what it does not add as whole numbers. `prepared` gives the model as the
    runtime takes it and what finds its kernels, or raises HwsimError. `moves` says that it moves
    quantizers and Transposes about, of which `ort/moves.py` warns. `lacks` are operators that are
    read here, and not by it.

    `functions` are those of one number that are not ONNX Runtime's to the bit, `cubes` that Pow
    multiplies where its exponent is 2 or 3. `highest` says that what is no number becomes the
    highest code, in place of the lowest; `at_ports` that an output's sigmoids, tangents and
    softmaxes are those of `hwsim/float_functions.py` to the bit. `resized` finds the elements of a
    Resize. `in_turn` says that averages add row-major, one after the other, and divide. `note` is
    said of every model.
    """

    like: str
    name: str
    adds: str
    prepared: Callable[[OnnxModel], Prepared]
    moves: bool = False
    lacks: frozenset[str] = frozenset()
    functions: Mapping[str, Callable[[OnnxNode], Unary]] = field(default_factory=dict)
    cubes: bool = True
    highest: bool = False
    at_ports: bool = True
    resized: type[ResizedAxis] = ResizedAxis
    in_turn: bool = False
    note: str = ""
