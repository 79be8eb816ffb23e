"""Files given by a model's ports: on the command line and in recipes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hwsim.data.labelled import Labelled, read_labelled
from hwsim.data.npz import is_npz
from hwsim.data.prepare import Preparation
from hwsim.errors import HwsimError
from hwsim.ports import InputPort


def assign(values: Sequence[str], ports: Sequence[str], what: str) -> dict[str, Path]:
    """Paths by port name from `PATH` (a single port) or `NAME=PATH` for each port."""
    found: dict[str, Path] = {}
    for value in values:
        name, equals, path = value.partition("=")
        if not (equals and name in ports):
            if len(ports) > 1:
                raise HwsimError(
                    f"{what} must be given as NAME=FILE for each of {', '.join(ports)}, "
                    f"not {value!r}"
                )
            if equals and "/" not in name and not Path(value).exists() and Path(path).exists():
                raise HwsimError(f"{what} must name {ports[0]!r}, as the model does, not {name!r}")
            name, path = ports[0], value
        if name in found:
            raise HwsimError(f"{what} must be given once for {name!r}, not twice")
        found[name] = Path(path)
    missing = [name for name in ports if name not in found]
    if missing:
        raise HwsimError(f"{what} must be given for {', '.join(missing)} too")
    return found


def read_by_port(
    ports: Sequence[InputPort],
    inputs: Sequence[str],
    labels: Path | None,
    classes: Path | None,
    prepare: Preparation,
    *,
    required: bool,
    what: str = "--input",
) -> Labelled:
    """The samples in files, and labels where there are any; an `.npz` may hold every input's.

    `what` is how messages call the files. Raises HwsimError for files that do not fit the ports.
    """
    names = [port.name for port in ports]
    if len(inputs) == 1 < len(names) and is_npz(Path(inputs[0])):
        paths = {name: Path(f"{inputs[0]}:{name}") for name in names}
    else:
        paths = assign(inputs, names, what)
    return read_labelled(ports, paths, labels, classes=classes, prepare=prepare, required=required)
