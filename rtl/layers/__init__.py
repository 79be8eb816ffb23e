"""The hardware of operators: a record for each, in `table`."""

from rtl.layers.table import Unsupported, check_supported, unsupported

__all__ = ["Unsupported", "check_supported", "unsupported"]
