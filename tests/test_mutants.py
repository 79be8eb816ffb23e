"""Damaged files: the machinery that reads them notices what it is there for."""

from __future__ import annotations

import faulthandler
import io
import os
import signal
import time
import zipfile

import numpy as np
import pytest
from support.mutants import mutated, mutated_member, sentences

from hwsim import HwsimError

FILES = [b"good", b"bad", b"good"]


def refuse(path):
    if path.read_bytes() == b"bad":
        raise HwsimError(f"{path} must be good, not bad")


def test_what_is_refused_in_a_sentence_is_told_and_the_rest_is_read(tmp_path):
    path = tmp_path / "m"
    assert sentences(refuse, FILES, path) == [None, f"{path} must be good, not bad", None]


def crash(path):
    if path.read_bytes() == b"bad":
        faulthandler.disable()  # which would tell of it at length
        os.kill(os.getpid(), signal.SIGSEGV)


def hang(path):
    if path.read_bytes() == b"bad":
        time.sleep(60)


def spin(path):
    while path.read_bytes() == b"bad":
        pass


def swell(path):
    if path.read_bytes() == b"bad":
        np.ones(1 << 29).sum()  # 4 GiB


def fail(path):
    if path.read_bytes() == b"bad":
        raise IndexError("of a list")


def babble(path):
    if path.read_bytes() == b"bad":
        raise HwsimError("it is bad")


@pytest.mark.parametrize(
    ("read", "said"),
    [
        (crash, "ended by SIGSEGV"),
        (hang, "took more than 1 s"),
        (spin, "took more than 1 s"),
        (swell, "MemoryError"),
        (fail, "IndexError"),
        (babble, "no one sentence"),
    ],
    ids=["crash", "hang", "spin", "swell", "fail", "babble"],
)
def test_what_is_neither_read_nor_refused_fails_by_its_number(read, said, tmp_path):
    with pytest.raises(AssertionError, match=f"file 1: (.|\n)*{said}"):
        sentences(read, FILES, tmp_path / "m", seconds=1)


def test_damage_changes_nearly_every_file_and_follows_from_the_seed(seed):
    data = bytes(range(256)) + b"shape 1 3 224 224"
    made = [mutated(data, np.random.default_rng(seed + k)) for k in range(200)]
    assert made == [mutated(data, np.random.default_rng(seed + k)) for k in range(200)]
    assert sum(one != data for one in made) > 190
    assert len({len(one) for one in made}) > 10
    assert mutated(b"", np.random.default_rng(seed)) == b""


def test_a_damaged_member_leaves_a_zip_that_opens(rng):
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as written:
        for name in ("a.json", "b/weights"):
            written.writestr(name, bytes(range(64)))
    for _ in range(60):
        with zipfile.ZipFile(io.BytesIO(mutated_member(whole.getvalue(), rng))) as held:
            assert held.testzip() is None
