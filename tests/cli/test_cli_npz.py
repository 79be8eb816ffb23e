"""`.npz` files on the command line: arrays chosen by name, nothing executed, output all or none."""

from __future__ import annotations

import io
import pickle
import zipfile

import numpy as np
import pytest
from support.cli_calls import refused, run, tiny

from hwsim import emulate
from hwsim.data.arrays import open_array
from hwsim.data.npz import LABEL_KEYS
from hwsim.errors import HwsimError

X = np.arange(-10, 10, dtype=np.float32).reshape(5, 4)
Y = np.arange(5)


@pytest.fixture
def place(tmp_path):
    tiny().save(tmp_path / "m.hwsim")
    return tmp_path


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_come_out_as_they_went_in(place, save):
    arrays = {"x": X, "fortran": np.asfortranarray(X), "y": Y, "none": X[:0], "f8": X.astype(float)}
    save(place / "d.npz", **arrays)
    for key, array in arrays.items():
        got = open_array(place / f"d.npz:{key}")
        assert got.dtype == array.dtype and got.shape == array.shape and (got == array).all()
    assert (open_array(place / "d.npz", LABEL_KEYS) == Y).all()


def test_the_array_meant_is_the_only_one_the_usual_one_or_the_only_other_one(place):
    def chosen(**arrays):
        np.savez(place / "d.npz", **arrays)
        return open_array(place / "d.npz")

    assert (chosen(anything=X) == X).all()
    assert (chosen(x_test=X, x_train=Y, names=Y) == X).all()
    assert (chosen(features=X, labels=Y) == X).all()
    with pytest.raises(HwsimError, match=r"such as .*d.npz:a, because it holds a, b"):
        chosen(a=X, b=X)
    with pytest.raises(HwsimError, match="holds none"):
        chosen()


def test_emulate_reads_and_writes_npz(place, capsys):
    np.savez(place / "d.npz", x=X, y=Y)
    call = ("emulate", place / "m.hwsim", "-i", place / "d.npz", "-o", place / "o.npz")
    assert run(capsys, *call)[0] == 0
    with np.load(place / "o.npz", allow_pickle=False) as found:
        assert list(found) == ["y"] and (found["y"] == emulate(tiny(), X)).all()
    assert "array 'z'" in refused(
        capsys, "emulate", place / "m.hwsim", "-i", f"{place / 'd.npz'}:z", "-o", place / "p.npy"
    )


def test_bad_archives_are_refused_in_a_sentence_and_nothing_is_written(place, capsys):
    target = place / "d.npz"

    def sentence() -> str:
        call = ("emulate", place / "m.hwsim", "-i", target, "-o", place / "o.npz")
        text = refused(capsys, *call)
        assert not (place / "o.npz").exists()
        return text

    def member(data: bytes, kind: int = zipfile.ZIP_STORED) -> None:
        with zipfile.ZipFile(target, "w", kind) as archive:
            archive.writestr("x.npy", data)

    target.write_bytes(b"PK\x03\x04 and no more")
    assert "no whole zip archive" in sentence()
    member(pickle.dumps({}))
    assert "has not the header" in sentence()
    np.savez(target, x=np.array([{}], object))
    assert "Python objects" in sentence()
    held = io.BytesIO()
    np.save(held, X)
    for kind in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        member(held.getvalue()[:-4], kind)
        assert "(80 bytes), not 76 bytes" in sentence()
    member(held.getvalue(), zipfile.ZIP_DEFLATED)
    broken = bytearray(target.read_bytes())
    broken[60:90] = bytes(30)
    target.write_bytes(broken)
    assert "d.npz:x must be" in sentence() and "damaged" in sentence()
