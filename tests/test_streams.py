"""Streams and pictures behind addresses, from a server on this machine that breaks off."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from detkit import streams
from detkit.cli import app
from detkit.errors import InputError, UsageError
from detkit.runs.live import live_items, with_own_names
from detkit.runs.sources import Item
from detkit.streams import Kind, StreamAddress, Tuning, fetch, kind_of, stream_frames

HEIGHT = 48


def picture(number):
    """A frame whose number is the place of its one bright column."""
    image = np.zeros((HEIGHT, 256, 3), np.uint8)
    image[:, 4 * (number % 64) : 4 * (number % 64) + 4] = 255
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def number_on(image):
    return int(image[..., 0].mean(axis=0).argmax()) // 4


class Camera:
    """Serves /video, which is cut after `frames` frames as often as `cuts` says, and /snap, a picture."""

    def __init__(self, frames=6, cuts=2, rate=50.0):
        self.connections = 0
        self.sent = 0
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                kinds = {"/snap": "image/jpeg", "/a.jpg": "image/jpeg", "/page": "text/html", "/film": "video/mp4"}
                path = self.path.partition("?")[0]
                if path not in (*kinds, "/video"):
                    self.send_error(404)
                    return
                self.send_response(200)
                content = {"/film": camera.film, "/page": b"hello"}.get(path, picture(7))
                if path in kinds:
                    self.send_header("Content-Type", kinds[path])
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)
                    return
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=x")
                self.end_headers()
                if "detkit" in self.headers.get("User-Agent", ""):  # asks what this is
                    return
                camera.connections += 1
                mine, count = camera.connections, 0
                try:
                    while mine > cuts or count < frames:
                        data = picture(camera.sent)
                        head = b"--x\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data)
                        self.wfile.write(head + data + b"\r\n")
                        camera.sent, count = camera.sent + 1, count + 1
                        time.sleep(1 / rate)
                except OSError:
                    pass
                self.close_connection = True

        self.film = b""
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def camera() -> Iterator[Camera]:
    one = Camera()
    yield one
    one.close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(streams, "_PAUSES", (0.02,))


# What a source is


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("0", Kind.STREAM),
        ("/dev/video2", Kind.STREAM),
        ("rtsp://host/a", Kind.STREAM),
        ("http://host/live.m3u8", Kind.STREAM),
        ("http://host/a.jpg?size=2", Kind.PICTURE),
        ("a.jpg", Kind.OTHER),
        ("s3://bucket/a.jpg", Kind.OTHER),
        ("-1", Kind.OTHER),
        ("20261125", Kind.OTHER),
        ("\u0663", Kind.OTHER),
    ],
)
def test_what_a_source_is_by_its_name(source, kind):
    assert kind_of(source) is kind


def test_a_file_that_is_called_by_a_number_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "0").mkdir()
    assert kind_of("0") is Kind.OTHER


def test_what_is_behind_an_address_is_asked_for(camera):
    assert kind_of(f"{camera.url}/video") is Kind.STREAM
    assert kind_of(f"{camera.url}/snap") is Kind.PICTURE
    with pytest.raises(InputError, match="sends text/html, neither a picture nor a stream"):
        kind_of(f"{camera.url}/page")
    with pytest.raises(InputError, match="is not there"):
        kind_of(f"{camera.url}/nothing")
    with pytest.raises(InputError, match="cannot be reached"):
        kind_of("http://127.0.0.1:1/video")


@pytest.mark.parametrize("source", ["http://host:port/a", "rtsp://", "http://[::1/a.jpg"])
def test_an_address_that_is_none(source):
    told = []
    assert live_items([source], Tuning(), lambda *one: told.append(one)) == ([], [])
    assert [name for name, _ in told] == [source]
    with pytest.raises(InputError, match="is no address"):
        kind_of(source)


def test_names_and_messages_have_no_password():
    address = StreamAddress("rtsp://me:secret@cam.local:8554/ch/1?x=2")
    assert str(address) == "rtsp://me:***@cam.local:8554/ch/1?x=2"
    assert address.name == "cam.local-8554/ch/1"
    assert os.fspath(address) == str(address)
    assert str(StreamAddress("rtsp://h/a:b@c")) == "rtsp://h/a:b@c"
    assert StreamAddress("http://h/../../etc/x").name == "h/etc/x"
    assert (StreamAddress("/dev/video3").name, StreamAddress("3").camera) == ("camera3", 3)


# Frames


def test_a_stream_that_is_cut_twice_goes_on(camera, caplog):
    caplog.set_level("INFO", "detkit")
    seen = []
    for frame in stream_frames(
        StreamAddress(f"{camera.url}/video"), Tuning(latest=False, stop=lambda: len(seen) >= 20)
    ):
        seen.append(frame)
    assert [frame.index for frame in seen] == list(range(20))
    assert camera.connections == 3
    times = [frame.seconds for frame in seen]
    assert times[0] == 0
    assert times == sorted(times)
    numbers = [number_on(frame.image) for frame in seen]
    assert numbers == sorted(set(numbers))  # in their order, none twice
    lost = [record.message for record in caplog.records if "lost after" in record.message]
    assert len(lost) == 2
    assert "connecting again, for up to 30 s" in lost[0]


def test_a_slow_reader_gets_the_newest_frame():
    camera = Camera(cuts=0, rate=100)
    try:
        behind = []
        for frame in stream_frames(StreamAddress(f"{camera.url}/video"), Tuning(stop=lambda: len(behind) >= 6)):
            behind.append((camera.sent - 1) - frame.index)
            time.sleep(0.1)
    finally:
        camera.close()
    assert max(behind[1:]) <= 4  # ten came meanwhile
    assert camera.sent > 40


def test_each_third_frame_of_those_that_came():
    camera = Camera(cuts=0, rate=100)
    try:
        seen = []
        for frame in stream_frames(StreamAddress(f"{camera.url}/video"), Tuning(False, stop=lambda: len(seen) >= 4), 3):
            seen.append((frame.index, number_on(frame.image)))
    finally:
        camera.close()
    assert [index for index, _ in seen] == [0, 3, 6, 9]
    assert np.diff([number for _, number in seen]).tolist() == [3, 3, 3]


def test_a_stream_that_does_not_come_back_is_given_up():
    camera = Camera(frames=5, cuts=99, rate=200)
    seen = []

    def close_after_two():
        if len(seen) == 6:
            camera.close()
        return False

    frames = stream_frames(StreamAddress(f"{camera.url}/video"), Tuning(False, 0.3, close_after_two))
    with pytest.raises(InputError, match=r"lost after \d+ frames, and not there again for 0.3 s"):
        seen.extend(frames)
    assert len(seen) >= 6


def test_no_stream_and_no_camera():
    with pytest.raises(InputError, match="cannot be opened"):
        list(stream_frames(StreamAddress("rtsp://127.0.0.1:1/x")))
    with pytest.raises(InputError, match="camera 97: there is no such camera"):
        list(stream_frames(StreamAddress("97")))


def test_a_recording_behind_an_address_is_read_whole_by_its_own_clock(camera, tmp_path):
    path = tmp_path / "film.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 10, (64, 48))
    for number in range(12):
        writer.write(np.full((48, 64, 3), 20 * number, np.uint8))
    writer.release()
    camera.film = path.read_bytes()
    found = []
    for frame in stream_frames(StreamAddress(f"{camera.url}/film")):
        time.sleep(0.01)
        found.append(frame)
    assert [frame.index for frame in found] == list(range(12))
    assert [frame.seconds for frame in found] == pytest.approx([number / 10 for number in range(12)], abs=1e-3)


def test_too_large_frames_are_refused(camera, monkeypatch):
    monkeypatch.setattr(streams, "max_pixels", lambda: 1000)
    with pytest.raises(InputError, match="has frames of 256 x 48, more than the 1,000 pixels"):
        list(stream_frames(StreamAddress(f"{camera.url}/video")))


# Items


def test_pictures_behind_addresses(camera):
    assert fetch(StreamAddress(f"{camera.url}/snap?x=1")) == picture(7)
    with pytest.raises(InputError, match="is not there"):
        fetch(StreamAddress(f"{camera.url}/b.jpg"))


def test_a_stream_is_alone(camera):
    with pytest.raises(UsageError, match="give it alone"):
        live_items([f"{camera.url}/video", "a.jpg"], Tuning(), lambda *_: None)


def test_names_of_addresses_and_files_do_not_meet(camera, tmp_path):
    told = []
    found, others = live_items(
        [f"{camera.url}/a.jpg", "x", f"{camera.url}/page"], Tuning(), lambda *one: told.append(one)
    )
    assert others == ["x"]
    assert [item.name for item in found] == ["a.jpg"]
    assert told == [(f"{camera.url}/page", "the server sends text/html, neither a picture nor a stream")]
    both = with_own_names(found, [Item(tmp_path / "a.jpg", "a.jpg")])
    assert [item.name for item in both] == [f"{camera.url.removeprefix('http://').replace(':', '-')}/a.jpg", "a.jpg"]


# The commands


def test_pictures_and_failures_on_the_command_line(camera):
    run = CliRunner().invoke(app, ["yolo", f"{camera.url}/snap?x=1", f"{camera.url}/b.jpg", "-f", "jsonl"])
    assert run.exit_code == 1
    records = [json.loads(line) for line in run.stdout.splitlines()]
    assert [record["file"] for record in records] == ["snap", "b.jpg"]
    assert (records[0]["width"], records[0]["height"]) == (256, HEIGHT)
    assert records[1]["error"] == "is not there"


@pytest.mark.parametrize("command", ["yolo", "track"])
def test_a_camera_that_is_not_there(command, tmp_path):
    run = CliRunner().invoke(app, [command, "97", "-o", str(tmp_path / "out.jsonl")])
    assert run.exit_code == 1
    assert "camera 97: there is no such camera" in run.stderr


def test_options_of_streams_are_for_streams(tmp_path, camera):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((32, 32, 3), np.uint8))
    run = CliRunner().invoke(app, ["yolo", str(tmp_path / "a.png"), "--latest"])
    assert run.exit_code == 2
    assert "--latest is for streams" in run.stderr
    run = CliRunner().invoke(app, ["yolo", f"{camera.url}/video", "-o", str(tmp_path / "o.jsonl"), "--resume"])
    assert run.exit_code == 2
    assert "--resume is for what can be read again" in run.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="no signals")
@pytest.mark.parametrize("command", ["yolo", "track"])
def test_an_interrupt_ends_a_stream_with_its_results(command, camera, tmp_path):
    out = tmp_path / "out.jsonl"
    command_line = [sys.executable, "-m", "detkit", command, f"{camera.url}/video", "-o", str(out)]
    process = subprocess.Popen(command_line, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while camera.connections < 3 and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=30)[1]
    finally:
        process.kill()
    assert process.returncode == 0, said
    assert said.count("connecting again") == 2
    assert "ending the stream" in said
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(records) > 2
    frames = [record["frame"] for record in records]
    assert frames == sorted(set(frames))
    assert not any("error" in record for record in records)
    assert not list(tmp_path.glob("*.partial*"))
