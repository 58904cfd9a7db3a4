"""`detkit models` and the registry; downloads come from a local HTTP server that misbehaves on purpose."""

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from detkit.classes import COCO_NAMES
from detkit.detectors.hog.hog_model import named_model
from detkit.detectors.yolo.heads import HEADS
from detkit.errors import ModelError, OutputError
from detkit.graphs import checksums
from detkit.graphs import registry as models
from detkit.graphs.registry import Entry, pull
from detkit.images import write_image

CONTENT = bytes(range(256)) * 4096  # 1 MiB


@pytest.fixture
def server():
    """A release page. Paths say how it behaves: /whole, /truncated, /corrupt, /redirect, /away, /missing, /long."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        requests: list = []  # noqa: RUF012 - one list a test

        def do_GET(self):
            kind = self.path.split("/")[1]
            Handler.requests.append((self.path, self.headers.get("Range")))
            if kind in ("redirect", "away"):
                self.send_response(302)
                self.send_header("Location", "/whole/m.onnx" if kind == "redirect" else "http://example.invalid/m.onnx")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if kind == "missing":
                self.send_error(404, "Not Found")
                return
            body = {"corrupt": bytes(len(CONTENT)), "long": CONTENT * 2}.get(kind, CONTENT)
            start = 0
            if self.headers.get("Range") and kind != "forgetful":
                start = int(self.headers["Range"][len("bytes=") : -1])
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            end = len(body) if kind != "truncated" or start else len(body) // 2
            self.wfile.write(body[start:end])
            if end < len(body):
                self.wfile.flush()
                self.close_connection = True
                self.connection.close()

        def log_message(self, *_):
            pass

    Handler.requests = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    server.requests = Handler.requests
    server.base = f"http://127.0.0.1:{server.server_port}"
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DETKIT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("DETKIT_MIRROR", raising=False)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"


def entry(server, kind, size=len(CONTENT)):
    digest = hashlib.sha256(CONTENT).hexdigest()
    return Entry("m", "m.onnx", f"{server.base}/{kind}/m.onnx", "", size, digest, "MIT", "yolox", 416, "")


@pytest.mark.parametrize("kind", ["whole", "redirect"])
@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_pull_keeps_what_has_the_right_hash(server, home, kind, size):
    seen = []
    path = pull(entry(server, kind, size), lambda done, total: seen.append((done, total)))
    assert path == home / "m.onnx"
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert {file.name for file in home.iterdir()} == {"m.onnx", ".m.onnx.verified", ".m.onnx.lock"}
    count = len(server.requests)
    assert pull(entry(server, kind, size)) == path
    assert len(server.requests) == count  # it is there: nothing is fetched


def test_a_broken_off_download_is_taken_up_where_it_stopped(server, home):
    wanted = entry(server, "truncated")
    with pytest.raises(ModelError, match="run it again to go on"):
        pull(wanted)
    assert not (home / "m.onnx").exists()
    assert pull(wanted).read_bytes() == CONTENT
    assert server.requests[-1][1] == f"bytes={len(CONTENT) // 2}-"


def test_a_server_that_cannot_resume_sends_all_again(server, home):
    wanted = entry(server, "forgetful")
    home.mkdir()
    (home / f"m.onnx.{wanted.sha256[:12]}.part").write_bytes(CONTENT[:1000])
    assert pull(wanted).read_bytes() == CONTENT


def test_wrong_bytes_are_not_kept(server, home):
    with pytest.raises(ModelError, match="SHA-256 .* the registry says .*: not kept"):
        pull(entry(server, "corrupt"))
    assert [file.name for file in home.iterdir()] == [".m.onnx.lock"]


def test_more_bytes_than_promised_are_not_kept(server):
    with pytest.raises(ModelError, match="sends more than"):
        pull(entry(server, "long"))


def test_two_pulls_at_once_keep_the_right_bytes(server, home):
    """Both append to one unfinished file, which was checked before the other wrote to it."""
    wanted = entry(server, "whole")
    errors = []

    def run():
        try:
            pull(wanted)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert (home / "m.onnx").read_bytes() == CONTENT
    assert len(server.requests) == 1
    assert {file.name for file in home.iterdir()} == {"m.onnx", ".m.onnx.verified", ".m.onnx.lock"}


def test_a_pulled_model_that_was_changed_is_refused_and_pulled_again(server, home, monkeypatch):
    wanted = entry(server, "whole")
    monkeypatch.setattr(models, "registry", lambda: {"m": wanted})
    path = pull(wanted)
    assert models.resolve("m", "yolo") == path
    path.write_bytes(bytes(len(CONTENT)))
    with pytest.raises(ModelError, match="other bytes than the registry says: detkit models pull m fetches it again"):
        models.resolve("m", "yolo")
    assert pull(wanted).read_bytes() == CONTENT
    assert models.resolve("m", "yolo") == path


def test_a_pulled_model_is_hashed_once(server, home, monkeypatch):
    path = pull(entry(server, "whole"))
    monkeypatch.setattr(checksums, "sha256_of", lambda path: pytest.fail("it was hashed again"))
    assert checksums.has_checksum(path, hashlib.sha256(CONTENT).hexdigest())


def test_the_registry_names_no_package_registrys_host():
    assert "pypi." not in (models.models_folder() / "registry.json").read_text()


def test_what_the_server_answers_is_said(server):
    with pytest.raises(ModelError, match="answers 404"):
        pull(entry(server, "missing"))


def test_plain_http_is_refused_even_behind_a_redirect(server):
    with pytest.raises(ModelError, match=r"example\.invalid.*https only"):
        pull(entry(server, "away"))
    plain = Entry("m", "m.onnx", "http://example.invalid/m.onnx", "", None, "0" * 64, "MIT", "yolox", 416, "")
    with pytest.raises(ModelError, match="https only"):
        pull(plain)


def test_no_server_at_all(server):
    wanted = entry(server, "whole")
    server.shutdown()
    server.server_close()
    with pytest.raises(ModelError, match="cannot be reached"):
        pull(wanted)


def test_a_mirror_replaces_the_host(server, monkeypatch):
    monkeypatch.setenv("DETKIT_MIRROR", server.base + "/whole/")
    elsewhere = entry(server, "whole")
    elsewhere = Entry(**{**elsewhere.__dict__, "url": "https://example.invalid/org/releases/m.onnx"})
    assert pull(elsewhere).read_bytes() == CONTENT
    assert server.requests[-1][0] == "/whole/org/releases/m.onnx"


def test_a_proxy_is_honoured(server, monkeypatch):
    monkeypatch.setenv("http_proxy", server.base)
    monkeypatch.setenv("no_proxy", "")
    wanted = Entry(**{**entry(server, "whole").__dict__, "url": "http://localhost:9/whole/m.onnx"})
    assert pull(wanted).read_bytes() == CONTENT  # from the proxy: no server listens on port 9
    assert server.requests[-1][0].startswith("http://localhost:9/")


def test_a_folder_that_cannot_be_written(server, home):
    home.write_text("a file where the folder should be")
    with pytest.raises(OutputError, match="cannot write"):
        pull(entry(server, "whole"))


def test_registry_is_whole():
    for name, item in models.registry().items():
        assert len(item.sha256) == 64, name
        assert item.url.startswith("https://") or item.path.is_file(), name
        assert item.licence, name
        assert item.head in (*HEADS, "classifier", "rcnn", "faster-rcnn", "hog", "semantic"), name


def test_bundled_files_have_their_checksum():
    for item in models.registry().values():
        if not item.url:
            assert hashlib.sha256(item.path.read_bytes()).hexdigest() == item.sha256
            assert item.path.stat().st_size == item.size


def test_names_and_files_are_resolved(tmp_path):
    assert models.resolve("some/where.onnx", "yolo").name == "where.onnx"
    with pytest.raises(ModelError, match="not on this machine yet: detkit models pull yolox-tiny"):
        models.resolve("yolox-tiny", "yolo")
    with pytest.raises(ModelError, match="is it yolox-nano"):
        models.resolve("yolox-nanno", "yolo")


def test_a_folder_hides_no_name(tmp_path, monkeypatch):
    (tmp_path / "yolo-lite0").mkdir()
    (tmp_path / "person").mkdir()
    monkeypatch.chdir(tmp_path)
    assert models.resolve("yolo-lite0", "yolo").is_file()
    assert named_model("person").name == "person"


def test_a_classifier_is_called_one(cli, tmp_path):
    file = models.models_folder() / "lenet5-digits.onnx"
    for model in ("lenet5-digits", file):
        shown = cli("models", "info", model, "--json")
        assert json.loads(shown.stdout)["head"] == "classifier", shown.stderr
        refused = cli("yolo", tmp_path, "-m", model)
        assert refused.returncode == 3
        assert "is a classifier" in refused.stderr
        assert "use detkit slide" in refused.stderr
    with pytest.raises(ModelError, match="has no bundled network") as error:
        models.resolve(None, "nothing")
    assert "yolox-nano" in str(error.value)
    assert "lenet5" not in str(error.value)


@pytest.mark.parametrize(
    ("command", "model", "right"),
    [
        (("yolo",), "person", "is a HOG detector; use detkit hog-detect --model person"),
        (("yolo",), "rcnn-lite0", "is an R-CNN; use detkit rcnn --model rcnn-lite0"),
        (("yolo",), "models/rcnn-lite0.npz", "detkit rcnn --model or detkit hog-detect --model reads it"),
        (("yolo",), "models/faster-rcnn-lite0.onnx", "use detkit rcnn --variant faster --model"),
        (("yolo",), "models", "models: is a folder"),
        (("slide",), "yolox-nano", "use detkit yolo --model yolox-nano"),
        (("slide",), "./models", "models: is a folder"),
        (("rcnn",), "lenet5-digits", "use detkit slide --model"),
        (("rcnn",), "person", "is not an R-CNN"),
        (("hog-detect",), "yolo-lite0", "use detkit yolo --model yolo-lite0"),
        (("bench",), "rcnn-lite0", "use detkit rcnn --model rcnn-lite0"),
    ],
)
def test_a_model_of_another_command_is_sent_there(cli, tmp_path, command, model, right):
    write_image(tmp_path / "a.png", np.zeros((40, 40, 3), np.uint8))
    arguments = [model] if command == ("bench",) else [tmp_path / "a.png", "-m", model]
    done = cli(*command, *arguments, cwd=models.models_folder().parent)
    assert done.returncode == 3, done.stderr
    assert right in " ".join(done.stderr.split())


def test_hog_models_are_models(cli, tmp_path):
    for name, file in models.hog_models().items():
        assert cli("models", "path", name).stdout == f"{file}\n"
        fields = json.loads(cli("models", "info", name, "--json").stdout)
        assert (fields["head"], fields["window"], fields["classes"]) == ("hog", "64 x 128", ["person"])
        assert fields["bytes"] == file.stat().st_size
    broken = tmp_path / "broken.npz"
    broken.write_bytes(models.hog_models()["person"].read_bytes()[:5000])
    done = cli("models", "info", broken)
    assert (done.returncode, done.stdout) == (3, "")
    assert "neither an R-CNN nor a HOG detector" in done.stderr


def test_json_names_all_classes_and_people_see_ten(cli):
    fields = json.loads(cli("models", "info", "yolo-lite0", "--json").stdout)
    assert fields["classes"] == list(COCO_NAMES)
    assert "toothbrush" in fields["metadata"]["names"]
    shown = cli("models", "info", "yolo-lite0").stdout
    assert "traffic light, ... (80)" in shown
    assert "toothbrush" not in shown


def test_the_path_of_no_file(cli, tmp_path):
    done = cli("models", "path", tmp_path / "nosuch.onnx")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == f"detkit: {tmp_path / 'nosuch.onnx'}: no such model file\n"


def test_commands(cli, shared, home):
    listed = cli("models", "list")
    assert listed.returncode == 0
    assert "yolox-nano" in listed.stdout
    assert re.search(r"person +hog +64x128 .* hog-detect", listed.stdout)
    shown = cli("models", "info", shared / "models" / "yolox_nano.onnx")
    assert "not decoded" in shown.stdout
    classifier = cli("models", "info", "lenet5-digits", "--json")
    assert json.loads(classifier.stdout)["inputs"], classifier.stderr
    assert cli("models", "path", "yolox-nano").returncode == 3
    assert cli("models", "pull", "nothing").returncode == 3
