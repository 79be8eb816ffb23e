"""Where randomness in tests comes from: `--seed`, in one place.

A test asks for the fixture `seed` or `rng`, which are its own by its name. Where neither reaches
(data of a module, helpers), `seeded(n)` is a number that follows `--seed` too: `n` itself for the
default seed. Data that an expectation was worked out for is no random check: `fixed(n)`.
"""

from __future__ import annotations

import os

import numpy as np

DEFAULT = 20261124
VARIABLE = "HWSIM_TEST_SEED"
"""Holds `--seed` for this process and those that it starts."""


def base() -> int:
    """What `--seed` says."""
    return int(os.environ.get(VARIABLE, DEFAULT))


def mixed(n: int, seed: int) -> int:
    """A number of 32 bits for each `n`, another one for another seed."""
    return (seed * 1_000_003 + n) % 2**32


def seeded(n: int) -> int:
    """`n` for the default seed, another number of 32 bits for each `n` with another `--seed`."""
    return n if base() == DEFAULT else mixed(n, base())


def fixed(n: int) -> np.random.Generator:
    """The same numbers whatever `--seed` says, for an expectation that was worked out for them."""
    return np.random.default_rng(n)
