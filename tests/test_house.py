"""The structure of the package: which way imports run, where foreign libraries live, and how large functions grow."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "detkit"
# From the ground up. A module imports from its own floor or from those below; ARCHITECTURE.md draws them.
FLOORS = (
    ("errors",),
    ("remote", "files", "stores", "hashes", "array_files", "locks", "settings", "cores", "compiled"),
    ("boxes", "ordering", "picture_names", "spelling"),
    ("picture_files", "shapes"),
    ("classes", "guard", "images", "large_images", "videos", "streams", "detections", "dataset", "tracks"),
    ("nms", "nms_kernels", "pyramid", "drawing", "drawing_tracks", "label_maps"),
    ("annotations", "metrics", "tracking"),
    ("graphs",),
    ("proposals",),
    ("detectors",),
    ("inside",),
    ("training",),
    ("runs", "report"),
    ("cli", "__main__"),
)
LEVEL = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
# Rooms of one floor that do not know each other.
STRANGERS = {("annotations", "metrics"), ("metrics", "annotations"), ("report", "runs"), ("runs", "report")}
# Libraries, and the only places that import them.
HOMES = {
    "typer": ("cli/",),
    "rich": ("cli/",),
    "onnxruntime": ("graphs/session.py", "graphs/quantization.py"),
    "torch": ("training/",),
    "numba": ("compiled.py",),
    "obstore": ("stores.py",),
    "av": ("runs/film.py",),
    "ray": ("runs/ray_engine.py",),
}


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if "bundled" not in path.parts)


def place(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, module) of everything that a module imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = path.relative_to(PACKAGE.parent).with_suffix("").parts[: -node.level] if node.level else ()
            yield node.lineno, ".".join((*parents, node.module or "")).strip(".")


@pytest.mark.parametrize("path", [path for path in modules() if room(path) != "__init__"], ids=place)
def test_imports_run_downward(path):
    own = room(path)
    for line, module in imports(path):
        if not module.startswith("detkit."):
            continue
        other = module.split(".")[1]
        where = f"{place(path)}, line {line}: imports {module}"
        assert LEVEL[other] <= LEVEL[own], f"{where}, which lies above it"
        assert (own, other) not in STRANGERS, f"{where}; the two do not know each other"


def test_trainings_of_two_families_share_only_what_lies_between_them():
    """The families of `training/` do not know each other; `training/torch`, which all use, knows none of them."""
    families = {
        "yolo": {"rcnn", "motion", "segment"},
        "rcnn": {"yolo", "motion", "segment"},
        "motion": {"yolo", "rcnn", "segment"},
        "segment": {"yolo", "rcnn", "motion"},
        "torch": {"yolo", "rcnn", "motion", "segment"},
    }
    seen = 0
    for own, others in families.items():
        for path in (PACKAGE / "training" / own).glob("*.py"):
            for line, module in imports(path):
                if module.startswith("detkit.training."):
                    seen += 1
                    assert module.split(".")[2] not in others, f"{place(path)}, line {line}: imports {module}"
    assert seen


def test_every_room_has_a_floor():
    assert {room(path) for path in modules()} - {"__init__"} <= LEVEL.keys()


@pytest.mark.parametrize("library", HOMES)
def test_foreign_libraries_live_in_one_place(library):
    users = {place(path) for path in modules() for _, module in imports(path) if module.split(".")[0] == library}
    assert users
    assert {user for user in users if not user.startswith(HOMES[library])} == set()


def test_no_two_modules_share_a_name():
    counts = Counter(path.name for path in modules() if path.name not in ("__init__.py", "__main__.py"))
    assert [name for name, count in counts.items() if count > 1] == []
    assert "utils.py" not in counts


def test_functions_take_at_most_eight_parameters():
    """Outside of commands, whose parameters are their options, and of compiled loops."""
    long = []
    for path in modules():
        if place(path).startswith("cli/") or "kernels" in path.name:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                names = [arg.arg for arg in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
                if len([name for name in names if name not in ("self", "cls")]) > 8:
                    long.append(f"{place(path)}: {node.name}")
    assert long == []


def test_people_are_told_in_one_place():
    """`show` and `say` keep what names hold from the terminal; `models path` prints for programs."""
    told = set()
    for path in modules():
        if place(path) in ("cli/console.py", "__main__.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            called = node.func if isinstance(node, ast.Call) else None
            plain = isinstance(called, ast.Name) and called.id == "print"
            if plain or (isinstance(called, ast.Attribute) and called.attr in ("echo", "secho")):
                told.add(place(path))
    # Those under training/ are commands of their own, for whoever builds the bundled networks.
    assert {name for name in told if not name.startswith("training/")} == {"cli/__init__.py", "cli/models.py"}
