"""Classes of which data to calibrate or train with has no sample: said once, in words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hwsim import notices

LISTED = 6


class MissingClass(UserWarning):
    """Data to calibrate or train with has no sample of some class."""


def warn_of_missing(
    labels: npt.NDArray[np.int64], classes: int | None, names: Sequence[str] | None, what: str
) -> None:
    """Warn of the classes that no label is; `classes` None is for a model that tells no number.

    `what` is what the samples are called, as "the samples to train with".
    """
    if classes is None:
        return
    absent = sorted(set(range(classes)) - set(np.unique(labels).tolist()))
    if not absent:
        return
    told = [names[n] if names is not None and n < len(names) else str(n) for n in absent]
    more = f" and {len(told) - LISTED} more" if len(told) > LISTED else ""
    one = len(told) == 1
    notices.warn(
        f"{what} have none of class{'' if one else 'es'} {', '.join(told[:LISTED])}{more}, which "
        f"the model gives too; {'it is' if one else 'they are'} likely told worse for it",
        MissingClass,
    )
