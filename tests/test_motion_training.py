"""Networks with a memory in the Kalman filter's place: their equations, export, training, and its figures."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from detkit.cli import app
from detkit.errors import InputError
from detkit.runs.motion_bench import PAST, PREDICTORS, Overlaps, fixed_rows, follow
from detkit.runs.motion_network import MotionNetwork
from detkit.tracking.motion import HistoryMotion, least_squares
from detkit.tracking.walks import Walks, folds, read_walks

torch = pytest.importorskip("torch")

from detkit.training.motion import NETWORKS, motion_data  # noqa: E402
from detkit.training.motion.motion_data import MotionSamples  # noqa: E402
from detkit.training.motion.motion_export import export_motion  # noqa: E402
from detkit.training.motion.motion_model import FEATURES, MotionModel  # noqa: E402
from detkit.training.motion.motion_training import MotionRecipe, train_motion, training_folder  # noqa: E402
from detkit.training.motion.tcn import DILATIONS, KERNEL  # noqa: E402

SHORT = {"steps": 12, "batch": 16, "length": 6}


def model_of(name: str) -> MotionModel:
    """With random weights in the head, too, which begins at 0."""
    torch.manual_seed(3)
    model = MotionModel(NETWORKS[name]())
    torch.nn.init.normal_(model.head.weight, std=0.2)
    return model


def random_walk(rng, objects=5, frames=60):
    """Objects that move evenly, each in its own way, and what a poor detector sees of them."""
    start = rng.uniform(100, 400, (objects, 2))
    side = rng.uniform(20, 60, (objects, 2))
    speed = rng.uniform(-4, 4, (objects, 2))
    centre = start + np.arange(frames)[:, None, None] * speed
    truth = np.concatenate((centre - side, centre + side), axis=2)
    seen = truth + rng.normal(0, 1.5, truth.shape)
    seen[rng.random(seen.shape[:2]) < 0.1] = np.nan
    return truth, seen


def write_sequence(folder, truth, seen, detections="det/det.txt"):
    for name, boxes, ids in (("gt/gt.txt", truth, True), (detections, seen, False)):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [
            f"{frame + 1},{index + 1 if ids else -1},{x1},{y1},{x2 - x1},{y2 - y1},1,-1,-1,-1\n"
            for frame in range(len(boxes))
            for index, (x1, y1, x2, y2) in enumerate(boxes[frame])
            if np.isfinite(x1)
        ]
        path.write_text("".join(rows))
    (folder / "seqinfo.ini").write_text("[Sequence]\nframeRate=10\n")


@pytest.fixture
def data(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("A", "B"):
        write_sequence(tmp_path / "data" / name, *random_walk(rng))
    return tmp_path / "data"


# The equations, each against another writing of them


def test_the_rnn_is_elmans():
    own = NETWORKS["rnn"]()
    other = torch.nn.RNN(FEATURES, own.width)
    other.weight_ih_l0.data, other.weight_hh_l0.data = own.from_input.weight.data, own.from_state.weight.data
    other.bias_ih_l0.data, other.bias_hh_l0.data = own.from_input.bias.data, torch.zeros(own.width)
    assert_same_steps(own, lambda x: other(x)[0])


def test_the_lstm_is_that_of_torch():
    own = NETWORKS["lstm"]()
    # torch's order of gates is i, f, g, o
    order = torch.arange(4 * own.width).view(4, -1)[[0, 1, 3, 2]].flatten()
    other = torch.nn.LSTM(FEATURES, own.width)
    other.weight_ih_l0.data = own.from_input.weight.data[order]
    other.weight_hh_l0.data = own.from_state.weight.data[order]
    other.bias_ih_l0.data, other.bias_hh_l0.data = own.from_input.bias.data[order], torch.zeros(4 * own.width)
    assert_same_steps(own, lambda x: other(x)[0])


def test_the_tcn_step_by_step_is_a_dilated_causal_convolution():
    own = NETWORKS["tcn"]()

    def whole(x):
        z = own.widen(x).permute(1, 2, 0)  # T, C, time
        for dilation, tap in zip(DILATIONS, own.taps, strict=True):
            weight = tap.weight.view(own.width, KERNEL, own.width).permute(0, 2, 1)
            padded = torch.nn.functional.pad(z, ((KERNEL - 1) * dilation, 0))
            z = torch.relu(z + torch.relu(torch.nn.functional.conv1d(padded, weight, tap.bias, dilation=dilation)))
        return z.permute(2, 0, 1)

    assert_same_steps(own, whole)


def assert_same_steps(memory, whole):
    x = torch.randn(20, 3, FEATURES)
    state = tuple(torch.zeros(3, *shape) for shape in memory.state_shapes.values())
    steps = []
    for one in x:
        out, state = memory.step(one, state)
        steps.append(out)
    assert torch.allclose(torch.stack(steps), whole(x), atol=1e-6)


# Export: state in, state out


@pytest.mark.parametrize("name", NETWORKS)
def test_the_exported_graph_is_the_network_step_by_step(name, tmp_path):
    model = model_of(name)
    network = MotionNetwork(export_motion(model, tmp_path / "m.onnx", {"network": name}))
    assert json.loads(network.network.metadata["training"])["network"] == name
    for tracks in (1, 7):  # the batch is open
        box = torch.rand(tracks, 4) * 20 + torch.tensor([100.0, 100, 150, 200])
        state, own_state = model.blank(tracks), [one.numpy() for one in model.blank(tracks)]
        since = torch.zeros(tracks)
        for _ in range(20):
            ahead = torch.rand(tracks)
            with torch.no_grad():
                expected, *following = model(box, since, ahead, *state)
            found, own_state = network.step(box.numpy(), since.numpy(), ahead.numpy(), tuple(own_state))
            assert found == pytest.approx(expected.numpy(), rel=1e-5, abs=1e-4)  # pixels
            for mine, theirs in zip(own_state, following, strict=True):
                assert mine == pytest.approx(theirs.numpy(), abs=1e-5)
            state, box, since = tuple(following), box + torch.randn(tracks, 4) * 3, torch.rand(tracks) * 0.2


def test_a_graph_whose_states_have_no_way_out_is_refused(tmp_path):
    import onnx

    from detkit.errors import ModelError

    path = export_motion(model_of("rnn"), tmp_path / "m.onnx", {})
    graph = onnx.load(path)
    kept = [one for one in graph.graph.output if one.name != "h_next"]
    del graph.graph.output[:]
    graph.graph.output.extend(kept)
    onnx.save(graph, path)
    with pytest.raises(ModelError, match="is no motion model: it needs .*NAME_next"):
        MotionNetwork(path)


@pytest.mark.parametrize("name", NETWORKS)
def test_tracks_do_not_know_each_other(name, tmp_path):
    """A track among others, some of which end, is expected where it is expected alone."""
    network = MotionNetwork(export_motion(model_of(name), tmp_path / "m.onnx", {}))
    boxes = np.array([[10.0, 10, 50, 90], [200.0, 10, 230, 70]])
    alone, among = network.motion(), network.motion()
    alone.add(boxes[1:], 0.0)
    among.add(boxes[:1], 0.0)
    among.add(boxes[1:], 0.0)
    for step in range(1, 6):
        moved = boxes + 3.0 * step
        alone.update(np.array([0]), moved[1:], 0.1 * step)
        if step == 3:
            among.keep(np.array([False, True]))
        rows = np.array([1, 0] if step < 3 else [0])
        among.update(rows, moved[::-1] if step < 3 else moved[1:], 0.1 * step)
        assert among.predict(0.1 * step + 0.25)[-1] == pytest.approx(alone.predict(0.1 * step + 0.25)[0], abs=1e-4)
    assert len(among.boxes()) == 1
    assert network.motion().predict(1.0).shape == (0, 4)


# Training


def test_equal_seeds_give_equal_files_interrupted_or_not(data, tmp_path):
    walks = read_walks([data])
    recipe = MotionRecipe("lstm", **SHORT)
    whole = train_motion(walks, tmp_path / "a.onnx", recipe).read_bytes()
    seen = []

    def interrupt(progress):
        seen.append(progress.step)
        if progress.step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_motion(walks, tmp_path / "b.onnx", recipe, progress=interrupt)
    assert not (tmp_path / "b.onnx").exists()
    resumed = train_motion(walks, tmp_path / "b.onnx", recipe, resume=True, progress=lambda p: seen.append(p.step))
    assert resumed.read_bytes() == whole
    assert seen == list(range(1, 13))
    rows = (training_folder(resumed) / "history.csv").read_text().splitlines()
    assert len(rows) == 13
    assert train_motion(walks, tmp_path / "c.onnx", MotionRecipe("lstm", seed=1, **SHORT)).read_bytes() != whole
    with pytest.raises(InputError, match="other settings: network lstm"):
        train_motion(walks, tmp_path / "b.onnx", MotionRecipe("tcn", **SHORT), resume=True)


def test_what_moves_evenly_is_learned():
    rng = np.random.default_rng(1)
    learn, measure = (Walks("x", 10.0, *random_walk(rng, 20)) for _ in range(2))
    from pathlib import Path
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        recipe = MotionRecipe("rnn", steps=120, batch=64, length=10)
        network = MotionNetwork(train_motion([learn], Path(folder, "m.onnx"), recipe))
    row = Overlaps()
    follow(network.motion(), measure, row)
    still = fixed_rows([measure], {})["last box"].means()
    assert row.means()[5] > still[5] + 0.05
    assert row.means()[15] > still[15] + 0.1


def test_stretches_begin_with_their_object(monkeypatch):
    monkeypatch.setattr(motion_data, "PACE", 0.0)
    monkeypatch.setattr(motion_data, "JITTER", 0.0)
    truth = np.tile(np.array([0.0, 0, 10, 10]), (10, 2, 1))
    truth += np.arange(10)[:, None, None] + 100 * np.arange(2)[:, None]
    samples = MotionSamples([Walks("x", 10.0, truth, truth)], 6)
    batch = samples.batch(64, np.random.default_rng(0))
    assert not batch.there.all()
    assert batch.there[-1].all()
    step = (batch.times[1:] - batch.times[:-1]) * 10
    both = batch.there[1:] & batch.there[:-1]
    moved = (batch.boxes[1:, :, 1] - batch.boxes[:-1, :, 1])[both]
    assert moved.tolist() == pytest.approx(step[both].tolist(), abs=1e-4)  # a pixel a frame: never another object
    ahead = (batch.target[..., 1] - batch.boxes[..., 1])[batch.known]
    assert ahead.tolist() == pytest.approx((10 * batch.ahead[batch.known]).tolist(), abs=1e-4)


# The bench


def test_least_squares_is_polyfit():
    rng = np.random.default_rng(0)
    boxes = rng.uniform(0, 100, (3, 6, 4))
    boxes[..., 2:] += 200
    ago = np.sort(rng.uniform(0.5, 2, (3, 6)), axis=1)[:, ::-1]
    count = np.array([6, 4, 1])
    found = least_squares(boxes, ago, count)
    for track, real in enumerate(count):
        for side in range(4):
            values, when = boxes[track, -real:, side], -ago[track, -real:]
            line = np.polyfit(when, values, 1)[1] if real > 1 else values[0]
            assert found[track, side] == pytest.approx(line)


def test_an_object_counts_from_its_twelfth_box_on_and_where_it_is_annotated():
    truth = np.tile(np.array([0.0, 0, 10, 20]), (PAST + 3, 1, 1)) + 2.0 * np.arange(PAST + 3)[:, None, None]
    truth[-1] = np.nan
    row = Overlaps()
    follow(PREDICTORS["last velocity"](), Walks("x", 10.0, truth, truth), row)
    assert row.count == {1: 2, 5: 0, 15: 0}
    assert row.means()[1] == pytest.approx(1)
    assert np.isnan(row.means()[5])


def test_folds_are_whole_sequences_and_each_is_measured_once():
    walks = [Walks(str(i), 1.0, np.zeros((i + 1, 1, 4)), np.zeros((i + 1, 1, 4))) for i in range(5)]
    parts = list(folds(walks, 3))
    assert sorted(one.name for _, measure in parts for one in measure) == list("01234")
    assert all({one.name for one in learn}.isdisjoint(one.name for one in measure) for learn, measure in parts)
    assert all(len(learn) + len(measure) == 5 for learn, measure in parts)


def test_detections_are_given_to_the_objects_they_overlap(data):
    walks = read_walks([data])
    assert [one.name for one in walks] == ["A", "B"]
    assert 0 < walks[0].boxes < np.isfinite(walks[0].truth[..., 0]).sum()
    off = np.abs(walks[0].seen - walks[0].truth)
    assert np.nanmax(off) < 10
    truth = read_walks([data], "truth")
    assert np.array_equal(truth[0].seen, truth[0].truth, equal_nan=True)
    with pytest.raises(InputError, match=r"other\.txt: no such file"):
        read_walks([data], "other.txt")


# The commands


def test_train_bench_and_track(data, tmp_path):
    out = tmp_path / "m.onnx"
    run = CliRunner()
    made = run.invoke(app, ["train", "motion", str(data), "-o", str(out), "--network", "tcn", "--steps", "8"])
    assert made.exit_code == 0, made.stderr
    again = run.invoke(app, ["train", "motion", str(data), "-o", str(out), "--network", "tcn", "--steps", "8"])
    assert again.exit_code == 2
    assert "--resume goes on" in again.stderr
    bench = ["bench", "motion", str(data), "--motion", str(out), "--networks", "rnn", "--steps", "4", "--json", "-q"]
    measured = run.invoke(app, bench)
    assert measured.exit_code == 0, measured.stderr
    figures = json.loads(measured.stdout)["mean_iou"]
    assert list(figures) == [*PREDICTORS, "m.onnx", "RNN"]
    assert all(0 < value <= 1 for row in figures.values() for value in row.values())
    tracks = tmp_path / "t.txt"
    found = ["track", str(data / "A" / "det" / "det.txt"), "-o", str(tracks), "--motion", str(out)]
    assert run.invoke(app, found).exit_code == 0
    assert tracks.read_text()


def test_the_models_of_the_bench_are_those_of_the_tracker():
    assert isinstance(PREDICTORS["last box"](), HistoryMotion)
    assert list(PREDICTORS)[2] == "Kalman filter"
