"""Samples and labels in files: arrays, folders of images and CSV; untrusted, bounded memory."""

from hwsim.data.arrays import open_array
from hwsim.data.images import Images
from hwsim.data.labelled import Labelled, read_labelled
from hwsim.data.prepare import Preparation

__all__ = ["Images", "Labelled", "Preparation", "open_array", "read_labelled"]
