"""Data sets that are free and can be had offline: their files are checked, and none is executed."""

from hwsim.data.sets.catalogue import SETS, DataSet, Examples, load

__all__ = ["SETS", "DataSet", "Examples", "load"]
