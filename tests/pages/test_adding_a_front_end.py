"""The front end of docs/adding-a-front-end.md, as it stands there: FANN's fixed-point networks.

`fann/*.net` were trained and written by FANN itself (libfann, commit 1783cbf of April 2024; random
inputs, three functions of four of them), and GOLDEN is what its `fann_run` gave for random codes.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from support.installed import install
from support.walkthrough import ROOT, files

import hwsim
from hwsim import HwsimError
from hwsim.frontends import FILES
from hwsim.frontends.shared.builder import RuntimeDifference

PAGE = ROOT / "docs" / "adding-a-front-end.md"
NETS = Path(__file__).parent / "fann"
LINEAR, PIECE, SYMMETRIC, RECTIFIED = 0, 12, 13, 18
Layer = tuple[
    list[list[int]], int
]  # rows of weights, the bias's last, one for each neuron; function

GOLDEN = {
    "trained": [
        ([700, 1250, -1956, 1262], [2048, -971, 1979]),
        ([-128, 63, 534, -878], [-70, 2048, 2048]),
        ([1965, -1828, -910, -478], [87, 2048, 202]),
        ([292, -375, -1512, -1863], [-4, 2048, -325]),
        ([-2044, -1849, -1439, 2045], [33, 2048, -1459]),
        ([-1266, 624, 1025, -1088], [-156, 2048, 2048]),
        ([-892, -267, -970, 1943], [2048, 2048, 1486]),
        ([-1574, -441, 525, -29], [491, 1722, 2048]),
        ([1881, 228, 1653, -936], [2048, 785, 2048]),
        ([-567, 1555, -1283, -1785], [190, 2048, -768]),
    ],
    "wraps": [
        ([357, 411, 495, 489], [0, 0, 512]),
        ([415, -32, 178, -389], [0, 481, 512]),
        ([412, -41, -139, 44], [126, 512, 376]),
        ([-333, 294, 325, 512], [0, 0, 512]),
        ([-308, -262, -150, -477], [0, 512, 262]),
        ([118, 474, -440, 403], [512, 0, 0]),
        ([440, -69, -3, 215], [512, 0, 512]),
        ([72, 423, -467, 91], [0, 411, 0]),
    ],
}


@pytest.fixture
def package(tmp_path, monkeypatch) -> Iterator[Path]:
    """The page's package where Python finds it, not registered yet."""
    folder = tmp_path / "site"
    for name, text in files(PAGE).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    monkeypatch.syspath_prepend(folder)
    yield folder
    for name in [name for name in sys.modules if name.startswith("hwsim_fann")]:
        del sys.modules[name]


@pytest.fixture
def installed(package) -> None:
    """The page's package, installed with the entry points of its pyproject.toml."""
    install(package)


def wrapped(value: int) -> int:
    """A C int."""
    return (value + (1 << 31)) % (1 << 32) - (1 << 31)


def expected(
    point: int, layers: list[Layer], codes: list[int], *, c_ints: bool = False
) -> list[int]:
    """A network in plain integers; with `c_ints` products are C's too, as FANN's are."""
    one, values = 1 << point, codes
    for weights, function in layers:
        sums = []
        for row in weights:
            terms = zip(row, [*values, one], strict=True)
            sums.append(wrapped(sum((w * x) >> point for w, x in terms)))
        low = {LINEAR: -(1 << 31), SYMMETRIC: -one}.get(function, 0)
        high = one if function in (PIECE, SYMMETRIC) else 1 << 31
        values = [min(max(total, low), high) for total in sums]
    return values


def text_of(point: int, layers: list[Layer], version: str = "FANN_FIX_2.1") -> str:
    """A file as FANN writes it, but for the lines about training."""
    sizes = [len(layers[0][0][0]), *(len(weights) + 1 for weights, _ in layers)]
    neurons, connections, first = [(0, 0, 0)] * sizes[0], [], 0
    for weights, function in layers:
        neurons += [*[(len(row), function, one_half(point)) for row in weights], (0, function, 0)]
        connections += [(first + i, w) for row in weights for i, w in enumerate(row)]
        first += len(weights[0])
    lines = [
        version,
        f"decimal_point={point}",
        "learning_rate=0.700000",
        f"layer_sizes={' '.join(map(str, sizes))} ",
        "neurons (num_inputs, activation_function, activation_steepness)=" + pairs(neurons),
        "connections (connected_to_neuron, weight)=" + pairs(connections),
    ]
    return "\n".join(lines) + "\n"


def one_half(point: int) -> int:
    return 1 << point >> 1


def pairs(rows: list[tuple[int, ...]]) -> str:
    return "".join(f"({', '.join(map(str, row))}) " for row in rows)


def network(rng: np.random.Generator) -> tuple[int, list[Layer]]:
    """A random network; some have weights whose products pass 32 bits."""
    point, layers = int(rng.integers(2, 13)), []
    sizes = rng.integers(1, 7, int(rng.integers(2, 5))).tolist()
    reach = 1 << int(rng.integers(2, 17))
    for inputs, outputs in pairwise(sizes):
        weights = rng.integers(-reach, reach + 1, (outputs, inputs + 1)).tolist()
        layers.append((weights, int(rng.choice([LINEAR, PIECE, SYMMETRIC, RECTIFIED]))))
    return point, layers


def given(rng: np.random.Generator, point: int, layers: list[Layer]) -> np.ndarray:
    return rng.integers(-(1 << point), (1 << point) + 1, (20, len(layers[0][0][0]) - 1))


def test_an_installed_front_end_gives_the_integers_of_an_oracle(installed, tmp_path, rng):
    path = tmp_path / "random.NET"
    for _ in range(300):
        point, layers = network(rng)
        path.write_text(text_of(point, layers))
        x = given(rng, point, layers)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeDifference)
            got = hwsim.emulate(hwsim.load(path), x, codes=True)
        want = [expected(point, layers, row) for row in x.tolist()]
        assert got.tolist() == want, (point, layers)


def test_a_line_of_the_table_does_the_same_inside_hwsim(package, monkeypatch):
    with pytest.raises(
        HwsimError, match=r"must be a file that ends in .onnx or .hwsim or .tflite or .*, not"
    ):
        hwsim.load(NETS / "trained.net")
    monkeypatch.setitem(FILES, ".net", "hwsim_fann.read")
    x, want = zip(*GOLDEN["trained"], strict=True)
    graph = hwsim.load(NETS / "trained.net")
    assert (hwsim.emulate(graph, np.array(x), codes=True) == np.array(want)).all()


def test_where_the_runtime_differs_a_warning_names_file_and_layer(installed):
    with pytest.warns(RuntimeDifference, match=r"wraps.net: node 'layer3': FANN's products pass"):
        graph = hwsim.load(NETS / "wraps.net")
    x, want = (np.array(part) for part in zip(*GOLDEN["wraps"], strict=True))
    different = (hwsim.emulate(graph, x, codes=True) != want).any(axis=1)
    assert 0 < different.sum() < len(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hwsim.load(NETS / "trained.net")


def test_the_oracle_notices_products_that_are_rounded_together(rng):
    """The mutant: sums that lose their lower bits once instead of each product its own."""
    point, layers = 6, [([[5, -7, 9, 3]] * 2, LINEAR)]
    x = given(rng, point, layers).tolist()
    once = [
        [sum(w * c for w, c in zip(row, [*xs, 64], strict=True)) >> 6 for row in layers[0][0]]
        for xs in x
    ]
    assert once != [expected(point, layers, xs) for xs in x]


def test_formats_follow_from_proven_bounds(installed, tmp_path):
    (tmp_path / "small.net").write_text(text_of(4, [([[3, 3, 1]], RECTIFIED), ([[16, 0]], LINEAR)]))
    graph = hwsim.load(tmp_path / "small.net")
    assert str(graph.types()["layer1.narrow"].format) == "u4.4"  # at most 2 * 5 + 1


BAD = {
    "a float network": (lambda text: text.replace("FIX", "FLO"), "its first line must be FANN_FIX"),
    "no file of FANN": (lambda text: "\x00" * 40, "its first line must be"),
    "not text": (lambda text: "FANN_FIX_2.1\n\xe9", "whole FANN file"),
    "a lost line": (lambda text: text.replace("layer_sizes", "layer"), "'layer_sizes' is missing"),
    "cut off": (lambda text: text[:-10], "whole FANN file|'connections' must be all"),
    "too few weights": (lambda text: text.replace("(2, 4) ", ""), "layer1: 'connections' must be"),
    "a shortcut": (lambda text: text.replace("(2, 4)", "(1, 4)"), "layer1: 'connections' must be"),
    "a sigmoid": (
        lambda text: text.replace(" 0, 8", " 3, 8"),
        r"layer1: 'activation_function' .*3",
    ),
    "a huge point": (lambda text: text.replace("point=4", "point=400"), "from 0 to 30"),
    "a huge number": (lambda text: text.replace("(2, 4)", f"(2, {10**30})"), "whole FANN file"),
    "no layers": (lambda text: text.replace("layer_sizes=3 2", "layer_sizes="), "must have layers"),
}


@pytest.mark.parametrize(("spoil", "says"), BAD.values(), ids=BAD)
def test_a_bad_file_ends_in_a_sentence_with_its_name(spoil, says, installed, tmp_path):
    good, path = text_of(4, [([[3, 5, 4]], LINEAR)]), tmp_path / "bad.net"
    path.write_text(good)
    assert hwsim.load(path).outputs[0].name == "y"
    path.write_text(spoil(good), encoding="latin-1")
    with pytest.raises(HwsimError, match=says) as refused:
        hwsim.load(path)
    assert str(refused.value).startswith(f"{path}") and "\n" not in str(refused.value)


def test_a_missing_file_is_named(installed, tmp_path):
    with pytest.raises(HwsimError, match=r"gone.net must be a whole FANN file"):
        hwsim.load(tmp_path / "gone.net")


@pytest.mark.slow
@pytest.mark.needs("verilator", "yosys")
def test_the_hardware_gives_the_emulators_integers(installed, tmp_path):
    hwsim.build(NETS / "trained.net", tmp_path / "build", rtl_only=True)
    assert hwsim.verify(tmp_path / "build", samples=32).ok
