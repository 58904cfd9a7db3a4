"""Networks by name: those that come with detkit, and published ones that `detkit models pull` fetches.

The registry is models/registry.json. Bundled files lie beside it; pulled ones in the user's cache, or in the folder
that the variable DETKIT_HOME names. DETKIT_MIRROR replaces the scheme and host of every download, for places that
reach no release page. Only https is fetched, and http from this machine itself.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlparse

import orjson

from detkit.errors import InputError, ModelError, OutputError
from detkit.files import cache_home, reason, sha256
from detkit.graphs.checksums import has_checksum
from detkit.locks import locked

_CHUNK = 1 << 18
_TIMEOUT = 30.0
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
# Heads that `detkit yolo` does not decode: of a network that names whole pictures, and of a HOG detector.
CLASSIFIER = "classifier"
HOG = "hog"
# Of networks that give a class for every pixel; what their metadata call it.
SEMANTIC = "semantic"
SEMANTIC_TASKS = (SEMANTIC, "semantic-segmentation", "semantic segmentation", "image-segmentation")
# Of networks whose parts `detkit rcnn` runs one after the other; in their metadata `head`.
RUN_IN_PARTS = ("fast-rcnn", "faster-rcnn")
# What a model with such a head is, and what runs it.
_OTHERS = {
    CLASSIFIER: ("a classifier, which finds nothing by itself", "slide --model"),
    HOG: ("a HOG detector", "hog-detect --model"),
    SEMANTIC: ("a semantic network, which gives a class for every pixel and no boxes", "segment --model"),
    "rcnn": ("an R-CNN", "rcnn --model"),
    "fast-rcnn": ("a Fast R-CNN that runs in parts", "rcnn --variant fast --model"),
    "faster-rcnn": ("a Faster R-CNN that runs in parts", "rcnn --variant faster --model"),
}
# Commands that run one head alone.
_OWN_HEADS = {"slide": CLASSIFIER, "segment": SEMANTIC}
# bytes done, bytes in all (None where the server does not say)
Progress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Entry:
    """A model of the registry. `url` is "" for a bundled one, `size` None where its bytes are not known.

    input   the side of the network's input in pixels, or width x height
    """

    name: str
    file: str
    url: str
    source: str
    size: int | None
    sha256: str
    licence: str
    head: str
    input: int | str
    note: str

    @property
    def path(self) -> Path:
        """Where the file is, or will be once it is pulled."""
        return (models_folder() if not self.url else cache_folder()) / self.file

    @property
    def present(self) -> bool:
        return os.path.isfile(self.path)


@lru_cache(maxsize=1)
def models_folder() -> Path:
    """The folder of the bundled networks: inside an installed package, or at the top of a checkout."""
    package = Path(__file__).parent.parent
    installed = package / "bundled"
    return installed if installed.is_dir() else package.parent / "models"


def hog_models() -> dict[str, Path]:
    """The bundled models of `detkit hog-detect`, which are no networks, by name."""
    return {entry.name: entry.path for entry in registry().values() if entry.head == HOG}


def cache_folder() -> Path:
    """The folder of the pulled networks."""
    home = os.environ.get("DETKIT_HOME")
    if home:
        return Path(home)
    return cache_home() / "models"


@lru_cache(maxsize=1)
def registry() -> dict[str, Entry]:
    """All networks by name."""
    entries = {}
    for item in _registry_file()["models"]:
        url = item.get("url", "")
        entries[item["name"]] = Entry(
            name=item["name"],
            file=item.get("file") or Path(urlparse(url).path).name,
            url=url,
            source=item["source"],
            size=item.get("bytes"),
            sha256=item["sha256"],
            licence=item["licence"],
            head=item["head"],
            input=item["input"],
            note=item.get("note", ""),
        )
    return entries


def default_model(command: str) -> Entry | None:
    """The network that a command uses when none is named: the registry's, else a bundled one that it alone runs."""
    name = _registry_file()["defaults"].get(command)
    if name:
        return registry().get(name)
    return next((one for one in registry().values() if not one.url and one.head == _OWN_HEADS.get(command)), None)


def resolve(model: str | os.PathLike[str] | None, command: str | None = None) -> Path:
    """The file of a name or path; None stands for the default of `command`.

    ModelError where there is no such file, or where its name or suffix tells that `command` does not run it.
    """
    if model is None:
        entry = default_model(command or "")
        if entry is None:
            kind = command if command in _OWN_HEADS else "yolo"
            names = ", ".join(entry.name for entry in registry().values() if _runs(kind, entry.head))
            pulled = f" or one of {names} after `detkit models pull NAME`" if names else ""
            raise ModelError(f"detkit {command} has no bundled network: name one with --model, an .onnx file{pulled}")
    else:
        path = Path(model)
        if os.path.isfile(path) or path.suffix == ".onnx" or (len(path.parts) > 1 and not os.path.isdir(path)):
            if path.suffix == ".npz" and command not in (None, "rcnn"):
                raise ModelError(f"{path}: is no network: detkit rcnn --model or detkit hog-detect --model reads it")
            return path
        if os.path.isdir(path) and str(model) not in registry():
            raise ModelError(f"{path}: is a folder; name the model's file in it")
        entry = named(str(model))
        if not _runs(command, entry.head):
            raise other_command(entry.name, entry.head)
    if not entry.present:
        raise ModelError(f"{entry.name} is not on this machine yet: detkit models pull {entry.name}")
    if entry.url and not _right(entry):
        raise ModelError(
            f"{entry.path}: has other bytes than the registry says: detkit models pull {entry.name} fetches it again"
        )
    return entry.path


def _runs(command: str | None, head: str) -> bool:
    """Whether a command may run a model with such a head, by its name alone."""
    return head not in _OTHERS if command == "yolo" else head == _OWN_HEADS.get(command or "", head)


def other_command(model: object, head: str) -> ModelError:
    """The error where a model is given to a command that does not run its head: it names the one that does."""
    what, command = _OTHERS.get(head, (f"a detector, {head}", "yolo --model"))
    return ModelError(f"{model}: is {what}; use detkit {command} {model}")


def named(name: str) -> Entry:
    """The entry of a name. ModelError proposes the nearest names."""
    entries = registry()
    if name not in entries:
        near = difflib.get_close_matches(name, entries, n=3) or list(entries)
        raise ModelError(f"no model {name!r}: neither a file nor a name of the registry (is it {', '.join(near)}?)")
    return entries[name]


def pull(entry: Entry, progress: Progress | None = None) -> Path:
    """Fetch a network, unless it is there, and check its size and hash; a broken-off download is taken up again.

    ModelError where the server fails, or the bytes are not those of the registry: these are then not kept.
    """
    if not entry.url:
        if entry.present:
            return entry.path
        raise ModelError(f"{entry.name} is bundled, but {entry.path} is missing: install detkit again")
    target = entry.path
    part = target.with_name(f"{target.name}.{entry.sha256[:12]}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Processes that pull the same model take turns: one downloads, the others find it done.
        with locked(target):
            if not (entry.present and has_checksum(target, entry.sha256)):
                with open(part, "ab") as file:
                    _download(entry, file, progress)
                _check(entry, part)
                os.replace(part, target)
                has_checksum(target, entry.sha256)  # remembers it
    except OSError as error:
        raise OutputError(f"cannot write {part}: {reason(error)}") from error
    return target


def _right(entry: Entry) -> bool:
    """Whether a pulled file has its checksum. ModelError where it cannot be read."""
    try:
        return has_checksum(entry.path, entry.sha256)
    except OSError as error:
        raise ModelError(f"{entry.path}: cannot be read: {reason(error)}") from error
    except InputError as error:
        raise ModelError(str(error)) from error


def mirrored(url: str) -> str:
    """`url` at the mirror of DETKIT_MIRROR, where that is set: its scheme, host and path prefix replace the host."""
    mirror = os.environ.get("DETKIT_MIRROR", "").rstrip("/")
    return mirror + urlparse(url).path if mirror else url


def _download(entry: Entry, file: IO[bytes], progress: Progress | None) -> None:
    # The HTTP client takes longer to import than the rest of this module; only a download needs it.
    import urllib.error
    import urllib.request
    from http.client import HTTPException

    class HttpsOnly(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
            _refuse_plain_http(newurl)
            return super().redirect_request(req, fp, code, msg, headers, newurl)

    url = mirrored(entry.url)
    _refuse_plain_http(url)
    done = file.tell()
    if entry.size is not None and done >= entry.size:
        return  # complete, or too long: the check tells
    request = urllib.request.Request(url, headers={"User-Agent": "detkit"})
    if done:
        request.add_header("Range", f"bytes={done}-")
    try:
        with urllib.request.build_opener(HttpsOnly).open(request, timeout=_TIMEOUT) as response:
            if done and response.status != 206:
                file.truncate(0)  # the server sends the whole file again
                done = 0
            length = response.headers.get("Content-Length", "")
            total = done + int(length) if length.isdecimal() else entry.size
            while chunk := response.read(_CHUNK):
                done += len(chunk)
                if entry.size is not None and done > entry.size:
                    raise ModelError(f"{url}: sends more than the {entry.size} bytes of the registry: not kept")
                file.write(chunk)
                if progress is not None:
                    progress(done, total)
    except urllib.error.HTTPError as error:
        if error.code == 416:
            return  # nothing left to send: the check tells whether the file is whole
        raise ModelError(f"{url}: the server answers {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise ModelError(f"{url}: cannot be reached: {error.reason}") from error
    except (HTTPException, TimeoutError, ConnectionError) as error:
        raise ModelError(
            f"{url}: the download broke off after {done} bytes ({type(error).__name__}); run it again to go on"
        ) from error


def _check(entry: Entry, part: Path) -> None:
    size = part.stat().st_size
    if entry.size is not None and size < entry.size:
        raise ModelError(f"{entry.name}: the download broke off at {size} of {entry.size} bytes; run it again to go on")
    found = sha256(part)
    if found != entry.sha256:
        part.unlink()
        raise ModelError(f"{entry.name}: the file has SHA-256 {found}, the registry says {entry.sha256}: not kept")


def _refuse_plain_http(url: str) -> None:
    parts = urlparse(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise ModelError(f"{url}: refused: models are fetched over https only")


@lru_cache(maxsize=1)
def _registry_file() -> Any:
    path = models_folder() / "registry.json"
    try:
        return orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise InputError(f"{path}: the registry of models cannot be read; install detkit again") from error
