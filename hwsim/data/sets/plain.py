"""Contents of plain formats: idx, JSON, and series of numbers as text. Nothing is executed."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.errors import HwsimError

UINT8 = 8  # of an idx file's third byte


def read_idx(what: str, content: bytes) -> npt.NDArray[np.uint8]:
    """The bytes of an idx file (http://yann.lecun.com/exdb/mnist), in the shape that it names."""
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != UINT8:
        raise HwsimError(f"{what} must be an idx file of bytes, but has not the head of one")
    axes = content[3]
    start = 4 + 4 * axes
    if len(content) < start:
        raise HwsimError(f"{what} must name the lengths of its {axes} axes, but ends before")
    shape = struct.unpack(f">{axes}I", content[4:start])
    if len(content) - start != math.prod(shape):
        raise HwsimError(
            f"{what} must hold the {math.prod(shape)} bytes that its head announces, not "
            f"{len(content) - start}"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def read_json_pixels(what: str, content: bytes, side: int) -> npt.NDArray[np.uint8]:
    """`{"data": [...]}` of pixels from 0 to 1, sample after sample, as 0 to 255."""
    try:
        numbers = json.loads(content)["data"]
        reals = np.array(numbers, np.float64)
    except (ValueError, TypeError, KeyError, RecursionError):
        raise HwsimError(f'{what} must be JSON such as {{"data": [0, 0.5, 1]}}') from None
    if reals.ndim != 1 or not reals.size or reals.size % (side * side):
        raise HwsimError(f"{what} must hold pictures of {side} by {side} numbers in one list")
    if not ((reals >= 0) & (reals <= 1)).all():
        raise HwsimError(f"{what} must hold pixels from 0 to 1, not others")
    return np.rint(reals * 255).astype(np.uint8).reshape(-1, side, side)


def read_series(what: str, content: bytes) -> tuple[npt.NDArray[np.float32], list[str], list[str]]:
    """A `.ts` file of series of one length: (samples, channels, steps), labels, and the classes.

    After `@data` each line is a sample: channels between colons, steps between commas, and last
    the class, which `@classLabel true` lists.
    """
    try:
        lines = [line.strip() for line in content.decode().splitlines()]
    except UnicodeError:
        raise HwsimError(f"{what} must be UTF-8 text") from None
    if "@data" not in lines:
        raise HwsimError(f"{what} must have a line @data, and has none")
    start = lines.index("@data")
    head = [line.split() for line in lines[:start] if line.startswith("@classLabel true ")]
    classes = head[0][2:] if head else []
    samples: list[Any] = []
    labels: list[str] = []
    for number, line in enumerate(lines[start + 1 :], start + 2):
        if not line:
            continue
        *channels, label = line.split(":")
        if label not in classes:
            raise HwsimError(f"{what}, line {number}, must end with a class, not {label!r}")
        try:
            sample = np.array([channel.split(",") for channel in channels], np.float32)
        except ValueError:
            sample = np.zeros(0, np.float32)
        if not sample.size or not np.isfinite(sample).all():
            raise HwsimError(f"{what}, line {number}, must hold channels of one number of steps")
        if samples and sample.shape != samples[0].shape:
            raise HwsimError(
                f"{what}, line {number}, must hold {samples[0].shape} numbers as the first sample, "
                f"not {sample.shape}"
            )
        samples.append(sample)
        labels.append(label)
    if not samples:
        raise HwsimError(f"{what} must hold at least one series, not none")
    return np.stack(samples), labels, classes
