"""A folder of images as a batch that is read in slices; Pillow decodes, nothing is executed."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.data.prepare import Preparation
from hwsim.errors import HwsimError
from hwsim.extras import library
from hwsim.float_steps import FloatStep, computed
from hwsim.ports import InputPort, channel_place, seen_shape, user_shape

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP")
"""What is decoded: common formats of pixels, none that calls another program."""

SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".bmp", ".gif", ".ppm", ".pgm", ".pbm", ".tif", ".tiff", ".webp",
)  # fmt: skip
MODES = {1: "L", 3: "RGB"}
DEEP = ("I", "F", "I;16", "I;16B", "I;16L")
PER_255 = (1.0, 255.0)
LIMITS = ("max", "min")  # steps that scale nothing
INSTALL = '"hwsim[images]"'


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """Image files for one input of a model: `len`, `shape`, and slices as arrays of its shape.

    Pixels become greys or RGB, as the model has one or three channels, and then what `prepare`
    says: float32, or for an input of integers (and no scale given) the pixels themselves.
    """

    files: tuple[Path, ...]
    port: InputPort
    prepare: Preparation

    @property
    def shape(self) -> tuple[int, ...]:
        """As of the array of all of them."""
        return (len(self.files), *user_shape(self.port.type, self.port))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, part: Any) -> Any:
        """The images of a slice or of an array of places."""
        chosen = (
            self.files[part] if isinstance(part, slice) else [self.files[n] for n in np.ravel(part)]
        )
        height, width, channels = picture_shape(self.port)
        pixels = np.empty((len(chosen), height, width, channels), np.uint8)
        for place, file in enumerate(chosen):
            pixels[place] = self._read(file, (width, height), channels)
        return self._as_input(self.prepare.apply(pixels, self.default, channels))

    @property
    def default(self) -> tuple[float, float]:
        """The factor where none is given: 1/255, and 1 where the model itself takes pixels."""
        whole = self.port.element is not None or scales_pixels(self.port)
        return (1.0, 1.0) if whole else PER_255

    def _as_input(self, pixels: Any) -> Any:
        if len(self.port.type.shape) == 3:
            pixels = np.moveaxis(pixels, -1, channel_place(self.port.type, self.port) + 1)
        return np.ascontiguousarray(pixels).reshape(len(pixels), *self.shape[1:])

    def _read(self, file: Path, size: tuple[int, int], channels: int) -> Any:
        """One image, `(height, width, channels)`."""
        pillow = library("PIL.Image", INSTALL, "reading images")
        fit = library("PIL.ImageOps", INSTALL, "reading images").fit
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", pillow.DecompressionBombWarning)
                with pillow.open(file, formats=FORMATS) as opened:
                    self._check(file, opened, size)
                    image = opened.convert(MODES[channels])
            if image.size != size:
                image = fit(image, size, pillow.Resampling.BILINEAR)
        except HwsimError:
            raise
        except (pillow.DecompressionBombWarning, pillow.DecompressionBombError):
            raise HwsimError(f"{file} must be an image of bounded size, and is too large") from None
        except (OSError, ValueError, SyntaxError, EOFError, MemoryError, TypeError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else "damaged"
            raise HwsimError(f"{file} must be a whole image that can be read ({why})") from None
        return np.asarray(image).reshape(size[1], size[0], channels)

    def _check(self, file: Path, image: Any, size: tuple[int, int]) -> None:
        if image.mode in DEEP:
            raise HwsimError(f"{file} must have 8 bits a channel, not be of mode {image.mode}")
        if image.size != size and not self.prepare.resize:
            raise HwsimError(
                f"{file} must be {size[0]} pixels wide and {size[1]} high as the model's input "
                f"{self.port.name!r}, not {image.size[0]} and {image.size[1]}; --resize scales it"
            )


def scales_pixels(port: InputPort) -> bool:
    """Whether the model's own arithmetic ahead of its first quantizer brings 0 to 255 to its range.

    `x / 255` does, and a mean and deviation of pixels; those of numbers from 0 to 1 go far beyond.
    """
    steps = tuple(s for s in port.steps if isinstance(s, FloatStep) and s.op not in LIMITS)
    if not steps:
        return False
    ends = np.broadcast_to(np.array([0, 255], np.float32).reshape(2, 1), (2, port.type.size))
    reals = computed(np, steps, ends.reshape(2, *user_shape(port.type, port)))
    kind = port.type
    scale = max(kind.scales())
    low, high = ((code - kind.zero_point) * scale for code in (kind.lo, kind.hi))
    span = high - low
    return bool(reals.min() >= low - span and reals.max() <= high + span)


def picture_shape(port: InputPort) -> tuple[int, int, int]:
    """(height, width, channels) of an input that is a picture; HwsimError for any other."""
    shape = seen_shape(port.type, port)
    if len(shape) == 3 and port.type.channels in MODES:
        place = channel_place(port.type, port)
        height, width = (*shape[:place], *shape[place + 1 :])
        return height, width, port.type.channels
    if len(shape) == 2:
        return shape[0], shape[1], 1
    side = round(port.type.size**0.5)
    if len(shape) == 1 and side * side == shape[0]:
        return side, side, 1
    raise HwsimError(
        f"input {port.name!r} must be a picture of 1 or 3 channels to be read from images, not of "
        f"shape {user_shape(port.type, port)}"
    )


@dataclass(frozen=True, slots=True)
class Listing:
    """Image files, the class of each by name where folders say it, and the names in order."""

    files: tuple[Path, ...]
    labels: tuple[str, ...] | None
    names: tuple[str, ...] | None


def list_images(folder: Path) -> Listing:
    """The images of a folder, in order of their names: one sub-folder a class, or flat.

    Files of other kinds are passed over. Raises HwsimError for a folder without images, or with
    both images and folders of images.
    """
    entries = [e for e in _entries(folder) if not e.name.startswith(".")]
    flat = [e for e in entries if e.is_file() and e.suffix.lower() in SUFFIXES]
    places = [e for e in entries if e.is_dir()]
    if flat and any(True for place in places for _ in _below(place)):
        raise HwsimError(
            f"{folder} must hold images, or a folder of images for each class, not both"
        )
    if flat:
        return Listing(tuple(flat), None, None)
    found = [(file, place.name) for place in places for file in _below(place)]
    if not found:
        raise HwsimError(
            f"{folder} must hold images ({', '.join(SUFFIXES)}) in a folder for each class, or flat"
        )
    return Listing(
        tuple(file for file, _ in found),
        tuple(name for _, name in found),
        tuple(place.name for place in places),
    )


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise HwsimError(f"{folder} must be a folder that can be read ({error.strerror})") from None


def _below(folder: Path) -> Iterator[Path]:
    """Image files of a class, those of its own folders too, in order."""
    for place, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES:
                yield Path(place) / name
