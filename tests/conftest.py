"""Fixtures for all tests: shared data, tiny graphs, and the command line in this process or in one of its own."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

# A shell that runs the tests in the background has its commands ignore interrupts, and they their children.
if os.name == "posix" and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared"


@pytest.fixture(autouse=True)
def _own_log() -> Iterator[None]:
    """What the command sets on the logger ends with the test."""
    log = logging.getLogger("detkit")
    before = log.handlers[:], log.level, log.propagate
    yield
    log.handlers[:], log.level, log.propagate = before


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real pictures and networks beside the project; tests that need it skip without it."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the data and networks of {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def coco128(shared: Path) -> Path:
    return shared / "data" / "coco128"


@pytest.fixture
def make_graph(tmp_path: Path) -> Callable[..., Path]:
    """Write an .onnx file that answers every picture with given arrays.

    outputs   name -> array; the picture is added to the first with weight 0, so the graph really runs on it
    shape     of the picture's input, with None for open axes
    extra     name -> (numpy dtype, shape) of further inputs
    open_rows outputs whose axes the graph does not declare
    """
    onnx = pytest.importorskip("onnx")
    from onnx import helper, numpy_helper

    def make(
        outputs: Mapping[str, np.ndarray],
        shape: Sequence[int | None] = (1, 3, 96, 128),
        *,
        name: str = "images",
        dtype: Any = np.float32,
        extra: Mapping[str, tuple[Any, Sequence[int]]] | None = None,
        metadata: Mapping[str, str] | None = None,
        open_rows: Sequence[str] = (),
        initializers: Mapping[str, np.ndarray] | None = None,
        file: str = "graph.onnx",
    ) -> Path:
        kind = helper.np_dtype_to_tensor_dtype
        axes = [f"axis{place}" if axis is None else axis for place, axis in enumerate(shape)]
        inputs = [helper.make_tensor_value_info(name, kind(np.dtype(dtype)), axes)]
        nodes, stored, values = [], [], []
        for extra_name, (extra_dtype, extra_shape) in (extra or {}).items():
            inputs.append(helper.make_tensor_value_info(extra_name, kind(np.dtype(extra_dtype)), list(extra_shape)))
        nodes.append(helper.make_node("Cast", [name], ["as_float"], to=onnx.TensorProto.FLOAT))
        nodes.append(helper.make_node("ReduceMean", ["as_float"], ["mean"], keepdims=0))
        nodes.append(helper.make_node("Mul", ["mean", "zero"], ["nothing"]))
        stored.append(numpy_helper.from_array(np.float32(0), "zero"))
        for output, array in outputs.items():
            stored.append(numpy_helper.from_array(array, f"{output}_value"))
            nodes.append(helper.make_node("Cast", ["nothing"], [f"{output}_zero"], to=kind(array.dtype)))
            nodes.append(helper.make_node("Add", [f"{output}_value", f"{output}_zero"], [output]))
            declared = [f"{output}_{axis}" for axis in range(array.ndim)] if output in open_rows else list(array.shape)
            values.append(helper.make_tensor_value_info(output, kind(array.dtype), declared))
        stored += [numpy_helper.from_array(array, key) for key, array in (initializers or {}).items()]
        model = helper.make_model(
            helper.make_graph(nodes, "graph", inputs, values, stored),
            opset_imports=[helper.make_opsetid("", 17)],
            ir_version=8,
        )
        helper.set_model_props(model, dict(metadata or {}))
        path = tmp_path / file
        onnx.save(model, path)
        return path

    return make


@pytest.fixture
def cli() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `detkit` in a process of its own, as a user does."""

    def run(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100", **options.pop("env", {})}
        return subprocess.run(
            [sys.executable, "-m", "detkit", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=options.pop("timeout", 120),
            env=environment,
            **options,
        )

    return run


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium, without a window; tests that need it skip without it."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chromium, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    quiet = "headless disable-gpu disable-background-networking disable-component-update disable-sync no-first-run"
    profile = tmp_path_factory.mktemp("profile")
    flags = [*(f"--{flag}" for flag in quiet.split()), f"--user-data-dir={profile}", "--window-size=1300,1000"]
    for flag in [*flags, *(["--no-sandbox"] if os.geteuid() == 0 else [])]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    window = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield window
    window.quit()


@pytest.fixture
def requested(browser: Any) -> Callable[[str], list[str]]:
    """Opens a page; gives the addresses that are asked for meanwhile, data: aside."""

    def opened(address: str) -> list[str]:
        browser.get("about:blank")
        browser.get_log("performance")  # what was before: the browser's own first page
        browser.get(address)
        messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
        addresses = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        return [address for address in addresses if not address.startswith("data:")]

    return opened


class Bucket:
    """A bucket of a server on this machine that speaks S3, and the environment in which clients find it."""

    url = "s3://pictures"

    def __init__(self, port: int) -> None:
        import boto3

        self.environment = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
        }
        self._client = boto3.client(
            "s3",
            endpoint_url=self.environment["AWS_ENDPOINT_URL"],
            aws_access_key_id="key",
            aws_secret_access_key="secret",
            region_name="us-east-1",
        )
        self._client.create_bucket(Bucket="pictures")

    def put(self, key: str, content: bytes) -> None:
        self._client.put_object(Bucket="pictures", Key=key, Body=content)

    def put_folder(self, folder: Path, prefix: str) -> None:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            self.put(f"{prefix}/{path.relative_to(folder).as_posix()}", path.read_bytes())

    def get(self, key: str) -> bytes:
        return self._client.get_object(Bucket="pictures", Key=key)["Body"].read()

    def held(self, prefix: str = "") -> list[str]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket="pictures", Prefix=prefix)
        return [entry["Key"] for page in pages for entry in page.get("Contents", ())]

    def delete(self, key: str) -> None:
        self._client.delete_object(Bucket="pictures", Key=key)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[Bucket]:
    pytest.importorskip("obstore", reason="needs the extra store")
    pytest.importorskip("flask_cors", reason="needs moto[server]")
    server = pytest.importorskip("moto.server", reason="needs moto[server]").ThreadedMotoServer(
        ip_address="127.0.0.1", port=0, verbose=False
    )
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server.start()
    yield Bucket(server.get_host_and_port()[1])
    server.stop()


@pytest.fixture
def s3(s3_server: Bucket, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """An empty bucket, which this process and those that it starts find."""
    from detkit import stores

    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    stores._store.cache_clear()
    yield s3_server
    stores._store.cache_clear()
    for key in s3_server.held():
        s3_server.delete(key)
