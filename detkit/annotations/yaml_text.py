"""YAML as data set files use it, all scalars as text: class `no` and id `010` stay what was written."""

from __future__ import annotations

from typing import Any

from detkit.errors import InputError

# Aliases that expand into each other may write out billions of values in a few lines.
_MOST_VALUES = 1_000_000


def read_yaml(where: object, text: str) -> dict[str, Any]:
    """The map that a YAML text is: values are text, lists, maps, and None for
    what is left empty. InputError, with the line, where it is none."""
    import yaml  # here, as it costs 20 ms and few files are YAML

    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    try:
        root = yaml.compose(text, Loader=loader)
        if not isinstance(root, yaml.MappingNode):
            raise InputError(f"{where}: is not a map of keys and values, as YAML of a data set is")
        value = _Values(where, yaml).of(root)
        assert isinstance(value, dict)
        return value
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        place = f" at line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
        raise InputError(f"{where}: is not valid YAML{place}: {problem}") from error
    except RecursionError as error:
        raise InputError(f"{where}: is YAML of too many levels") from error


class _Values:
    """Makes text, lists and maps of nodes."""

    def __init__(self, where: object, yaml: Any) -> None:
        self.where, self.yaml = where, yaml
        self.count = 0

    def of(self, node: Any) -> Any:
        self.count += 1
        if self.count > _MOST_VALUES:
            raise InputError(f"{self.where}: is YAML of more than {_MOST_VALUES} values")
        if isinstance(node, self.yaml.SequenceNode):
            return [self.of(item) for item in node.value]
        if isinstance(node, self.yaml.MappingNode):
            values: dict[str, Any] = {}
            for key, value in node.value:
                name = key.value if isinstance(key.value, str) else str(self.of(key))
                if name in values:
                    line = key.start_mark.line + 1
                    raise InputError(f"{self.where}: line {line} gives the key '{name}' a second time")
                values[name] = self.of(value)
            return values
        return None if node.value == "" and node.style in (None, "") else node.value
