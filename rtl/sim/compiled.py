"""The compiled simulator of a build folder: made by Verilator once, then found by its content."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata, resources
from pathlib import Path

from hwsim.build_folder import Manifest
from hwsim.errors import HwsimError
from rtl.flow import tools
from rtl.sim import wrapper

KEPT = 40
"""Compiled simulators that the cache keeps; the longest unused go first."""

# `--no-public-flat-rw` takes back a flag of cocotb's runner that costs up to four times the speed.
# Unset registers start at random (see `Simulation.run`), so that nothing can lean on their zero.
_FLAGS = [
    *("--no-public-flat-rw", "--no-timing", "--no-assert", "-O3"),
    *("-Wno-fatal", "-Wno-lint", "-Wno-style"),
    *("--x-assign", "unique", "--x-initial", "unique"),
]
_PROGRAM = re.compile("[0-9a-f]{32}")

# cocotb's own main is compiled too; ours takes its place.
_CFLAGS = ["-CFLAGS", "-Dmain=cocotb_main", "-LDFLAGS", "-rdynamic"]
_MAKEFLAGS = "OPT_FAST=-O2 OPT_GLOBAL=-O2"


def simulator(manifest: Manifest, *, traced: bool = False, timeout: float = 1800) -> Path:
    """Return the folder with the compiled simulator, built at the first call for this content.

    The key is a hash of the Verilog, the wrapper, the flags and the tools' versions. `traced`
    builds from the readable Verilog where there is one, able to write waveforms. Safe when several
    processes do it at once. Raises HwsimError where a tool is missing, fails (with its first error)
    or takes longer than `timeout` seconds.
    """
    texts = _texts(manifest, traced=traced)
    store = tools.cache_dir() / "simulators"
    folder = store / _key(texts, traced=traced)
    program = folder / wrapper.TOP
    try:
        store.mkdir(parents=True, exist_ok=True)
        with _locked(store / f"{folder.name}.lock"):
            if not program.is_file():
                _build(texts, folder, traced=traced, timeout=timeout)
        os.utime(folder)
        _prune(store)
    except OSError as error:
        raise HwsimError(
            f"the cache folder {str(store)!r} must be writable, not {error.strerror!r}"
            " (set HWSIM_CACHE_DIR to another folder)"
        ) from error
    return folder


def cocotb_run(action: str, job: Path, *, timeout: float, simulate: bool) -> str:
    """Run `rtl.sim.cocotb_run` on a job file; return its output, or raise HwsimError."""
    env = {
        name: value
        for name, value in tools.environment(simulate=simulate).items()
        # What the runner or cocotb would take from the caller, or from a pytest around it.
        if not name.startswith(("COCOTB_", "PYTEST_", "GPI_")) and name not in ("WAVES", "GUI")
    }
    env["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    env["HWSIM_JOB"] = str(job)
    env["MAKEFLAGS"] = _MAKEFLAGS
    command = (sys.executable, "-P", "-m", "rtl.sim.cocotb_run", action, str(job))
    name = "Verilator under cocotb" if action == "build" else "the simulation under cocotb"
    tool = tools.Tool(name, command, metadata.version("cocotb"), tools.Origin.PACKAGE)
    return tools.run(tool, cwd=job.parent, timeout=timeout, env=env)


def _texts(manifest: Manifest, *, traced: bool) -> dict[str, bytes]:
    """Every file of the build: path inside it -> content, in the order of compilation."""
    design = manifest.sources_readable if traced and manifest.sources_readable else manifest.sources
    own = resources.files("rtl.sim") / "cosim"
    return {
        "hwsim_dpi.sv": wrapper.package(manifest).encode(),
        "streams.sv": (own / "streams.sv").read_bytes(),
        **{f"{number}/{path.name}": path.read_bytes() for number, path in enumerate(design)},
        f"{wrapper.TOP}.sv": wrapper.wrapper(manifest).encode(),
        "dpi.cpp": (own / "dpi.cpp").read_bytes(),
        "hwsim_main.cpp": (own / "main.cpp").read_bytes(),
    }


def _key(texts: dict[str, bytes], *, traced: bool) -> str:
    tool = tools.verilator()
    settings = [*_FLAGS, *_CFLAGS, _MAKEFLAGS, traced, tool.version, tool.command]
    compiler = (shutil.which("g++"), shutil.which("c++"))
    settings += [*compiler, metadata.version("cocotb"), sys.prefix]
    digest = hashlib.sha256(repr(settings).encode())
    for name, text in texts.items():
        digest.update(f"{name} {len(text)}\n".encode() + text)
    return digest.hexdigest()[:32]


def _build(texts: dict[str, bytes], folder: Path, *, traced: bool, timeout: float) -> None:
    with tempfile.TemporaryDirectory(prefix=".build-", dir=folder.parent) as place:
        paths = []
        for name, text in texts.items():
            paths.append(Path(place, "src", name))
            paths[-1].parent.mkdir(parents=True, exist_ok=True)
            paths[-1].write_bytes(text)
        out = Path(place, "out")
        job = Path(place, "job.json")
        job.write_text(json.dumps(_job(paths, out, traced=traced)), encoding="utf-8")
        library = folder.parent / f"library-{_key({}, traced=traced)}"
        _lend(library, out)
        cocotb_run("build", job, timeout=timeout, simulate=True)
        _keep(out, library)
        draft = Path(place, "draft")
        draft.mkdir()
        shutil.move(out / wrapper.TOP, draft / wrapper.TOP)
        shutil.rmtree(folder, ignore_errors=True)  # half a folder, left by a cache cleaner
        draft.rename(folder)


def _lend(library: Path, out: Path) -> None:
    """Put the compiled library of Verilator, a third of a small build, where make finds it."""
    out.mkdir()
    if library.is_dir():
        for path in library.iterdir():
            shutil.copyfile(path, out / path.name)
            # The generated makefile, written in a moment, counts as one of its sources.
            soon = time.time() + 3600
            os.utime(out / path.name, (soon, soon))


def _keep(out: Path, library: Path) -> None:
    """Keep the objects that depend on flags and tools but not on the design."""
    if library.is_dir():
        return
    draft = Path(tempfile.mkdtemp(prefix=".library-", dir=library.parent))
    for path in out.glob("verilated*.o"):
        shutil.copyfile(path, draft / path.name)
    try:
        draft.rename(library)
    except OSError:  # another process was first
        shutil.rmtree(draft, ignore_errors=True)


def _job(paths: Sequence[Path], out: Path, *, traced: bool) -> dict[str, object]:
    cpp = [str(path) for path in paths if path.suffix == ".cpp"]
    return {
        "top": wrapper.TOP,
        "sources": [str(path) for path in paths if path.suffix != ".cpp"],
        # The runner refuses C++ among its sources.
        "build_args": [*_FLAGS, *_CFLAGS, *cpp],
        "build_dir": str(out),
        "waves": traced,
    }


def _prune(store: Path) -> None:
    folders = [path for path in store.iterdir() if _PROGRAM.fullmatch(path.name)]
    for path in sorted(folders, key=lambda path: path.stat().st_mtime)[:-KEPT]:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w", encoding="utf-8") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
