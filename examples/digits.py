"""The data behind the example models: scikit-learn's handwritten digits, split once and for all.

Needs numpy and scikit-learn only; the images ship inside scikit-learn (UCI "Optical Recognition of
Handwritten Digits", test part, 1,797 images of 8 x 8 pixels with values 0 to 16).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits

HELD_OUT = 360
SPLIT_SEED = 7
SPLIT_SHA256 = "e86ac91ac52941ba17e0f488d3b3acca633427da56c64769a7925058d5a1c6cb"


@dataclass(frozen=True, slots=True)
class Digits:
    """Images are float32, (N, 1, 8, 8), in steps of 1/16 from 0 to 1; labels are int64, (N,)."""

    train_images: npt.NDArray[np.float32]
    train_labels: npt.NDArray[np.int64]
    test_images: npt.NDArray[np.float32]
    test_labels: npt.NDArray[np.int64]


def split() -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Indices of the training and of the held-out images.

    ``RandomState`` and not ``default_rng``: NumPy promises that its stream never changes.
    """
    order = np.random.RandomState(SPLIT_SEED).permutation(1797).astype(np.int64)
    return order[HELD_OUT:], order[:HELD_OUT]


def split_sha256(data: Digits) -> str:
    """SHA-256 of the held-out pixels (as bytes 0 to 16) and then their labels (as bytes)."""
    pixels = np.rint(data.test_images * 16).astype(np.uint8)
    return hashlib.sha256(
        pixels.tobytes() + data.test_labels.astype(np.uint8).tobytes()
    ).hexdigest()


def load() -> Digits:
    """The whole data set, split; raises ``RuntimeError`` if it is not the one we trained on."""
    bunch: Any = load_digits()
    images = (bunch.images / 16).astype(np.float32)[:, np.newaxis]
    labels = bunch.target.astype(np.int64)
    train, test = split()
    data = Digits(images[train], labels[train], images[test], labels[test])
    if split_sha256(data) != SPLIT_SHA256:
        raise RuntimeError("scikit-learn's digits must be those that the models were trained on")
    return data
