"""Lower rooms never import higher ones, and the core needs nothing but NumPy and safetensors."""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("hwsim", "rtl", "gpu")
PRIVATE = re.compile(r"_[^_]")

# A room imports rooms of its own level or below. A new room has to be given its level here.
LEVELS = (
    {"errors", "extras", "defaults"},
    {"fixed", "notices", "build_folder"},
    {"ops"},
    {
        "graph",
        "ports",
        "float_steps",
        "float_functions",
        "saved_ports",
        "state",
        "storage",
        "forms",
    },
    {"frontends", "emulator", "hints", "saturation", "data"},
    {"compress", "evaluation", "reporting", "losses"},
    {
        "",
        "cli",
        "doctor",
        "explorer",
        "hls4ml_backend",
        "hls4ml_project",
        "onnx_export",
        "recipe",
        "verbs",
        "verification",
        "__main__",
    },
)
RTL_LEVELS = (
    {"targets", "names"},
    {"parts"},
    {"layers", "flow"},
    {"plan"},
    {"design"},
    {"", "build", "readme", "sim"},
)
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}
RTL_LEVEL = {room: level for level, rooms in enumerate(RTL_LEVELS) for room in rooms}
BESIDE = ({"layers", "flow"},)
"""Rooms of one level of rtl that do not import each other."""
TOP = len(LEVELS) - 1

HIGHEST_FOR_HARDWARE = LEVEL["emulator"]
"""The highest level of hwsim that rtl and gpu may import."""

# What a part of a room may import of the room's other parts; `*` stands for each part not named.
# A front end knows the shared builder and the words for what is not read, never another one; but
# OpenVINO runs ONNX files too, and its own operations are read as nodes of ONNX.
PARTS = {
    "hwsim.frontends": {
        "": {"unread"},
        "shared": set(),
        "unread": set(),
        "openvino": {"shared", "unread", "onnx"},
        # Brevitas's modules stand for QONNX, those of PT2E for exported programs.
        "torch_modules": {"shared", "unread", "onnx", "torch"},
        "*": {"shared", "unread"},
    },
}

# Third-party libraries imported at the head of a module; inside functions a room may use more.
LIBRARIES = {
    "hwsim": {"numpy", "safetensors"},
    "hwsim.cli": {"numpy", "typer", "rich"},
    "hwsim.explorer": {"numpy", "model_explorer"},
    "hwsim.frontends": {"numpy"},
    "hwsim.frontends.torch_modules": {"numpy", "torch"},
    "hwsim.hls4ml_backend": {"numpy", "hls4ml"},
    "rtl": {"numpy", "amaranth", "cocotb", "cocotb_tools"},
    "gpu": {"numpy", "cupy"},
}
# Libraries that a room must not touch, not even inside a function.
NEVER = {
    "hwsim.fixed": {"numpy"},
    "hwsim.ops": {"amaranth", "cupy", "torch", "onnx", "rtl", "gpu"},
    "hwsim.graph": {"amaranth", "cupy", "torch", "onnx", "rtl", "gpu"},
    "hwsim.frontends.shared": {"onnx", "google", "hls4ml", "torch"},
    "hwsim.frontends.hls4ml": {"onnx", "google", "torch"},
    "hwsim.frontends.onnx": {"hls4ml", "torch"},
    "rtl": {"gpu", "cupy", "torch"},
    "gpu": {"rtl", "amaranth", "torch"},
}


@dataclass(frozen=True, slots=True)
class Import:
    """One imported module and where: `head` when it runs as the module itself is imported."""

    line: int
    module: str
    head: bool


def imports(source: str) -> Iterator[Import]:
    """Return what the text of a module imports; a name imported from a package is tried as one."""

    def walk(node: ast.AST, head: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from (Import(child.lineno, alias.name, head) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"line {child.lineno}: imports are absolute"
                module = child.module or ""
                for alias in child.names:
                    inner = f"{module}.{alias.name}"
                    yield Import(child.lineno, inner if exists(inner) else module, head)
            else:
                yield from walk(child, head and not runs_later(child))

    return walk(ast.parse(source), True)


def runs_later(node: ast.AST) -> bool:
    """Tell whether what stands inside is not run as the module is imported."""
    if isinstance(node, ast.If):
        return "TYPE_CHECKING" in ast.dump(node.test)
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)


def exists(module: str) -> bool:
    """Tell whether a dotted name is a module of this project."""
    path = ROOT.joinpath(*module.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def room(module: str) -> str:
    """Return the room of hwsim that a module belongs to: `ops` for `hwsim.ops.dense`."""
    return [*module.split("."), ""][1]


def most_special(table: dict[str, set[str]], module: str) -> set[str]:
    """Return the entry for a module or for the nearest package around it."""
    parts = module.split(".")
    names = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((table[name] for name in names if name in table), set())


def below_in_rtl(room: str, other: str) -> bool:
    """Tell whether a room of rtl may import another one."""
    apart = any({room, other} <= rooms for rooms in BESIDE) and room != other
    return RTL_LEVEL[room] >= RTL_LEVEL.get(other, TOP) and not apart


def faults(module: str, source: str) -> list[str]:
    """Return a sentence for each import of the module that the design forbids."""
    package = module.split(".")[0]
    level = LEVEL.get(room(module)) if package == "hwsim" else HIGHEST_FOR_HARDWARE
    if level is None or (package == "rtl" and room(module) not in RTL_LEVEL):
        return [f"{module}: its room has no level in tests/test_imports.py"]
    found = []
    for item in imports(source):
        target = item.module.split(".")[0]
        where = f"{module}:{item.line} imports {item.module}"
        if target == "hwsim":
            if LEVEL.get(room(item.module), TOP) > level:
                found.append(f"{where}, which is higher")
        elif package == target == "rtl":
            if not below_in_rtl(room(module), room(item.module)):
                found.append(f"{where}, which is higher or beside it")
        elif package == "hwsim" and target in ("rtl", "gpu"):
            if level < TOP or item.head:
                found.append(f"{where}, but only cli's level may, inside functions")
        elif (
            item.head
            and target not in PACKAGES
            and target not in sys.stdlib_module_names
            and target not in most_special(LIBRARIES, module)
        ):
            found.append(f"{where} at its head, a library that its room does without")
        if target != package and target in most_special(NEVER, module):
            found.append(f"{where}, which its room never does")
    return found


def part(name: str, module: str) -> str | None:
    """Return the part of the room `name` that a module belongs to; None where it is elsewhere."""
    if module == name:
        return ""
    return module[len(name) + 1 :].split(".")[0] if module.startswith(f"{name}.") else None


def sideways(module: str, source: str) -> list[str]:
    """Return a sentence for each import that reaches into another part of the module's own room."""
    found = []
    for name, table in PARTS.items():
        own = part(name, module)
        if own is None:
            continue
        allowed = table.get(own, table["*"]) | {own}
        for item in imports(source):
            other = part(name, item.module)
            if other is not None and other not in allowed:
                found.append(f"{module}:{item.line} imports {item.module}, which stands beside it")
    return found


def modules() -> list[tuple[str, Path]]:
    """Return every module of the three packages with its file."""
    files = [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]
    names = [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files]
    return [(name.removesuffix(".__init__"), file) for name, file in zip(names, files, strict=True)]


def test_no_module_imports_a_higher_room() -> None:
    found = [fault for name, file in modules() for fault in faults(name, file.read_text())]
    assert len(modules()) > 20
    assert not found, "\n".join(found)


def test_parts_of_a_room_keep_apart() -> None:
    found = [fault for name, file in modules() for fault in sideways(name, file.read_text())]
    assert not found, "\n".join(found)


def circles(readers: dict[str, set[str]]) -> list[list[str]]:
    """Modules that import each other, straight or through others; `readers` are what each reads."""
    try:
        graphlib.TopologicalSorter(readers).prepare()
    except graphlib.CycleError as error:
        return [error.args[1]]
    return []


def test_no_module_imports_itself_through_others_not_even_for_types() -> None:
    names = {name for name, _ in modules()}
    read = {name: {item.module for item in imports(file.read_text())} for name, file in modules()}
    assert circles({name: found & names for name, found in read.items()}) == []
    assert circles({"hwsim.a": {"hwsim.b"}, "hwsim.b": {"hwsim.a"}}) != []


def test_no_two_classes_have_one_name() -> None:
    places: dict[str, list[str]] = {}
    for name, file in modules():
        for item in ast.parse(file.read_text()).body:
            if isinstance(item, ast.ClassDef):
                places.setdefault(item.name, []).append(name)
    assert len(places) > 100
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def private_names(source: str) -> Iterator[str]:
    """Return names with `_` that a module takes from another one."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            yield from (alias.name for alias in node.names if PRIVATE.match(alias.name))


def test_no_module_takes_a_private_name_of_another() -> None:
    taken = {name: [*private_names(file.read_text())] for name, file in modules()}
    assert {name: found for name, found in taken.items() if found} == {}
    assert [*private_names("from hwsim.graph import _BROKEN, Graph")] == ["_BROKEN"]


def read_by_test(source: str) -> list[str]:
    """Return the test files that a test file imports."""
    heads = [item.module.split(".")[0] for item in imports(source)]
    return [head for head in heads if head.startswith("test_")]


def test_no_test_imports_another_what_they_share_is_in_support() -> None:
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    found = {file.name: read for file in files if (read := read_by_test(file.read_text()))}
    assert found == {}
    assert read_by_test("def f():\n    from test_graph import layered") == ["test_graph"]


def test_the_tables_name_only_parts_that_exist() -> None:
    names = {name for name, _ in modules()}
    for room_name, table in PARTS.items():
        assert {f"{room_name}.{named}" for named in table if named not in ("", "*")} <= names


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("hwsim.frontends.shared.rounding", "from hwsim.frontends.onnx.model import OnnxNode"),
        ("hwsim.frontends.shared.builder", "def f():\n    import hwsim.frontends.hls4ml.types"),
        ("hwsim.frontends.shared.builder", "from hwsim.frontends.unread import unsupported"),
        ("hwsim.frontends.hls4ml.read", "from hwsim.frontends.onnx.file import read_file"),
        ("hwsim.frontends.tflite.read", "from hwsim.frontends.onnx.ort import linear"),
        ("hwsim.frontends.onnx.read", "from hwsim.frontends import load"),
        ("hwsim.frontends", "from hwsim.frontends.onnx import read"),
        ("hwsim.frontends.unread", "from hwsim.frontends import FILES"),
    ],
)
def test_an_import_of_a_neighbour_is_found(module: str, source: str) -> None:
    assert len(sideways(module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("hwsim.frontends.tflite.read", "from hwsim.frontends.shared.builder import Builder"),
        ("hwsim.frontends.onnx.walk", "from hwsim.frontends.onnx.ort import notes"),
        ("hwsim.frontends.onnx.walk", "from hwsim.frontends.unread import unsupported"),
        ("hwsim.verbs", "from hwsim.frontends.onnx import read"),
    ],
)
def test_an_import_inside_a_part_or_of_what_is_shared_passes(module: str, source: str) -> None:
    assert sideways(module, source) == []


def test_the_tables_name_only_rooms_that_exist() -> None:
    named = {f"hwsim.{room}".rstrip(".") for room in LEVEL}
    named |= {f"rtl.{room}".rstrip(".") for room in RTL_LEVEL}
    named |= {f"rtl.{room}" for rooms in BESIDE for room in rooms}
    named |= LIBRARIES.keys() | NEVER.keys()
    assert sorted(name for name in named if not exists(name)) == []
    assert not exists("hwsim.attic")


@pytest.mark.parametrize(
    ("module", "source", "why"),
    [
        ("hwsim.ops.dense", "from hwsim.graph import Graph", "higher"),
        ("hwsim.graph", "def f():\n    import hwsim.cli", "higher"),
        ("hwsim.graph", "from hwsim import Graph", "higher"),
        ("hwsim.emulator.run", "def f():\n    from rtl import tools", "only cli's level"),
        ("hwsim.cli", "from rtl import tools", "only cli's level"),
        ("hwsim.emulator", "import onnx", "does without"),
        ("hwsim.fixed", "def f():\n    import numpy as np", "never"),
        ("hwsim.ops.conv", "def f():\n    import torch", "never"),
        ("hwsim.frontends.onnx.file", "import onnx", "does without"),
        ("hwsim.frontends.shared.builder", "def f():\n    import onnx", "never"),
        ("hwsim.frontends.hls4ml.read", "def f():\n    import onnx", "never"),
        ("rtl.flow.synth", "import gpu.kernels", "never"),
        ("rtl.flow.synth", "from hwsim.reporting import page", "higher"),
        ("gpu.run", "def f():\n    import rtl", "never"),
        ("hwsim.attic", "", "no level"),
        ("rtl.parts.lanes", "def f():\n    from rtl.layers.base import Task", "higher"),
        ("rtl.layers.pool", "from rtl.plan import plan", "higher"),
        ("rtl.layers.pool", "from rtl.flow import cells", "beside"),
        ("rtl.flow.cells", "from rtl.layers.base import Task", "beside"),
        ("rtl.plan.search", "from rtl.design import Design", "higher"),
        ("rtl.design", "from rtl.sim import vcd", "higher"),
        ("rtl.attic.vcd", "", "no level"),
    ],
)
def test_a_forbidden_import_is_found(module: str, source: str, why: str) -> None:
    assert any(why in fault for fault in faults(module, source))


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("hwsim.cli", "def f():\n    from rtl import tools"),
        ("hwsim.graph", "from hwsim import storage\nfrom hwsim.ops import Dense"),
        ("rtl.design", "import amaranth\nfrom hwsim.emulator.run import emulate"),
        ("rtl.flow.shell", "from rtl.parts.lanes import Narrow"),
        ("rtl.build", "from rtl.sim import vcd\nfrom rtl.flow import synth"),
        ("hwsim.frontends.onnx.file", "def f():\n    import onnx"),
    ],
)
def test_an_allowed_import_is_let_pass(module: str, source: str) -> None:
    assert faults(module, source) == []


def shown_levels(page: str) -> dict[str, int]:
    """Rooms by their level, from 0, as the tables of the page on architecture show them."""
    found, level = {}, 0
    for first, rooms in re.findall(r"^\| *(\d*) *\| (`.*?) \|", page, re.MULTILINE):
        level = int(first) - 1 if first else level
        for path in re.findall(r"`(?:hwsim|rtl)/[^`]+`", rooms):
            package, room = path.strip("`").removesuffix(".py").split("/")[:2]
            found[f"{package}.{room}"] = level
    return found


def test_the_page_on_architecture_shows_these_levels() -> None:
    shown = shown_levels((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"))
    kept = {f"hwsim.{room}": level for room, level in LEVEL.items()}
    kept |= {f"rtl.{room}": level for room, level in RTL_LEVEL.items()}
    assert len(shown) > 25
    assert {room: level for room, level in shown.items() if kept.get(room) != level} == {}
    assert shown_levels("| 2 | `rtl/parts/`, `rtl/new.py` | x |\n| | `rtl/plan/` | y |") == {
        "rtl.parts": 1,
        "rtl.new": 1,
        "rtl.plan": 1,
    }


def test_no_module_has_the_name_of_a_verb() -> None:
    """`hwsim.emulate` is a function, whatever was imported before."""
    from hwsim import __all__ as public

    assert "emulate" in public
    assert [name for name in public if exists(f"hwsim.{name}")] == []


def test_importing_hwsim_loads_no_framework() -> None:
    code = "import hwsim, sys; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    reply = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(reply.stdout.split())
    frameworks = {"amaranth", "cocotb", "cupy", "gpu", "hls4ml", "onnx", "onnxruntime", "pyosys"}
    assert "numpy" in loaded
    assert not loaded & (frameworks | {"qonnx", "rtl", "sklearn", "torch", "typer"})
