"""Model files with damage done to them, and what a reader makes of them, within limits.

`mutated` changes the bytes of any format; `mutated_member` those of one file within a zip.
`sentences` lets a reader loose on many such files in one child process of little memory and time:

    said = sentences(hwsim.load, (mutated(model, rng) for _ in range(200)), tmp_path / "m.onnx")

Each file must become what the reader returns, or one sentence that names the file; another
exception, a crash, a hang and too much memory fail with the file's number.
"""

from __future__ import annotations

import io
import json
import os
import re
import resource
import signal
import traceback
import warnings
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from hwsim.errors import HwsimError

SECONDS = 10  # for one file, of the processor
WAIT = 3  # so many times as long by the clock: other processes run too
MEMORY = 2 << 30  # bytes of a whole process, of which INTERPRETER are there before it reads
INTERPRETER = 512 << 20
EDGES = (0, 1, 2, 3, 4, 127, 128, 255, 1 << 15, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)
NUMBER = re.compile(rb"-?[0-9]+(?:\.[0-9]+)?")
TEXTS = (b"0", b"1", b"-1", b"2", b"7", b"3.5", b"1e30", b"nan", b"9999999999", b"")

Damage = Callable[[bytearray, np.random.Generator], None]


def _cut(data: bytearray, rng: np.random.Generator) -> None:
    del data[int(rng.integers(0, len(data))) :]


def _bytes(data: bytearray, rng: np.random.Generator) -> None:
    for _ in range(rng.integers(1, 6)):
        data[rng.integers(0, len(data))] = rng.integers(0, 256)


def _bit(data: bytearray, rng: np.random.Generator) -> None:
    data[rng.integers(0, len(data))] ^= 1 << int(rng.integers(0, 8))


def _word(data: bytearray, rng: np.random.Generator) -> None:
    """A whole number of 1 to 8 bytes becomes one at some edge."""
    size = int(rng.choice([1, 2, 4, 8]))
    place = int(rng.integers(0, max(len(data) - size, 0) + 1)) // size * size
    value = int(rng.choice(EDGES)) % (1 << 8 * size)
    data[place : place + size] = value.to_bytes(size, "little")


def _block(data: bytearray, rng: np.random.Generator) -> None:
    """A block is copied over another, put in once more or left out."""
    size = int(rng.integers(1, 65))
    source, target = (int(rng.integers(0, len(data))) for _ in range(2))
    block = data[source : source + size]
    kind = rng.integers(0, 3)
    data[target : target + (len(block), 0, size)[kind]] = (block, block, b"")[kind]


def _text(data: bytearray, rng: np.random.Generator) -> None:
    """A number that is written out becomes another one."""
    found = list(NUMBER.finditer(data))
    if not found:
        return _bytes(data, rng)
    place = found[rng.integers(0, len(found))].span()
    data[slice(*place)] = TEXTS[rng.integers(0, len(TEXTS))]
    return None


DAMAGES: Sequence[Damage] = (_cut, _bytes, _bytes, _bit, _bit, _word, _word, _block, _text)


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """The bytes with one kind of damage, now and then with several."""
    held = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        if held:
            DAMAGES[rng.integers(0, len(DAMAGES))](held, rng)
    return bytes(held)


def mutated_member(data: bytes, rng: np.random.Generator) -> bytes:
    """A zip file one of whose files is damaged, left out or named otherwise; sums of it are right.

    Damage to the bytes of a zip itself is mostly noticed by its sums and goes no deeper.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as given:
        members = [(name, given.read(name)) for name in given.namelist()]
    place, kind = int(rng.integers(0, len(members))), rng.integers(0, 8)
    name, held = members[place]
    if kind == 0:
        del members[place]
    elif kind == 1:
        members[place] = (mutated(name.encode(), rng).decode("utf-8", "replace"), held)
    else:
        members[place] = (name, mutated(held, rng))
    made = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(made, "w") as written:
        warnings.simplefilter("ignore")  # two files of one name
        for name, held in members:
            written.writestr(name.partition("\0")[0] or "empty", held)  # a name ends there
    return made.getvalue()


def sentences(
    read: Callable[[Path], Any],
    files: Iterable[bytes],
    path: Path,
    *,
    seconds: float = SECONDS,
    memory: int = MEMORY,
) -> list[str | None]:
    """What a reader says of each file, put at `path` in turn; None where it reads it.

    AssertionError names the first file that is neither read nor refused in one sentence with its
    path. The reader runs in a copy of this process that a limit of memory and a clock may kill.
    """
    incoming, outgoing = os.pipe()
    child = os.fork()
    if not child:
        ended = 1
        try:
            os.close(incoming)
            with os.fdopen(outgoing, "w") as told:
                _child(read, files, path, seconds=seconds, memory=memory, told=told)
            ended = 0
        finally:
            os._exit(ended)  # nothing of the process that it is a copy of runs on here
    os.close(outgoing)
    found: list[str | None] = []
    with os.fdopen(incoming) as heard:
        for line in heard:
            said, failure = json.loads(line)
            assert failure is None, f"file {len(found)}: {failure}"
            found.append(said)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        late = name in ("SIGALRM", "SIGPROF")
        what = f"took more than {seconds:g} s" if late else f"ended by {name}"
        raise AssertionError(f"file {len(found)}: {what}")
    assert os.waitstatus_to_exitcode(status) == 0, f"file {len(found)}: its process ended"
    return found


def _child(
    read: Callable[[Path], Any],
    files: Iterable[bytes],
    path: Path,
    *,
    seconds: float,
    memory: int,
    told: TextIO,
) -> None:
    """All files, one after the other; each one's answer is a line."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limit = pages * resource.getpagesize() + memory - INTERPRETER
    for number in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(number, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")
    for data in files:
        path.write_bytes(data)
        signal.setitimer(signal.ITIMER_PROF, seconds)
        signal.setitimer(signal.ITIMER_REAL, WAIT * seconds)
        said = failure = None
        try:
            read(path)
        except HwsimError as error:
            said = str(error)
            if "\n" in said or str(path) not in said:
                failure = f"no one sentence that names the file: {said}"
        except BaseException:
            failure = traceback.format_exc()
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        told.write(json.dumps([said, failure]) + "\n")
        told.flush()
        if failure is not None:
            return
