"""What goes wrong around compressing: odd data, full disks, bad targets, calls that are killed."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import digits
import numpy as np
import pytest
from support.cli_calls import refused, run
from support.killing import killed_often
from support.seeds import seeded

import hwsim

pytestmark = pytest.mark.needs("torch", "array_api_compat", "onnxruntime")
MODEL = Path(digits.__file__).parent.resolve() / "models" / "digits_cnn_int8.onnx"
FLOAT = MODEL.with_name("digits_cnn_int8.float.onnx")
DATA = digits.load()
X, Y = DATA.train_images[:200], DATA.train_labels[:200]

CALLS: dict[str, tuple[object, ...]] = {
    "quantize": ("quantize", FLOAT, "--data", "d.npz", "-o", "m.onnx"),
    "finetune": ("finetune", MODEL, "--data", "d.npz", "--epochs", 1, "-o", "m.hwsim"),
    "distil": ("distil", MODEL, "--data", "d.npz", "--teacher", FLOAT, "--epochs", 1,
               "-o", "m.hwsim"),
    "prune": ("prune", MODEL, "--data", "d.npz", "--by", "taylor", "-o", "m.hwsim"),
    "rounds": ("prune", MODEL, "--data", "d.npz", "--rounds", 2, "--epochs-a-round", 1,
               "-o", "m.hwsim"),
    "attribute": ("attribute", MODEL, "--data", "d.npz", "--reference", FLOAT,
                  "--page", "m.html"),
    "encode": ("encode", MODEL, "--weights", "pot4", "-o", "m.hwsim"),
}  # fmt: skip
"""A call of each command, that writes its last word."""
WITH_DATA = [name for name in CALLS if name != "encode"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("d.npz", x=X, y=Y)
    return tmp_path


def spoilt(value: float) -> np.ndarray:
    x = X.copy()
    x[150, 0, 3, 3] = value
    return x


NHWC = "this looks like NHWC, which x.transpose(0, 3, 1, 2) brings into order"
ODD = {
    "NaN": (spoilt(np.nan), ("tensor 'image' must be finite on the calibration data, but holds",
                             "input 'image' must be finite, but holds NaN or infinity")),
    "infinity": (spoilt(np.inf), ("tensor 'image' must be finite on the calibration data, but h",
                                  "input 'image' must be finite, but holds NaN or infinity")),
    "channels last": (X.transpose(0, 2, 3, 1), (NHWC, NHWC)),
    "no sample": (X[:0], ("must", "must")),
    "texts": (np.full(X.shape, "a"), ("must", "must")),
    "complex": (X.astype(complex), ("must", "must")),
}  # fmt: skip


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("name", WITH_DATA)
def test_data_that_no_model_takes_are_told_and_nothing_is_written(name, odd, place, capsys):
    x, said = ODD[odd]
    np.savez("d.npz", x=x, y=Y[: len(x)])
    sentence = refused(capsys, *CALLS[name])
    assert said[name != "quantize"] in sentence
    assert "d.npz" in sentence or "'image'" in sentence
    assert [file.name for file in place.iterdir()] == ["d.npz"]


@pytest.mark.parametrize("name", [name for name in WITH_DATA if name != "quantize"])
def test_data_of_another_range_are_told_by_the_inputs_name(name, place, capsys):
    np.savez("d.npz", x=X * 255, y=Y)
    status, _, said = run(capsys, *CALLS[name])
    assert status == 0
    assert "warning: input 'image': " in said and "values saturate: the model takes" in said
    assert "and they reach from 0 to 255; pixels of 0 to 255 must be scaled as in" in said


@pytest.mark.parametrize("name", ["quantize", "finetune", "distil", "rounds", "prune"])
def test_a_class_without_a_sample_is_told(name, place, capsys):
    few = Y != 3
    np.savez("d.npz", x=X[few], y=Y[few])
    status, _, said = run(capsys, *CALLS[name])
    assert status == 0
    assert "have none of class 3, which the model gives too; it is likely told worse for it" in said


@pytest.mark.parametrize("name", WITH_DATA)
def test_a_constant_channel_is_no_fault(name, place, capsys):
    np.savez("d.npz", x=np.full_like(X, 0.25), y=Y)
    status, _, said = run(capsys, *CALLS[name])
    assert status == 0, said


@contextmanager
def small_disk(monkeypatch) -> Iterator[None]:
    """Whatever is written ahead of a rename meets a disk that is full."""

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        yield


@pytest.mark.parametrize("name", CALLS)
def test_a_full_disk_is_one_sentence_and_the_old_file_stays(name, place, capsys, monkeypatch):
    out = str(CALLS[name][-1])
    Path(out).write_text("old")
    with small_disk(monkeypatch):
        said = refused(capsys, *CALLS[name], status=1)
    assert said == f"{out} must be a writable file (No space left on device)"
    assert Path(out).read_text() == "old"
    assert sorted(file.name for file in place.iterdir()) == sorted(["d.npz", out])


def test_a_full_disk_at_a_checkpoint_ends_the_training(place, capsys, monkeypatch):
    with small_disk(monkeypatch):
        said = refused(capsys, *CALLS["finetune"], "--checkpoint", "c", status=1)
    assert said == "c must be a writable file (No space left on device)"
    assert [file.name for file in place.iterdir()] == ["d.npz"]


@pytest.mark.parametrize("name", CALLS)
def test_files_that_the_system_cuts_short_leave_nothing(name, place, capsys):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        said = refused(capsys, *CALLS[name], status=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert said.endswith(" must be a writable file (File too large)")
    assert [file.name for file in place.iterdir()] == ["d.npz"]


@pytest.mark.parametrize("name", CALLS)
def test_a_target_that_cannot_be_is_told_before_the_work(name, place, capsys):
    *call, out = CALLS[name]
    option = "--page" if name == "attribute" else "--out"
    suffix = Path(str(out)).suffix
    Path(f"folder{suffix}").mkdir()
    told = f"{option} must be a file in a folder that can be written, not "
    for where in (f"folder{suffix}", f"none/m{suffix}"):
        assert refused(capsys, *call, where) == f"{told}{where!r}"
    model = Path(f"own{suffix}")
    model.write_bytes(Path(str(call[1])).read_bytes())
    call[1] = model
    assert refused(capsys, *call, model) == (
        f"{option} must be a file of its own, not {str(model)!r}, which the call reads or writes"
    )


def test_a_checkpoint_is_a_file_of_its_own(place, capsys):
    told = "--checkpoint must be a file of its own, not 'd.npz', which the call reads or writes"
    assert refused(capsys, *CALLS["finetune"], "--checkpoint", "d.npz") == told
    said = refused(capsys, *CALLS["finetune"], "--checkpoint", "none/c")
    assert said == "--checkpoint must be a file in a folder that can be written, not 'none/c'"
    assert "not 'm.hwsim'" in refused(capsys, *CALLS["distil"], "--checkpoint", "m.hwsim")


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("rounds", "quantize")]


@pytest.mark.parametrize("name", ["finetune", *SLOW])
def test_a_call_that_is_killed_at_any_moment_comes_to_the_same_file(name, place, capsys):
    more: tuple[object, ...] = ()
    if name == "finetune":
        more = ("--epochs", 6, "--batch", 32, "--checkpoint", "c")
    *call, out = CALLS[name]
    whole = Path(f"whole{Path(str(out)).suffix}")
    status, _, err = run(capsys, *call, whole, *more)
    assert status == 0, err
    killed = killed_often((*CALLS[name], *more), seed=seeded(7), rounds=4, most=0.8)
    assert killed >= 1
    assert Path(str(out)).read_bytes() == whole.read_bytes()
    assert hwsim.load(Path(str(out))).hash() == hwsim.load(whole).hash()
    assert not Path("c").exists()
