"""Who is found under the name `qkeras`: QKeras, HGQ2's package of that name, or hwsim's rules."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from hwsim.hls4ml_backend.qkeras_module import provide
from hwsim.hls4ml_backend.qkeras_rules import get_quantizer

TEXT = "quantized_bits(4,0,1)"
HGQ2 = {
    "__init__.py": "from .quantizers import *\n",
    "quantizers/__init__.py": (
        "from .bits import quantized_bits\n"
        "__all__ = ['quantized_bits', 'get_quantizer']\n"
        "def get_quantizer(text):\n"
        "    return quantized_bits(text.split('(')[0])\n"
    ),
    "quantizers/bits.py": "def quantized_bits(name):\n    return 'of HGQ2: ' + name\n",
    "qlayers/__init__.py": (
        "from ..quantizers import get_quantizer\ndef layer(text):\n    return get_quantizer(text)\n"
    ),
}
"""A package with the structure of HGQ2's."""


@pytest.fixture(autouse=True)
def nobody(monkeypatch):
    """No installed package is found under the name, and no finder of ours."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "qkeras"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [f for f in sys.meta_path if "_Finder" not in str(f)])
    monkeypatch.setattr(sys, "path", [p for p in sys.path if not (Path(p) / "qkeras").exists()])
    assert importlib.util.find_spec("qkeras") is None
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "qkeras"]:
        del sys.modules[name]


@pytest.fixture
def hgq2(monkeypatch, tmp_path):
    for name, text in HGQ2.items():
        (tmp_path / "qkeras" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "qkeras" / name).write_text(text)
    (tmp_path / "hgq2-0.2.0.dist-info").mkdir()
    (tmp_path / "hgq2-0.2.0.dist-info" / "METADATA").write_text("Name: hgq2\nVersion: 0.2.0\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])


def in_hls4ml(text: str) -> object:
    """What a module of hls4ml gets that imports the function and calls it."""
    module = ModuleType("hls4ml.model.quantizers")
    exec(
        f"from qkeras.quantizers import get_quantizer\nfound = get_quantizer({text!r})",
        vars(module),
    )
    return vars(module)["found"]


def test_the_rules_are_found_where_no_qkeras_is():
    provide()
    provide()
    assert sum("_Finder" in str(finder) for finder in sys.meta_path) == 1
    assert importlib.import_module("qkeras.quantizers").get_quantizer is get_quantizer
    assert importlib.import_module("qkeras").get_quantizer is get_quantizer


def test_an_installed_qkeras_wins(monkeypatch, tmp_path):
    provide()
    (tmp_path / "qkeras.py").write_text("real = True\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert importlib.import_module("qkeras").real


@pytest.mark.parametrize("imported_before", [False, True])
def test_hls4ml_gets_the_rules_and_all_others_hgq2s_package(hgq2, imported_before):
    if imported_before:
        importlib.import_module("qkeras")
    provide()
    assert in_hls4ml(TEXT).get_config() == get_quantizer(TEXT).get_config()
    found = importlib.import_module("qkeras")
    assert found.get_quantizer(TEXT) == "of HGQ2: quantized_bits"
    assert found.quantized_bits("a") == "of HGQ2: a"
    assert importlib.import_module("qkeras.qlayers").layer(TEXT) == "of HGQ2: quantized_bits"
    names: dict[str, object] = {"__name__": "somebody"}
    exec("from qkeras.quantizers import *", names)
    assert {"quantized_bits", "get_quantizer"} <= set(names)
    with pytest.raises(ImportError, match="no_such_thing"):
        exec("from qkeras import no_such_thing", {"__name__": "somebody"})
