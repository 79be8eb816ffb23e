"""Options and helpers of all tests: the random seed, and which missing tools may skip a test."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
import zlib
from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import pytest
from support import data_sets, published, seeds


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--seed", type=int, default=seeds.DEFAULT, help="seed of every randomized check"
    )
    parser.addoption(
        "--require",
        default="",
        metavar="NAMES",
        help="comma-separated tools that must not be missing: a skip that names one fails;"
        " `all` is every tool, `-NAME` takes one out again",
    )


def pytest_configure(config: pytest.Config) -> None:
    os.environ[seeds.VARIABLE] = str(config.getoption("--seed"))
    os.environ.setdefault("KERAS_BACKEND", "torch")  # Keras reads it when it is first imported


def pytest_report_header(config: pytest.Config) -> str:
    required = config.getoption("--require") or "nothing"
    return f"random seed: {config.getoption('--seed')} (--seed), required: {required} (--require)"


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """A seed of this test's own, made from --seed and the test's name; printed where it fails."""
    base: int = request.config.getoption("--seed")
    value = seeds.mixed(zlib.crc32(request.node.nodeid.encode()), base)
    print(f"seed {value} (of --seed={base})")
    return value


@pytest.fixture
def rng(seed: int) -> np.random.Generator:
    """A generator with the test's own seed."""
    return np.random.default_rng(seed)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if "hypothesis" in sys.modules:
        sys.modules["hypothesis"].core.global_force_seed = seeds.base()
    for item in items:
        names = [name for mark in item.iter_markers("needs") for name in mark.args]
        reasons = [why for name in names if (why := missing(name)) is not None]
        if reasons:
            item.add_marker(pytest.mark.skip(reason="; ".join(reasons)))


def missing(name: str) -> str | None:
    """Return why the tool of that name cannot be used in a test, or None if it can."""
    probe = PROBES.get(name)
    found = probe() if probe is not None else importlib.util.find_spec(name) is not None
    return None if found else f"needs {name}, which is missing"


def _have_gpu() -> bool:
    if importlib.util.find_spec("cupy") is None:
        return False
    import cupy

    return bool(cupy.cuda.is_available())


def _torch_has_gpu() -> bool:
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return bool(torch.cuda.is_available())


def _have_tool(find: Callable[[Any], object]) -> Callable[[], bool]:
    def probe() -> bool:
        from hwsim.errors import HwsimError
        from rtl.flow import tools

        try:
            find(tools)
        except HwsimError:
            return False
        return True

    return probe


def _ecp5() -> Any:
    from rtl.targets import ecp5

    return ecp5


def _have_verilator() -> bool:
    built = all(shutil.which(name) for name in ("g++", "make"))
    return built and _have_tool(lambda tools: tools.verilator())()


PROBES: dict[str, Callable[[], bool]] = {
    "gpu": _have_gpu,
    "gpu of torch": _torch_has_gpu,
    "datasets": data_sets.there,
    "models": published.there,
    "verilator": _have_verilator,
    "yosys": _have_tool(lambda tools: tools.yosys()),
    "nextpnr-ecp5": _have_tool(lambda tools: tools.find(_ecp5().NEXTPNR)),
    "ecppack": _have_tool(lambda tools: tools.find(_ecp5().ECPPACK)),
}
"""How to find what is not a Python module; any other name is that of a module."""


def required_skip(reason: str, require: str) -> bool:
    """Tell whether a skip with this reason is one that `--require` forbids.

    A tool is named in a reason as a whole word, in any case: "could not import 'onnxruntime'".
    """
    names = [name.strip().lower() for name in require.split(",") if name.strip()]
    said = set(re.findall(r"[\w+-]+", reason.lower()))
    if any(name[1:] in said for name in names if name.startswith("-")):
        return False
    return "all" in names or any(name in said for name in names)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if not hasattr(report, "wasxfail"):
        _fail_if_required(report, item.config)
    if report.failed:
        report.sections.append(("random seed", f"--seed={seeds.base()}"))
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _fail_if_required(report, collector.config)
    return report


def _fail_if_required(
    report: pytest.TestReport | pytest.CollectReport, config: pytest.Config
) -> None:
    if report.outcome != "skipped":
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if required_skip(reason, config.getoption("--require")):
        report.outcome = "failed"
        report.longrepr = f"{reason} (--require forbids this skip)"
