"""What keeps outputs from replacing inputs."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from detkit.errors import UsageError
from detkit.files import FileId, file_id
from detkit.picture_names import is_picture


class Guard:
    """The inputs of a command, files and folders by whatever name; `spare` refuses to write over them."""

    def __init__(self, *inputs: str | os.PathLike[str] | None) -> None:
        self._files: set[FileId] = set()
        self._folders: list[Path] = []
        self.add(inputs)

    def add(self, inputs: Iterable[str | os.PathLike[str] | None]) -> None:
        """More inputs; None, and what is not there, stands for none."""
        for path in inputs:
            found = None if path is None else file_id(path)
            if path is None or found is None:
                continue
            self._files.add(found)
            if os.path.isdir(path):
                self._folders.append(Path(path))

    def spare(self, option: str, target: Path) -> None:
        """UsageError where `target` is one of the inputs, or a label file or picture that lies in a folder of them."""
        found = file_id(target)
        if found is None:
            return
        if found in self._files:
            raise UsageError(f"{option} would overwrite the input {target}; give another name")
        if not os.path.isfile(target) or not (target.suffix.lower() in (".txt", ".xml") or is_picture(target.name)):
            return
        for folder in self._folders:
            if target.resolve().is_relative_to(folder.resolve()):
                raise UsageError(
                    f"{option} would overwrite {target}, which lies in the input {folder}; give another name"
                )
