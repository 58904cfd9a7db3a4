"""Pictures in stores and results into them: a server on this machine that speaks S3, and one that only gives files."""

import functools
import http.server
import threading

import cv2
import numpy as np
import orjson
import pytest

from detkit import stores
from detkit.errors import InputError, OutputError, StoreError, UsageError
from detkit.files import read_file, write_atomically, write_bytes
from detkit.images import read_image
from detkit.remote import RemotePath, place
from detkit.runs.run import Output, run
from detkit.runs.sources import find_items

pytest.importorskip("obstore", reason="needs the extra store")


@pytest.fixture
def photos(tmp_path):
    """A folder of six small pictures, one of them broken, among what is no picture."""
    chance = np.random.default_rng(5)
    for name in ("b.jpg", "a/one.png", "a.jpg", "a/deep/two.jpg", "z/ü x%20#.jpg"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(path.suffix, chance.integers(0, 255, (90, 120, 3), np.uint8))[1].tobytes())
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"no picture")
    for name in ("notes.txt", ".hidden.jpg", "a/.d/x.jpg"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path / "photos"


def names(*sources):
    complaints = []
    items = find_items([str(source) for source in sources], lambda *what: complaints.append(what))
    return [item.name for item in items], complaints


def test_a_prefix_is_listed_as_a_folder_is(s3, photos):
    s3.put_folder(photos, "own/photos")
    s3.put("own/photos2/c.jpg", b"x")
    expected = names(photos)
    assert expected[1] == []
    assert names("s3://pictures/own/photos") == expected
    assert names("s3://pictures/own/photos/") == expected
    assert names("s3://pictures/own/photos/a.jpg")[0] == ["a.jpg"]
    assert names("s3://pictures/own/photos/a", "s3://pictures/own/photos/a.jpg")[0] == [
        "one.png",
        "deep/two.jpg",
        "a.jpg",
    ]
    assert names("s3://pictures/none") == ([], [("s3://pictures/none", "no pictures are under the prefix")])


def test_lists_in_and_of_a_store(s3, tmp_path):
    for key in ("p/a/one.jpg", "p/b/one.jpg", "p/b/two.jpg"):
        s3.put(key, b"x")
    s3.put("p/list.txt", b"b/one.jpg\n\na/one.jpg\r\ns3://pictures/p/b/two.jpg\n")
    assert names("@s3://pictures/p/list.txt")[0] == ["b/one.jpg", "a/one.jpg", "two.jpg"]
    s3.put("p/b/other.txt", b"../a/one.jpg\n./two.jpg\n/p/b/one.jpg\ns3://pictures/p/../x.jpg\n")
    found, complaints = names("@s3://pictures/p/b/other.txt")
    assert found == ["a/one.jpg", "b/two.jpg", "b/one.jpg"]  # none leads out of the folder of an output
    assert complaints == [("s3://pictures/p/../x.jpg", "is no address of an object: a part of it is empty, . or ..")]
    local = tmp_path / "list.txt"
    local.write_text("s3://pictures/p/a/one.jpg\ns3://pictures/p/b/one.jpg\ns3://pictures/p/a/one.jpg\n")
    assert names(f"@{local}")[0] == ["a/one.jpg", "b/one.jpg"]  # each once, told apart by their folders
    (found, complaints) = names("@s3://pictures/none.txt")
    assert (found, complaints) == ([], [("@s3://pictures/none.txt", "the list cannot be read: is not there")])


@pytest.mark.parametrize(
    ("options", "out"),
    [((), "o/found.json"), (("-f", "yolo"), "labels")],
)
def test_a_store_gives_and_takes_what_a_folder_does(s3, cli, photos, tmp_path, options, out):
    s3.put_folder(photos, "photos")
    more = ("--conf", "0.05", *options)
    local = cli("yolo", photos, *more, "-o", tmp_path / out, "--draw", tmp_path / "drawn", "--crops", tmp_path / "cut")
    remote = cli(
        "yolo", "s3://pictures/photos", *more, "-o", f"s3://pictures/{out}",
        "--draw", "s3://pictures/drawn", "--crops", "s3://pictures/cut", env={"XDG_CACHE_HOME": str(tmp_path)},
    )  # fmt: skip
    assert (local.returncode, remote.returncode) == (1, 1), remote.stderr  # one is broken
    assert (
        f"s3://pictures/photos/broken.jpg: {local.stderr.partition('broken.jpg: ')[2].splitlines()[0]}" in remote.stderr
    )
    for folder in {out.partition("/")[0], "drawn", "cut"}:
        written = {
            path.relative_to(tmp_path).as_posix(): path.read_bytes()
            for path in (tmp_path / folder).rglob("*")
            if path.is_file()
        }
        assert written or folder == "cut"
        assert {key: s3.get(key) for key in s3.held(f"{folder}/")} == written


def test_keys_of_all_kinds(s3):
    """Characters that mean something in addresses, in patterns and to shells are characters of names."""
    odd = [f"a{character}b.jpg" for character in "~{}^\\*?#%|<>\"'+&=:` é日[]"] + ["a%2Fb.jpg", "a%20b.jpg"]
    for name in odd:
        s3.put(f"odd/{name}", name.encode())
    items = find_items(["s3://pictures/odd"], print)
    assert [item.name for item in items] == sorted(odd)
    assert [read_file(item.path).decode() for item in items] == sorted(odd)


def test_an_object_that_is_gone_is_one_picture_and_a_store_that_is_away_is_the_run(s3, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(stores, "_PAUSE", 0.01)
    write_bytes(place("s3://pictures/a.jpg"), (photos / "a.jpg").read_bytes())
    assert read_image(place("s3://pictures/a.jpg")).shape == (90, 120, 3)
    with pytest.raises(InputError, match=r"^s3://pictures/gone.jpg: is not there$"):
        read_image(place("s3://pictures/gone.jpg"))
    with pytest.raises(StoreError, match="there is no s3://nowhere"):
        read_image(place("s3://nowhere/gone.jpg"))
    with pytest.raises(StoreError, match=r"cannot be listed: 404 Not Found \(NoSuchBucket\)"):
        names("s3://nowhere/photos")
    with pytest.raises(OutputError, match="cannot write s3://nowhere/x: "):
        write_bytes(place("s3://nowhere/x"), b"x")
    with pytest.raises(UsageError, match="names no object"):
        write_bytes(place("s3://pictures/"), b"x")


def test_an_output_that_breaks_off_is_not_there(s3):
    def write():
        with write_atomically(place("s3://pictures/half.txt")) as file:
            file.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write()
    assert s3.held() == []


class Task:
    """Tells the mean of a picture."""

    names, wanted, batch, videos, parts = (), (), 1, "", None

    def prepare(self, image, name=""):
        return image

    def detect(self, prepared):
        return [float(image.mean()) for image in prepared]

    def record(self, result):
        return {"boxes": [], "mean": result.found}


@pytest.mark.parametrize("status", [403, 500, 503])
def test_other_answers_are_asked_again_and_then_end_the_run(s3, photos, tmp_path, monkeypatch, status):
    """Nothing is said of the picture; what was done before is kept, and --resume goes on."""
    s3.put_folder(photos, "photos")
    answers = {"a.jpg": 2, "b.jpg": 99}  # asked in vain: so often
    real = stores._obstore()

    class Failing:
        def get(self, store, key):
            left = answers.get(key.rpartition("/")[2], 0)
            if left > 0:
                answers[key.rpartition("/")[2]] -= 1
                raise RuntimeError(f"Server returned non-2xx status code: {status} Some Reason: <Code>Odd</Code>")
            return real.get(store, key)

        def __getattr__(self, name):
            return getattr(real, name)

    monkeypatch.setattr(stores, "_PAUSE", 0.0)
    monkeypatch.setattr(stores, "_obstore", Failing)
    output = Output(tmp_path / "found.jsonl")
    with pytest.raises(StoreError, match=rf"b.jpg: the store does not .* {status} Some Reason \(Odd\); what is done"):
        run(Task(), "s3://pictures/photos", output)
    answers.clear()
    assert run(Task(), "s3://pictures/photos", Output(tmp_path / "found.jsonl", resume=True)).failures == 1
    found = [orjson.loads(line) for line in (tmp_path / "found.jsonl").read_bytes().splitlines()]
    assert [one["file"] for one in found if "mean" in one] == [one for one in names(photos)[0] if one != "broken.jpg"]


def test_outputs_spare_the_objects_that_are_inputs(s3, photos, cli):
    s3.put_folder(photos, "photos")
    done = cli("yolo", "s3://pictures/photos", "--draw", "s3://pictures/photos", "-o", "s3://pictures/x.jsonl")
    assert (done.returncode, "--draw would overwrite the input s3://pictures/photos/a.jpg" in done.stderr) == (2, True)
    done = cli("yolo", "s3://pictures/photos/a.jpg", "-f", "jsonl", "-o", "s3://pictures/photos/a.jpg")
    assert (done.returncode, "--out would overwrite the input" in done.stderr) == (2, True)


class Files(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def site(photos):
    """The pictures on a server that only gives files."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Files, directory=photos))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    stores._store.cache_clear()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_pictures_of_a_plain_server(site, photos, tmp_path):
    listed = names(photos)[0]
    (tmp_path / "list.txt").write_text("".join(f"{RemotePath(site, name)}\n" for name in [*listed, "gone.jpg"]))
    summary = run(Task(), f"@{tmp_path / 'list.txt'}", Output(tmp_path / "there.jsonl"))
    run(Task(), photos, Output(tmp_path / "here.jsonl"))
    there = {one["file"]: one for one in map(orjson.loads, (tmp_path / "there.jsonl").read_bytes().splitlines())}
    here = {
        one["file"].rpartition("/")[2]: one
        for one in map(orjson.loads, (tmp_path / "here.jsonl").read_bytes().splitlines())
    }
    assert summary.failures == 2
    assert there.pop("gone.jpg") == {"file": "gone.jpg", "error": "is not there"}
    assert {name: one.get("mean") for name, one in there.items()} == {
        name: one.get("mean") for name, one in here.items()
    }
    with pytest.raises(StoreError, match="it is no WebDAV server.*name the pictures in an @list"):
        names(f"{site}/a")
