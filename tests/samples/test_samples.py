"""Images, CSV and preparation: what a model is given, to the last bit, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hwsim import HwsimError
from hwsim.data import Images, Preparation, read_labelled
from hwsim.data.csv_file import read_table
from hwsim.data.images import list_images
from hwsim.fixed import Format
from hwsim.float_steps import FloatStep
from hwsim.graph import InputPort
from hwsim.ops import Quant, TensorType
from hwsim.ports import channels_first

pillow = pytest.importorskip("PIL.Image")

PLAIN = Preparation()


def port(*shape: int, first: bool = False, element: str | None = None) -> InputPort:
    """An input of that shape on its edge, channels last."""
    axes = channels_first(len(shape)) if first else None
    kind = TensorType(shape, Format(False, 8, 0))
    return InputPort(name="x", tensor="x", type=kind, axes=axes, element=element)


def save(path: Path, pixels: np.ndarray, mode: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pillow.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path)
    return path


@pytest.fixture
def classes(tmp_path, rng):
    """Six RGB images in folders ant, bee and cow, and their pixels in order."""
    pixels = rng.integers(0, 256, (6, 5, 4, 3)).astype(np.uint8)
    for n, name in enumerate(("ant", "ant", "bee", "cow", "cow", "cow")):
        save(tmp_path / "set" / name / f"{n}.png", pixels[n])
    return tmp_path / "set", pixels


def test_images_are_the_pixels_over_255_in_the_models_layout(classes):
    folder, pixels = classes
    files = list_images(folder).files
    wanted = pixels.astype(np.float32) / np.float32(255)
    last, first = (
        Images(files, port(5, 4, 3), PLAIN),
        Images(files, port(5, 4, 3, first=True), PLAIN),
    )
    assert np.array_equal(last[:], wanted) and last.shape == (6, 5, 4, 3)
    assert np.array_equal(first[2:4], wanted[2:4].transpose(0, 3, 1, 2))
    assert np.array_equal(first[np.array([5, 0])], wanted[[5, 0]].transpose(0, 3, 1, 2))
    assert first.shape == (6, 3, 5, 4) and last[:].dtype == np.float32


def test_a_model_of_integers_takes_the_pixels_themselves(classes):
    folder, pixels = classes
    files = list_images(folder).files
    got = Images(files, port(5, 4, 3, element="uint8"), PLAIN)[:]
    assert got.dtype == np.uint8 and np.array_equal(got, pixels)


@pytest.mark.parametrize(
    ("steps", "raw"),
    [
        ([("div", 255.0)], True),
        ([("mul", 1 / 255), ("sub", 0.449), ("div", 0.226)], True),
        ([("sub", 123.7), ("div", 57.4)], True),
        ([("sub", 0.449), ("div", 0.226)], False),  # mean and deviation of numbers up to 1
        ([("mul", 2.0), ("sub", 1.0)], False),
        ([("max", 0.0), ("min", 1.0)], False),  # scales nothing
    ],
)
def test_pixels_stay_whole_where_the_models_own_port_brings_them_to_its_range(classes, steps, raw):
    folder, pixels = classes
    quant = Quant((2.64 * 2 / 255,), 128)
    kind = TensorType((5, 4, 3), Format.uint(8), quant)
    found = tuple(FloatStep(op=op, values=(value,)) for op, value in steps)
    whole = InputPort(name="x", tensor="x", type=kind, steps=found)
    got = Images(list_images(folder).files, whole, PLAIN)[:]
    wanted = pixels.astype(np.float32)
    assert np.array_equal(got, wanted if raw else wanted / np.float32(255))


def test_scale_mean_and_std_are_done_in_float32_one_after_the_other(classes):
    folder, pixels = classes
    prepare = Preparation.parse("1/255", "0.485,0.456,0.406", "0.229,0.224,0.225", resize=False)
    got = Images(list_images(folder).files, port(5, 4, 3), prepare)[:]
    wanted = pixels.astype(np.float32) / np.float32(255)
    wanted = (wanted - np.float32([0.485, 0.456, 0.406])) / np.float32([0.229, 0.224, 0.225])
    assert np.array_equal(got, wanted)
    assert prepare.says((1.0, 1.0)).startswith("times 1/255, minus mean 0.485, 0.456, 0.406")


def test_grey_models_take_greys_and_flat_ones_the_rows(tmp_path, rng):
    pixels = rng.integers(0, 256, (2, 4, 4)).astype(np.uint8)
    for n in range(2):
        save(tmp_path / "set" / f"{n}.png", pixels[n])
    files = list_images(tmp_path / "set").files
    wanted = pixels.astype(np.float32) / np.float32(255)
    assert np.array_equal(Images(files, port(4, 4, 1), PLAIN)[:], wanted[..., None])
    assert np.array_equal(Images(files, port(4, 4), PLAIN)[:], wanted)
    assert np.array_equal(Images(files, port(16), PLAIN)[:], wanted.reshape(2, 16))


def test_resize_covers_the_size_and_keeps_the_middle(tmp_path):
    wide = np.zeros((4, 8, 3), np.uint8)
    wide[:, 2:6] = 200  # the middle half
    file = save(tmp_path / "wide.png", wide)
    prepare = Preparation(resize=True, scale=(1.0, 1.0))
    assert (Images((file,), port(4, 4, 3), prepare)[:] == 200).all()
    with pytest.raises(HwsimError, match=r"4 pixels wide and 4 high .* not 8 and 4; --resize"):
        Images((file,), port(4, 4, 3), PLAIN)[:]


def test_classes_are_folders_in_order_of_their_names(classes):
    folder, _ = classes
    (folder / "bee" / "notes.txt").write_text("passed over")
    (folder / ".hidden").mkdir()
    data = read_labelled((port(5, 4, 3),), {"x": folder}, None)
    assert data.names == ("ant", "bee", "cow") and data.inferred
    assert data.labels.tolist() == ["ant", "ant", "bee", "cow", "cow", "cow"]
    assert data.says == (
        "pixels times 1/255; classes in the order of their names (0 ant, 1 bee, 2 cow); --classes "
        "gives another"
    )


def test_folders_whose_numbers_have_two_orders_need_a_list(tmp_path):
    for n in range(11):
        save(tmp_path / "set" / str(n) / "a.png", np.zeros((2, 2, 3), np.uint8))
    source = {"x": tmp_path / "set"}
    with pytest.raises(HwsimError, match=r"not '10' before '2' by name"):
        read_labelled((port(2, 2, 3),), source, None)
    (tmp_path / "names.txt").write_text("\n".join(map(str, range(11))))
    data = read_labelled((port(2, 2, 3),), source, None, classes=tmp_path / "names.txt")
    assert data.names == tuple(map(str, range(11))) and not data.inferred


def test_a_flat_folder_takes_labels_from_a_csv_of_files(tmp_path, rng):
    pixels = rng.integers(0, 256, (3, 2, 2, 3)).astype(np.uint8)
    for n, name in enumerate("abc"):
        save(tmp_path / "set" / f"{name}.png", pixels[n])
    (tmp_path / "l.csv").write_text("file,label\nc.png,2\na.png,0\nb.png,1\n")
    data = read_labelled((port(2, 2, 3),), {"x": tmp_path / "set"}, tmp_path / "l.csv")
    wanted = pixels[[2, 0, 1]].astype(np.float32) / np.float32(255)
    assert np.array_equal(data.arrays["x"][:], wanted) and data.labels.tolist() == [2, 0, 1]
    (tmp_path / "l.csv").write_text("c.png,2\nd.png,0\n")
    with pytest.raises(HwsimError, match=r"must name images of the folder, not 'd.png'"):
        read_labelled((port(2, 2, 3),), {"x": tmp_path / "set"}, tmp_path / "l.csv")


@pytest.mark.parametrize("kept", [0, 20, 60])
def test_a_broken_image_is_named(classes, kept):
    folder, _ = classes
    broken = folder / "bee" / "2.png"
    broken.write_bytes(broken.read_bytes()[:kept])
    files = list_images(folder).files
    images = Images(files, port(5, 4, 3), PLAIN)
    assert len(images[:2]) == 2  # the others can be read
    with pytest.raises(HwsimError) as caught:
        images[:]
    assert str(caught.value).startswith(f"{broken} must be a whole image")


def test_images_of_other_depth_or_no_image_at_all_are_refused(tmp_path):
    deep = save(tmp_path / "deep.png", np.zeros((4, 4), np.uint16))
    with pytest.raises(HwsimError, match="8 bits a channel"):
        Images((deep,), port(4, 4, 1), PLAIN)[:]
    text = tmp_path / "text.png"
    text.write_text("%!PS-Adobe-3.0 EPSF-3.0\n")
    with pytest.raises(HwsimError, match="whole image"):
        Images((text,), port(4, 4, 1), PLAIN)[:]
    with pytest.raises(HwsimError, match=r"a picture of 1 or 3 channels .* not of shape \(7,\)"):
        Images((deep,), port(7), PLAIN)[:]


def test_folders_without_images_or_with_both_kinds_are_refused(tmp_path):
    with pytest.raises(HwsimError, match="must hold images"):
        list_images(tmp_path)
    save(tmp_path / "a.png", np.zeros((2, 2), np.uint8))
    save(tmp_path / "b" / "c.png", np.zeros((2, 2), np.uint8))
    with pytest.raises(HwsimError, match="not both"):
        list_images(tmp_path)


def csv(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("head", ["", "a,b,kind\n", "a,b,label\n"])
def test_a_table_holds_features_and_the_label_last(tmp_path, delimiter, head):
    text = (head + "1,-2.5,cat\n\n3e-1, 4,dog\n").replace(",", delimiter)
    table = read_table(csv(tmp_path / "t.csv", text), 2)
    assert np.array_equal(table.features, [[1, -2.5], [0.3, 4]])
    assert table.labels.tolist() == ["cat", "dog"]
    bare = read_table(csv(tmp_path / "t.csv", "1,2\n3,4\n"), 2)
    assert bare.labels is None and np.array_equal(bare.features, [[1, 2], [3, 4]])
    numbers = read_table(csv(tmp_path / "t.csv", "1,2,0\n3,4,1\n"), 2)
    assert numbers.labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1,2\n", "must have 3 numbers a row, and perhaps a label behind them, not 2 cells"),
        ("1,2,3,0\n1,2,3\n", "line 2, must have 4 cells, not 3"),
        ("1,2,3,0\n1,2,3, \n", "line 2, must end with a label, not with nothing"),
        ("1,2,3\n1,x,3\n", "line 2, must hold numbers, not 'x'"),
        ("1,x,3\n1,2,3\n", "line 1, must hold numbers, not 'x'"),
        ("a,b,c\n", "at least one row"),
        ("", "at least one row"),
        ('1,2,"3\n', "must"),
    ],
)
def test_tables_that_do_not_fit_are_refused_with_their_line(tmp_path, text, says):
    with pytest.raises(HwsimError) as caught:
        read_table(csv(tmp_path / "t.csv", text), 3)
    assert says in str(caught.value) and "t.csv" in str(caught.value)


def test_other_bytes_are_no_table(tmp_path):
    (tmp_path / "t.csv").write_bytes(bytes(range(256)))
    with pytest.raises(HwsimError, match=r"t\.csv"):
        read_table(tmp_path / "t.csv", 3)


def test_labels_are_looked_for_in_the_npz_and_missed_elsewhere(tmp_path):
    x, y = np.zeros((3, 2), np.float32), np.array([0, 1, 0])
    np.savez(tmp_path / "d.npz", x=x, y=y)
    np.save(tmp_path / "x.npy", x)
    data = read_labelled((port(2),), {"x": tmp_path / "d.npz"}, None)
    assert np.array_equal(data.labels, y) and data.names is None and data.says == ""
    with pytest.raises(HwsimError, match=r"--labels FILE\), because .*x.npy holds none"):
        read_labelled((port(2),), {"x": tmp_path / "x.npy"}, None)
    assert read_labelled((port(2),), {"x": tmp_path / "x.npy"}, None, required=False).labels is None


def test_arrays_are_prepared_by_channel_where_it_is_asked(tmp_path, rng):
    x = rng.integers(0, 256, (3, 2, 4, 4)).astype(np.uint8)
    np.save(tmp_path / "x.npy", x)
    prepare = Preparation.parse("1/255", "0.1,0.2", None, resize=False)

    def read(how: Preparation):
        source = {"x": tmp_path / "x.npy"}
        ports = (port(4, 4, 2, first=True),)
        return read_labelled(ports, source, None, prepare=how, required=False).arrays["x"]

    wanted = x.astype(np.float32) / np.float32(255) - np.float32([0.1, 0.2])[:, None, None]
    assert np.array_equal(read(prepare)[1:], wanted[1:])
    three = read(Preparation.parse(None, "1,2,3", None, resize=False))
    with pytest.raises(HwsimError, match="one for each of the 2 channels, not 3"):
        three[:1]


@pytest.mark.parametrize(
    ("scale", "mean", "std", "says"),
    [
        ("fast", None, None, "scale must be a number above 0 such as 1/255, not 'fast'"),
        ("1/0", None, None, "scale must be"),
        ("-1", None, None, "scale must be"),
        ("1/2/3", None, None, "scale must be"),
        (None, "a,b", None, "mean must be numbers between commas"),
        (None, "nan", None, "mean must be"),
        (None, None, "0.5,0", "std must not be 0"),
    ],
)
def test_a_preparation_that_makes_no_sense_is_refused(scale, mean, std, says):
    with pytest.raises(HwsimError, match=says):
        Preparation.parse(scale, mean, std, resize=False)


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (0, 2, 1), (1, 2, 0)])
def test_images_and_means_follow_the_axes_of_the_port(axes, tmp_path):
    """A picture is as its user sees it, with the channels wherever the port shows them."""
    stored = (4, 6, 3)
    seen = tuple(stored[axis] for axis in axes)
    place = axes.index(2)
    height, width = (size for k, size in enumerate(seen) if k != place)
    kind = TensorType(stored, Format(False, 8, 0))
    entry = InputPort(name="x", tensor="x", type=kind, axes=axes, element="uint8")
    pixels = np.arange(height * width * 3, dtype=np.uint8).reshape(height, width, 3)
    save(tmp_path / "a.png", pixels)
    read = Images((tmp_path / "a.png",), entry, PLAIN)[0:1]
    assert read.shape == (1, *seen) and np.array_equal(read[0], np.moveaxis(pixels, -1, place))
    means = Preparation(mean=(1.0, 2.0, 3.0))
    less = Images((tmp_path / "a.png",), entry, means)[0:1]
    np.save(tmp_path / "a.npy", read)
    arrays = read_labelled([entry], {"x": tmp_path / "a.npy"}, None, prepare=means, required=False)
    wanted = np.moveaxis(pixels.astype(np.float32) - np.float32([1, 2, 3]), -1, place)
    for found in (less, arrays.arrays["x"][0:1]):
        assert np.array_equal(found[0], wanted)
