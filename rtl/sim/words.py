"""Tensor codes to the words of a stream port and back, a whole batch at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.build_folder import StreamPort
from hwsim.errors import HwsimError

Words = NDArray[np.uint32]
Codes = NDArray[np.int64]


def word_size(port: StreamPort) -> int:
    """32-bit integers in one word of `tdata`, the lowest first."""
    return -(-port.tdata_bits // 32)


def checked(codes: Any, port: StreamPort) -> Codes:
    """Return `codes` as int64 of shape (samples, *shape).

    Raises HwsimError where they are no integers, have another shape, or one does not fit `bits`.
    64-bit unsigned ports carry codes below 2**63 only.
    """
    array = np.asarray(codes)
    what = f"the codes of input {port.name!r}"
    if array.dtype.kind not in "iu":
        raise HwsimError(f"{what} must be an array of integers, not {array.dtype}")
    if array.ndim != 1 + len(port.shape) or array.shape[1:] != port.shape or not len(array):
        wanted = ", ".join(["samples", *map(str, port.shape)])
        raise HwsimError(f"{what} must have the shape ({wanted}), not {array.shape}")
    low, high = port.limits
    for extreme in (int(array.min()), int(array.max())):
        if not low <= extreme <= min(high, 2**63 - 1):
            raise HwsimError(f"{what} must be {low} to {high}, not {extreme}")
    return array.astype(np.int64)


def pack(codes: Codes, port: StreamPort) -> Words:
    """Return the words of a batch, shape (samples * beats, word_size)."""
    lane = port.lane_bits // 8
    rows = codes.size // port.lanes
    # Little-endian two's complement: extending or cutting a code is taking more or fewer bytes.
    octets = np.ascontiguousarray(codes, "<i8").reshape(rows, port.lanes, 1).view(np.uint8)
    if lane > 8:
        fill = np.where(codes.reshape(rows, port.lanes, 1) < 0, 0xFF, 0).astype(np.uint8)
        octets = np.concatenate([octets, np.repeat(fill, lane - 8, axis=2)], axis=2)
    words = np.zeros((rows, 4 * word_size(port)), np.uint8)
    words[:, : port.lanes * lane] = octets[:, :, :lane].reshape(rows, -1)
    return words.view("<u4").astype(np.uint32, copy=False)


def unpack(words: Words, port: StreamPort) -> tuple[Codes, NDArray[np.bool_]]:
    """Return the codes of words, shape (rows, lanes), and which of them are extended wrongly.

    A code is the low `bits` of its lane; the rest of the lane must repeat its sign, or be zero
    where the port is unsigned.
    """
    if not len(words):  # the run ended before the first output
        return np.zeros((0, port.lanes), np.int64), np.zeros((0, port.lanes), np.bool_)
    lane = port.lane_bits // 8
    octets = np.ascontiguousarray(words, "<u4").view(np.uint8)[:, : port.lanes * lane]
    octets = octets.reshape(len(words), port.lanes, lane)
    whole = np.zeros((len(words), port.lanes, 8), np.uint8)
    whole[:, :, : min(lane, 8)] = octets[:, :, :8]
    raw = whole.view("<u8")[:, :, 0].astype(np.uint64)
    codes = _extended(raw, port.bits, signed=port.signed)
    # Extension again, to the width of the lane, must give what came.
    again = pack(codes.reshape(len(words), -1), port).view(np.uint8)[:, : port.lanes * lane]
    wrong = (again.reshape(octets.shape) != octets).any(axis=2)
    return codes, wrong


def _extended(raw: NDArray[np.uint64], bits: int, *, signed: bool) -> Codes:
    shift = np.uint64(64 - bits)
    top = raw << shift
    return top.view(np.int64) >> shift.astype(np.int64) if signed else (top >> shift).view(np.int64)
