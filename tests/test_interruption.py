"""Ctrl-C, whenever it comes: one line, status 130, and nothing goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from detkit.graphs.interruption import stopped_by_interrupt
from detkit.graphs.session import Network

onnx = pytest.importorskip("onnx")


@pytest.fixture
def endless(tmp_path):
    """A graph whose loop never ends."""
    from onnx import TensorProto, helper

    scalar = {"x": TensorProto.FLOAT, "c": TensorProto.BOOL, "i": TensorProto.INT64}

    def value(name: str, kind: str) -> object:
        return helper.make_tensor_value_info(name, scalar[kind], [])

    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["c2"]), helper.make_node("Identity", ["x"], ["x2"])],
        "body",
        [value("i", "i"), value("c", "c"), value("x", "x")],
        [value("c2", "c"), value("x2", "x")],
    )
    always = helper.make_tensor("always", TensorProto.BOOL, [], [True])
    graph = helper.make_graph(
        [helper.make_node("Loop", ["", "always", "in"], ["out"], body=body)],
        "endless",
        [value("in", "x")],
        [value("out", "x")],
        [always],
    )
    path = tmp_path / "endless.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def test_a_network_that_never_ends_can_be_interrupted(endless):
    network = Network(endless)
    for _ in range(2):  # the next run is a new one
        threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        started = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            network.run({"in": np.array(0, np.float32)})
        assert time.monotonic() - started < 20


def test_who_listens_already_is_left_alone():
    import socket

    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    before = signal.set_wakeup_fd(ours.fileno())
    try:
        with stopped_by_interrupt(lambda: None):
            assert signal.set_wakeup_fd(ours.fileno()) == ours.fileno()
    finally:
        signal.set_wakeup_fd(before)
        ours.close()
        theirs.close()


def test_an_interrupt_while_the_command_loads_is_a_line():
    code = (
        "import sys, builtins; real = builtins.__import__\n"
        "def hooked(name, *rest):\n"
        "    if name == 'detkit.cli': raise ImportError('half loaded') from KeyboardInterrupt()\n"
        "    return real(name, *rest)\n"
        "builtins.__import__ = hooked\n"
        "from detkit.__main__ import main; main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "detkit: interrupted\n")
