"""A `.pt2` archive as untrusted bytes: a zip whose members are stored as they are.

Nothing is unpacked to a disk and no pickle is opened. Memory is bounded by the file: compressed
members, and more bytes in members than the file has, are refused.
"""

from __future__ import annotations

import json
import stat
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

from hwsim.errors import HwsimError
from hwsim.frontends.torch.program import printed

MAX_FILE_BYTES = 1 << 31
MAX_JSON_BYTES = 1 << 26
OLD = ("serialized_exported_program.json", "serialized_state_dict.pt")


class Archive:
    """The members of an archive by their name without the folder that all lie in."""

    def __init__(self, source: Path | BytesIO, place: str) -> None:
        self.place = place
        self._check_size(source)
        try:
            self._zip = zipfile.ZipFile(source)
            members = self._zip.infolist()
        except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            raise self.damaged(error) from None
        names = {info.filename for info in members}
        if names & set(OLD):
            raise HwsimError(
                f"{place} must be written by torch 2.8 or later, whose archives hold no pickled "
                "weights; the way: torch.export.load it there, then torch.export.save"
            )
        roots = {name.partition("/")[0] for name in names}
        if len(roots) != 1 or len(names) != len(members):
            raise self.damaged("its members must lie in one folder, each once")
        (root,) = roots
        self._members = {info.filename.removeprefix(f"{root}/"): info for info in members}
        if any(info.compress_type != zipfile.ZIP_STORED for info in members):
            raise self.damaged("its members must be stored, not compressed")
        self.size = self._bytes(source)
        if sum(info.file_size for info in members) > self.size:
            raise self.damaged("its members must not be larger than it")

    @staticmethod
    def _bytes(source: Path | BytesIO) -> int:
        return source.getbuffer().nbytes if isinstance(source, BytesIO) else source.stat().st_size

    def _check_size(self, source: Path | BytesIO) -> None:
        try:
            if isinstance(source, Path) and not stat.S_ISREG(source.stat().st_mode):
                raise HwsimError(
                    f"{self.place} must be an exported program, not a folder or device"
                )
            size = self._bytes(source)
        except OSError as error:
            raise HwsimError(
                f"{self.place} must be a program that can be read ({error.strerror})"
            ) from None
        if size > MAX_FILE_BYTES:
            raise HwsimError(f"{self.place} must have at most {MAX_FILE_BYTES} bytes, not {size}")

    def damaged(self, why: object) -> HwsimError:
        """The sentence about an archive that is none."""
        return HwsimError(
            f"{self.place} must be a whole archive of torch.export.save, but it is truncated, "
            f"damaged or of another format ({printed(str(why))})"
        )

    def has(self, name: str) -> bool:
        """Whether there is such a member."""
        return name in self._members

    def names(self, folder: str) -> list[str]:
        """Members of a folder."""
        return [name for name in self._members if name.startswith(f"{folder}/")]

    def read(self, name: str, most: int = MAX_FILE_BYTES) -> bytes:
        """A member's bytes, of which there may be so many."""
        if name not in self._members:
            raise self.damaged(f"there is no {name!r}")
        info = self._members[name]
        if info.file_size > most:
            raise self.damaged(f"{name!r} must have at most {most} bytes, not {info.file_size}")
        try:
            return self._zip.read(info)
        except (OSError, zipfile.BadZipFile, EOFError, ValueError, RuntimeError) as error:
            raise self.damaged(error) from None

    def json(self, name: str) -> Any:
        """A member that is JSON."""
        text = self.read(name, MAX_JSON_BYTES)
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise self.damaged(f"{name!r}: {type(error).__name__}") from None

    def close(self) -> None:
        """Let go of the file."""
        self._zip.close()
