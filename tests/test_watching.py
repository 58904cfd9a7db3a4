"""A training that is watched: which state is kept, when it ends, and what a checkpoint remembers of it."""

from __future__ import annotations

import contextlib

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed (the extra train)")

from concurrent.futures import ThreadPoolExecutor  # noqa: E402

from detkit.errors import DeviceError  # noqa: E402
from detkit.training.torch.devices import Ahead, batches, on_cpu, training_device  # noqa: E402
from detkit.training.torch.train_session import Session  # noqa: E402
from detkit.training.torch.train_settings import Watching  # noqa: E402
from detkit.training.torch.watching import Watcher  # noqa: E402


class Training:
    """A session without a network: a hundred steps, whose weights are the number of the step."""

    best_ap = None
    since_best = looked_at = 0
    step = 0
    looked = Session.looked

    def __init__(self, directory):
        self.directory, self.saved = directory, []

    def share(self):
        return self.step / 100

    def seconds(self):
        return float(self.step)

    def paused(self):
        return contextlib.nullcontext()

    def save(self):
        self.saved.append((self.step, self.best_ap, self.since_best, self.looked_at))

    def export(self, path):
        path.write_text(str(self.step))
        return path


def trained(session, figures, **how):
    """Run to the end; the steps that were looked at, with what was told of them."""
    told = []
    measured = iter(figures)

    def measure(path):
        return next(measured), 0.5

    watcher = Watcher(Watching(measure if figures else None, told=told.append, **how), session, session.export)
    while session.step < 100:
        session.step += 1
        if watcher.after_step(loss=float(session.step), rate=0.1):
            break
    path = watcher.finish()
    return path.read_text(), told


def test_the_best_state_is_kept_and_not_the_last(tmp_path):
    session = Training(tmp_path)
    kept, told = trained(session, [0.1, 0.2, 0.5, 0.4, 0.3, 0.5, 0.2, 0.1, 0.1, 0.0])
    assert kept == "30"
    assert [round(100 * one.share) for one in told] == list(range(10, 101, 10))
    assert [one.best for one in told] == [True, True, True] + [False] * 7
    assert told[1].loss == sum(range(11, 21)) / 10
    assert sorted(path.name for path in tmp_path.iterdir()) == ["detector.onnx"]
    assert session.saved[2] == (30, 0.5, 0, 30)
    assert session.saved[-1] == (100, 0.5, 7, 100)


def test_it_ends_where_nothing_gets_better(tmp_path):
    session = Training(tmp_path)
    kept, told = trained(session, [0.1, 0.3, 0.2, 0.3, 0.9], patience=2)
    assert (kept, session.step, len(told)) == ("20", 40, 4)


def test_without_pictures_that_measure_the_last_state_is_kept(tmp_path):
    kept, told = trained(Training(tmp_path), [])
    assert (kept, told) == ("100", [])


def test_a_resumed_training_goes_on_comparing(tmp_path):
    (tmp_path / "detector.onnx").write_text("the best of before")
    session = Training(tmp_path)
    session.step, session.best_ap, session.looked_at = 55, 0.6, 50
    kept, told = trained(session, [0.2, 0.3, 0.4, 0.5, 0.1])
    assert kept == "the best of before"
    assert [round(100 * one.share) for one in told] == [60, 70, 80, 90, 100]


def test_where_figures_are_undefined_the_last_state_is_kept(tmp_path):
    """AP is -1 where the pictures held out have no boxes."""
    kept, _ = trained(Training(tmp_path), [-1.0] * 10, patience=2)
    assert kept == "100"


@pytest.mark.parametrize("name", ["cuda:x", "mps", "", "cuda:", "tensorrt"])
def test_devices_that_nothing_trains_on_are_refused(name):
    if name == "cuda:" and torch.cuda.is_available():
        pytest.skip("there is a card")
    with pytest.raises(DeviceError):
        training_device(name)


def test_without_a_card_auto_is_the_cpu():
    if torch.cuda.is_available():
        pytest.skip("there is a card")
    assert training_device("auto").type == training_device("cpu").type == "cpu"
    with pytest.raises(DeviceError, match="finds no CUDA card"):
        training_device("cuda:1")
    network = torch.nn.Linear(2, 2)
    assert on_cpu(network) is network


def test_batches_of_a_card_are_made_ahead_in_their_order():
    made = []

    def make(share):
        made.append(share)
        return len(made)

    with batches(make, torch.device("cpu")) as following:
        assert [following(0.1), following(0.2)] == [1, 2]
    assert made == [0.1, 0.2]
    made.clear()
    with ThreadPoolExecutor(1) as pool:
        ahead = Ahead(make, pool)
        assert [ahead.next(0.1), ahead.next(0.2), ahead.next(0.3)] == [1, 2, 3]
    assert made == [0.0, 0.1, 0.2, 0.3]
