"""What keeps outputs from replacing inputs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from detkit.errors import UsageError
from detkit.files import file_id
from detkit.hashes import HashSet
from detkit.picture_names import is_picture
from detkit.remote import Place, RemotePath, is_remote


class Guard:
    """The inputs of a command, files and folders by whatever name; `spare` refuses to write over them."""

    def __init__(self, *inputs: str | os.PathLike[str] | None) -> None:
        self._files: list[HashSet] = []
        self._folders: list[Path] = []
        self.add(inputs)

    def add(self, inputs: Iterable[str | os.PathLike[str] | None]) -> None:
        """More inputs, which may be very many; None, and what is not there, stands for none."""
        self._files.append(HashSet(self._there(inputs)))

    def _there(self, inputs: Iterable[str | os.PathLike[str] | None]) -> Iterator[str]:
        for path in inputs:
            found = None if path is None else _identity(path)
            if path is None or found is None:
                continue
            if not isinstance(path, RemotePath) and os.path.isdir(path):
                self._folders.append(Path(path))
            yield found

    def spare(self, option: str, target: Place) -> None:
        """UsageError where `target` is one of the inputs, or a label file or picture that lies in a folder of them."""
        found = _identity(target)
        if found is None:
            return
        if any(found in files for files in self._files):
            raise UsageError(f"{option} would overwrite the input {target}; give another name")
        if isinstance(target, RemotePath):
            return
        if not os.path.isfile(target) or not (target.suffix.lower() in (".txt", ".xml") or is_picture(target.name)):
            return
        for folder in self._folders:
            if target.resolve().is_relative_to(folder.resolve()):
                raise UsageError(
                    f"{option} would overwrite {target}, which lies in the input {folder}; give another name"
                )


def _identity(path: str | os.PathLike[str]) -> str | None:
    """What all names of a file have in common; the address of an object; None where there is no such file."""
    if isinstance(path, RemotePath) or (isinstance(path, str) and is_remote(path)):
        return str(path)
    found = file_id(path)
    return None if found is None else f"{found[0]}:{found[1]}"
