"""What a format of annotation files is, and what its reader is asked for.

The rows are in `detkit.annotations.formats`; this module and that table import no reader and no array, so that the
command line can list the formats for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from detkit.errors import InputError, OutputError

if TYPE_CHECKING:
    from detkit.annotations.building import Contents
    from detkit.annotations.problems import Problems
    from detkit.annotations.sizes import Sizes
    from detkit.dataset import GroundTruth, Predictions

FLAGS = ("crowd", "difficult", "ignore", "truncated", "occluded")
# What of shapes: outlines ("polygons"), of several rings ("parts"), masks, those that share pixels ("shared pixels"),
# key points with their names ("skeletons"), the corners of turned boxes, and boxes that are not those around these.
SHAPES = ("own boxes", "polygons", "parts", "masks", "shared pixels", "keypoints", "skeletons", "corners")
# What a format may hold beside boxes, class names and file names. A few hold the `scores` of a draft, too, where they
# do not make a detection of it.
ALL = frozenset((
    *FLAGS, *SHAPES,
    "area", "image ids", "category ids", "box ids", "sizes", "images without boxes", "classes without boxes",
    "negative sizes", "boxes beyond the image", "equal class names", "empty class names",
))  # fmt: skip


@dataclass(frozen=True)
class Signs:
    """How the content of a file shows its format; names of columns and tags in lower case.

    paths    keys of a JSON object, of its objects and their objects, with points between ("images.detections"), any
             of which is enough, whatever else is there; "*" is any key
    keys     the same, where no format is shown by `paths`; the first that the file has counts
    late     the same, where no format is shown by `keys`
    items    paths in the objects of a JSON list
    bare     the same, where no format is shown by `items`
    empty    whether an empty JSON list is this format
    tags     names of the root element of XML
    columns  sets of columns of a CSV header, one of which must be there in full
    lines    keys of YAML, one of which stands at the beginning of a line
    line     the rank, from 1, among the formats whose module tells their lines (`is_line`); 0 for the others
    """

    paths: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    late: tuple[str, ...] = ()
    items: tuple[str, ...] = ()
    bare: tuple[str, ...] = ()
    empty: bool = False
    tags: tuple[str, ...] = ()
    columns: tuple[frozenset[str], ...] = ()
    lines: tuple[str, ...] = ()
    line: int = 0

    @property
    def tells(self) -> bool:
        """Whether a file shows the format at all; one that does not is read where it is named."""
        return self != Signs()


@dataclass(frozen=True)
class Format:
    """A format of annotations and detections: one row of a table, and one module.

    The module has `read(request) -> Contents` (or `Predictions`, where it finds the rows of the ground truth itself)
    and `write(ground_truth, form) -> (relative path, content) of each file`, where `form` is the row and the path of a
    format of one file is "". It may have `class_name(name)`, how a class name comes back from a file;
    `losses(ground_truth)`, sentences beyond those of the table; and `is_line(line)`, whether a line of text is one of
    its; and `rules(ground_truth, path)`, sentences for `eval`.

    name       as in `--to` and `--gt-format`
    title      for people
    module     where its reader and writer are
    ending     of its files
    signs      how a file of it is recognised
    folder     whether it is a folder of files, one a picture
    one_file   whether one file of a folder format is read by itself
    inner      the folder that is read in place of the one that was named, where it is there
    holds      what it keeps, of `ALL`
    class_ids  "own": its files give classes ids, and images too; "labels": they give names beside labels; "places":
               they number the names of a list from 0; "": none, or where the file says so
    ignored    what a box flagged `ignore` is: a region of its class; of "every class" (KITTI); or a flag that the
               format's own evaluation does not read ("unread")
    instead    names of the formats that hold what it does not, by "masks", "keypoints" and "corners"
    beside     whether a folder of further files belongs to its one file, called as the file is without its ending
    of_shapes  whether it holds shapes alone, and no box without one
    renamed    what happens to class names that it cannot hold; {changed} is how many and the first
    pictures   where a folder of it is written: that of the pictures, seen from there, where it is known
    """

    name: str
    title: str
    module: str
    ending: str
    signs: Signs
    folder: bool = False
    one_file: bool = False
    inner: str = ""
    holds: frozenset[str] = ALL
    class_ids: Literal["", "own", "labels", "places"] = ""
    ignored: Literal["own class", "every class", "unread"] = "own class"
    renamed: str = ""
    instead: tuple[tuple[str, str], ...] = ()
    of_shapes: bool = False
    beside: bool = False
    pictures: str = ""

    def read(self, request: Request) -> Contents | Predictions:
        """What the file or folder holds. InputError, one line, where it cannot be read."""
        from detkit.dataset import Predictions

        if self.folder and not self.one_file and not request.path.is_dir():
            raise self.needs_folder(request.path)
        result: Contents | Predictions = self._part("read")(replace(request, form=self))
        return result if isinstance(result, Predictions) else result.with_source(self.name)

    def write(self, ground_truth: GroundTruth) -> Iterable[tuple[str, bytes]]:
        """(relative path, content) of each file."""
        files: Iterable[tuple[str, bytes]] = self._part("write")(ground_truth, self)
        return files

    def class_name(self, name: str) -> str:
        """A class name as it comes back from a file; "" where its boxes would be lost."""
        return str(self._part("class_name", str)(name))

    def losses(self, ground_truth: GroundTruth) -> list[str]:
        """What it cannot hold and the table cannot say, one sentence each."""
        return list(self._part("losses", lambda _: [])(ground_truth))

    def rules(self, ground_truth: GroundTruth, path: Path) -> list[str]:
        """Rules of evaluation that come with the format and are not followed, one sentence each."""
        return list(self._part("rules", lambda *_: [])(ground_truth, path))

    def is_line(self, line: str) -> bool:
        """Whether a line of text is one of its."""
        return bool(self._part("is_line")(line))

    def needs_folder(self, path: Path) -> InputError:
        """The error for one file of a format that is read from a folder."""
        return InputError(f"{path}: {self.title} is read from a folder with one file for every image")

    def needs_sizes(self, path: Path, more: str = "") -> InputError:
        """The error for a file whose boxes are shares of images of unknown size."""
        return InputError(
            f"{path}: {self.title} is relative to the image; name the folder of its images or a CSV file of their "
            f"sizes (--images){more}"
        )

    def size_unknown(self, file: str) -> OutputError:
        """The error for an image whose size is not known and that is to be written in shares of it."""
        return OutputError(
            f"{self.title} is relative to the image, and the size of '{file}' is not known; "
            "name the folder of the images (--images)"
        )

    def _part(self, name: str, default: Callable[..., Any] | None = None) -> Callable[..., Any]:
        module = import_module(self.module)
        part: Callable[..., Any] = getattr(module, name) if default is None else getattr(module, name, default)
        return part


# What tables that were made by hand, and no file, are taken for.
BY_HAND = Format("", "a table", "", "", Signs())


@dataclass(frozen=True)
class Request:
    """What is to be read, and what is known beside the file.

    path      a file or a folder
    problems  collects what is odd
    names     of classes 0, 1, 2 ..., or a file that holds them
    images    a folder of pictures or a table of sizes
    target    the ground truth, where detections are read
    match     how image ids of results find the ground truth's: "id", "name" (file names and numbers in them), "auto"
    part      the split of a data set that is asked for ("data.yaml#train"); "" for the usual one
    form      the row of the format that reads it
    shapes    what is wanted beside boxes, a column of `Shapes`; "" for nothing
    """

    path: Path
    problems: Problems
    names: Path | tuple[str, ...] | None = None
    images: Path | None = None
    target: GroundTruth | None = None
    match: str = "auto"
    part: str = ""
    form: Format = BY_HAND
    shapes: str = ""

    @cached_property
    def data(self) -> bytes:
        """The whole text, unpacked and as UTF-8."""
        from detkit.annotations.text_files import read_bytes

        return read_bytes(self.path)

    @cached_property
    def sizes(self) -> Sizes | None:
        """The sizes of the images: those of the ground truth, then those of `images`; None where there are neither."""
        from detkit.annotations.sizes import Sizes

        named = None if self.images is None else Sizes.read(self.images)
        return named if self.target is None else Sizes(self.target.images).and_then(named)

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """The class names that were given; () where none were."""
        if isinstance(self.names, Path):
            from detkit.annotations.name_files import read_names

            return read_names(self.names)
        return self.names or ()

    @cached_property
    def default_names(self) -> tuple[str, ...]:
        """The names of classes 0, 1, 2 ... where the file has none: what was given, else the ground truth's."""
        return self.class_names or self.names_of_target

    @cached_property
    def names_of_target(self) -> tuple[str, ...]:
        """The classes of the ground truth in the order of their ids, which classes 0, 1, 2 ... then mean.

        Those of a format that numbers a list have these numbers themselves, and mean no other class after a gap.
        """
        if self.target is None:
            return ()
        from detkit.annotations.formats import format_of

        table = self.target.categories
        order = sorted(range(len(table)), key=lambda k: (isinstance(table.ids[k], str), table.ids[k]))
        if format_of(self.target.source).class_ids == "places":
            order = [row for number, row in enumerate(order) if table.ids[row] == number]
        return tuple(table.names[k] for k in order)
