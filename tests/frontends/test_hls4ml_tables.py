"""The tables of hls4ml's activations are those that its own C++ makes, entry by entry."""

from __future__ import annotations

import itertools
import platform
import subprocess
from pathlib import Path

import numpy as np
import pytest

from hwsim.fixed import Format, Overflow, Rounding
from hwsim.frontends.hls4ml import tables
from hwsim.frontends.hls4ml.types import Precision, assigned
from hwsim.frontends.shared.glibc import expf

pytestmark = pytest.mark.needs("hls4ml")
FINE = (24, 2, "RND", "SAT")  # a float32 near 1 has no finer steps
TYPES = (
    (18, 8, "TRN", "WRAP"),
    (18, 8, "RND", "SAT"),
    FINE,
    (8, 1, "RND_CONV", "SAT_SYM"),
    (12, 5, "TRN_ZERO", "WRAP"),
    (16, 0, "RND_INF", "SAT_ZERO"),
    (40, 14, "RND_MIN_INF", "WRAP"),
)
SIZES = (2, 37, 64, 1000, 1024, 4096)
BY_SIZE = {"sigmoid", "tanh", "softplus", "softsign", "elu", "selu"}
LEGACY = {"exponential": "exp", "inverse": "invert"}


def declared(kind: tuple[int, int, str, str]) -> str:
    width, integer, rounding, mode = kind
    return f"ap_fixed<{width},{integer},AP_{rounding},AP_{mode}>"


def read(kind: tuple[int, int, str, str]) -> Precision:
    width, integer, rounding, mode = kind
    fmt = Format(True, integer, width - integer)
    return Precision(fmt, Rounding(rounding), Overflow(mode))


def compiled(folder: Path, wanted: list[tuple[str, int, tuple[int, int, str, str]]]) -> list:
    """The entries of each table, as codes, that a program of hls4ml's own headers prints."""
    import hls4ml

    templates = Path(hls4ml.__file__).parent / "templates" / "vivado"
    lines = []
    for place, (function, size, kind) in enumerate(wanted):
        init = f"init_{function}_table"
        if function in LEGACY:
            init = f"init_{LEGACY[function]}_table_legacy"
        lines += [
            f"struct config{place} {{ typedef {declared(kind)} table_t; }};",
            f"static {declared(kind)} table{place}[{size}];",
            f"static void show{place}() {{ nnet::{init}<config{place}, {size}>(table{place});",
            f'for (auto &e : table{place}) printf("%.17g ", e.to_double()); puts(""); }}',
        ]
    calls = " ".join(f"show{place}();" for place in range(len(wanted)))
    source = folder / "tables.cpp"
    headers = '#include <cassert>\n#include <cstdio>\n#include "ap_fixed.h"\n'
    headers += '#include "nnet_utils/nnet_activation.h"\n'
    source.write_text(headers + "\n".join(lines) + f"\nint main() {{ {calls} }}\n")
    flags = ["-w", "-O3", "-std=c++23", f"-I{templates}", f"-I{templates / 'ap_types'}"]
    subprocess.run(["g++", *flags, str(source), "-o", str(folder / "tables")], check=True)
    printed = subprocess.run([str(folder / "tables")], check=True, capture_output=True, text=True)
    rows = [np.array(line.split(), np.float64) for line in printed.stdout.splitlines()]
    return [
        np.ldexp(row, kind[0] - kind[1]) for row, (_, _, kind) in zip(rows, wanted, strict=True)
    ]


def ours(function: str, size: int, kind: tuple[int, int, str, str]):
    make = tables.ENTRIES.get(function) or getattr(tables, function)
    return assigned(make(size), read(kind))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the tables are those of glibc")
def test_every_entry_is_that_of_hls4mls_own_headers(tmp_path):
    """All functions, seven types, sizes that are powers of two and others: 107,128 entries."""
    functions = (*sorted(BY_SIZE), *LEGACY)
    wanted = [(f, 1024, kind) for f, kind in itertools.product(functions, TYPES)]
    wanted += [
        (f, size, kind) for f, size in itertools.product(functions, SIZES) for kind in (FINE,)
    ]
    found = compiled(tmp_path, wanted)
    for what, codes in zip(wanted, found, strict=True):
        mine = ours(*what)
        assert (mine == codes).all(), f"{what}: {np.flatnonzero(mine != codes)[:5]}"


def test_rounding_the_exponential_correctly_or_as_numpy_does_would_be_noticed():
    """The mutants of the test above: both differ from glibc within one table of 65,536 entries."""
    x = np.asarray(16 * (np.arange(1 << 16) - (1 << 15)) / (1 << 16), np.float32)
    correct = np.exp(x.astype(np.float64)).astype(np.float32)
    assert (expf(x) != correct).any()
    assert (expf(x) != np.exp(x)).any()
