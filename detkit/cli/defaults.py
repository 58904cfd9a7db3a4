"""Defaults of options: from a file of the project, or from the environment.

What is typed counts first, then `DETKIT_*` variables, then detkit.toml, then [tool.detkit] of pyproject.toml; of files
the nearest from the working folder upwards. A key is an option without its dashes and holds for all commands that have
it; in a table of a command's name it holds for that command:

    device = "cpu"                      DETKIT_DEVICE=cpu
    [yolo]
    conf = 0.4                          DETKIT_YOLO_CONF=0.4
    [train.yolo]
    minutes = 20                        DETKIT_TRAIN_YOLO_MINUTES=20

This module is loaded once a command is run, never for the list of commands.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detkit.errors import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_FILE, _PROJECT, _TABLE, _PREFIX = "detkit.toml", "pyproject.toml", ("tool", "detkit"), "DETKIT_"
# Variables of this prefix that are no options.
_OWN = frozenset(("DETKIT_HOME", "DETKIT_MIRROR"))
_NO_DEFAULTS = frozenset(("help", "version"))


@dataclass(frozen=True)
class Default:
    """The value of an option, and where it is from, for people."""

    option: str
    value: Any
    origin: str


def options_of(command: Any) -> dict[str, Any]:
    """The options of a command by their names without dashes: "max-det", "class"."""
    return {
        name.removeprefix("--"): option
        for option in command.params
        for name in (*option.opts, *option.secondary_opts)
        if name.startswith("--") and name.removeprefix("--") not in _NO_DEFAULTS
    }


def defaults_of(path: tuple[str, ...], command: Any, elsewhere: Callable[[], Iterable[Any]]) -> dict[str, Default]:
    """The defaults of a command, by the names of its parameters.

    path        its name, and before it that of the group that it is in: ("train", "yolo")
    elsewhere   gives all other commands, whose options are no mistakes: it is asked only where one is not this one's

    UsageError, with what may have been meant, for keys that are no options, and for files that are no TOML.
    """
    own = options_of(command)
    found: dict[str, Default] = {}
    for origin, table in _tables():
        for key, value in _for(path, table, origin, own, elsewhere):
            found[own[key].name] = Default(key, _plain(value, own[key], origin), origin)
    for key, variable in _variables(path, own, elsewhere):
        found[own[key].name] = Default(key, _plain(os.environ[variable], own[key], variable), variable)
    return found


def _tables() -> list[tuple[str, Mapping[str, Any]]]:
    """(where, table) of the files of the nearest folder that has any, the weaker first."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        tables: list[tuple[str, Mapping[str, Any]]] = []
        project = _read(folder / _PROJECT)
        for part in _TABLE:
            project = project.get(part) if isinstance(project, dict) else None
        if isinstance(project, dict):
            tables.append((f"{folder / _PROJECT} [tool.detkit]", project))
        own = _read(folder / _FILE)
        if own is not None:
            tables.append((str(folder / _FILE), own))
        if tables:
            return tables
    return []


def _read(path: Path) -> Any:
    """The content of a TOML file, None where there is none. UsageError where it is none, if it is our own."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError:
        return None
    except ValueError as error:
        if path.name == _PROJECT:  # whoever builds the project says what is wrong with it
            return None
        raise UsageError(f"{path}: is no TOML: {error}") from error


def _for(
    path: tuple[str, ...],
    table: Mapping[str, Any],
    origin: str,
    own: Mapping[str, Any],
    elsewhere: Callable[[], Iterable[Any]],
) -> Iterator[tuple[str, Any]]:
    """(option, value) of a file for a command: those of all commands, then those of its own table."""
    from detkit.cli import COMMANDS

    names = {row.name for row in COMMANDS}
    for key, value in table.items():
        if isinstance(value, dict):
            if key not in names:
                raise UsageError(f"{origin}: there is no command {key!r}{_meant(key, names)}")
        elif key in own:
            yield key, value
        else:
            _check(key, f"{origin}: ", own, elsewhere)
    inner: Any = table
    for name in path:
        inner = inner.get(name) if isinstance(inner, dict) else None
        if inner is None:
            return
        if not isinstance(inner, dict):
            raise UsageError(f"{origin}: {name} is a command: a table, not a value")
    for key, value in inner.items():
        if isinstance(value, dict):
            raise UsageError(f"{origin}: detkit {' '.join(path)} has no command {key!r}")
        if key not in own:
            raise UsageError(f"{origin}: detkit {' '.join(path)} has no option {key!r}{_meant(key, own)}")
        yield key, value


def _variables(
    path: tuple[str, ...], own: Mapping[str, Any], elsewhere: Callable[[], Iterable[Any]]
) -> Iterator[tuple[str, str]]:
    """(option, variable) of the environment, those of all commands first.

    A variable that is like no option is somebody else's, and left alone.
    """
    from detkit.cli import COMMANDS

    before = "".join(f"{name.replace('-', '_').upper()}_" for name in path)
    groups = tuple(f"{row.name.replace('-', '_').upper()}_" for row in COMMANDS)
    given = [name for name in os.environ if name.startswith(_PREFIX) and name not in _OWN]
    late = []
    for variable in sorted(given):
        key = variable.removeprefix(_PREFIX)
        whole = key.lower().replace("_", "-")
        special = key.removeprefix(before).lower().replace("_", "-") if key.startswith(before) else ""
        if special in own:
            late.append((special, variable))
        elif whole in own:
            yield whole, variable
        elif special:
            raise UsageError(f"{variable}: detkit {' '.join(path)} has no option {special!r}{_meant(special, own)}")
        elif not key.startswith(groups) and difflib.get_close_matches(whole, own, n=1, cutoff=0.75):
            _check(whole, f"{variable}: ", own, elsewhere)
    yield from late


def _check(key: str, where: str, own: Mapping[str, Any], elsewhere: Callable[[], Iterable[Any]]) -> None:
    """UsageError for an option that no command has."""
    every = set(own)
    for command in elsewhere():
        every |= options_of(command).keys()
    if key not in every:
        raise UsageError(f"{where}there is no option {key!r}{_meant(key, every)}")


def _meant(key: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(key, list(names), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


def _plain(value: Any, option: Any, origin: str) -> Any:
    """The value as the command line would give it: a text for one value, a list of texts for several."""
    if option.multiple:
        values = value.split(",") if isinstance(value, str) else value
        return [str(one) for one in values] if isinstance(values, list) else [str(values)]
    if isinstance(value, list | dict):
        raise UsageError(f"{origin}: {option.opts[0].removeprefix('--')} takes one value, not {value!r}")
    return value if isinstance(value, bool) else str(value)
