"""The layers of a graph, their activations, and that looking changes no result."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from detkit.errors import ModelError
from detkit.graphs.editing import load_whole
from detkit.graphs.letterbox import place
from detkit.images import read_image, write_image
from detkit.inside.feature_maps import as_maps, channels_of, content_of, token_grid
from detkit.inside.graph_layers import chosen_layers, layers_of, parameters_in_all, rest_of
from detkit.inside.layer_pictures import first_filters
from detkit.inside.subjects import open_subject
from detkit.inside.tapped import Tapped, inferred_shapes


def _module(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


look_graphs = _module(Path(__file__).parent / "look_graphs.py")
residual_classifier, save = look_graphs.residual_classifier, look_graphs.save
NOISE = np.random.default_rng(3).normal(size=(1, 3, 32, 32)).astype(np.float32)


@pytest.fixture
def tapped(tmp_path: Path) -> Tapped:
    path = residual_classifier(tmp_path / "r.onnx")
    return Tapped(path, load_whole(path))


def test_layers_are_operators_with_what_follows_them_number_by_number(tapped: Tapped) -> None:
    layers = layers_of(tapped.model, tapped.shapes({"x": NOISE}))
    assert [(one.number, one.name, one.operator) for one in layers] == [
        (1, "stem", "Conv + BatchNormalization + Relu"),
        (2, "body", "Conv + Add + Relu"),
        (3, "depthwise", "Conv + Sigmoid + Mul"),
        (4, "pool", "GlobalAveragePool"),
        (5, "classes", "Gemm"),
    ]
    assert [one.output for one in layers] == ["r1", "r2", "m3", "p", "scores"]
    assert [one.shape for one in layers[:3]] == [(1, 8, 16, 16)] * 3
    # 27 products for each of 8 x 16 x 16 numbers; 72; 9; none; 8 for each of 5.
    assert [one.multiply_adds for one in layers] == [27 * 2048, 72 * 2048, 9 * 2048, 0, 40]
    assert [one.parameters for one in layers] == [216 + 8 + 16, 576 + 8, 72, 0, 45]
    assert parameters_in_all(tapped.model) == 216 + 8 + 16 + 576 + 8 + 72 + 45
    assert rest_of(tapped.model) == {"Reshape": 1}


def test_weights_stored_in_half_precision_count(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["half"], ["w"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Conv", ["x", "w"], ["y"], "conv"),
    ]
    path = save(tmp_path / "h.onnx", nodes, {"half": np.ones((2, 3, 1, 1), np.float16)}, [1, 3, 4, 4], "y")
    (layer,) = layers_of(load_whole(path), inferred_shapes(load_whole(path), {"x": NOISE[:, :, :4, :4]}))
    assert (layer.parameters, layer.multiply_adds) == (6, 96)


@pytest.mark.parametrize("model", ["yolo-lite0", "efficientnet-lite0", "lenet5-digits"])
def test_results_of_the_extended_graph_are_bit_equal(model: str) -> None:
    subject = open_subject(model)
    image = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    feeds = subject.feeds(subject.view(image))
    tapped = Tapped(subject.path, subject.graph())
    layers = layers_of(tapped.model, tapped.shapes(feeds))
    assert tapped.difference([layer.output for layer in layers], feeds) == 0


def test_a_chain_of_layers_is_bit_equal_where_onnxruntime_joins_them(tapped: Tapped) -> None:
    layers = layers_of(tapped.model, tapped.shapes({"x": NOISE}))
    assert tapped.difference([layer.output for layer in layers], {"x": NOISE}) == 0


def test_what_comes_out_is_what_the_operators_say(tapped: Tapped) -> None:
    found = tapped.run(["r1", "c2", "r2"], {"x": NOISE})
    assert np.allclose(found["r2"], np.maximum(found["c2"] + found["r1"], 0), atol=1e-5)
    with pytest.raises(ModelError, match="no tensor 'nothing'"):
        tapped.run(["nothing"], {"x": NOISE})


def test_layers_are_chosen_by_number_range_name_and_part(tapped: Tapped) -> None:
    layers = layers_of(tapped.model, tapped.shapes({"x": NOISE}))

    def chosen(text: str) -> list[int]:
        return [layer.number for layer in chosen_layers(layers, text)]

    assert chosen("all") == [1, 2, 3, 4, 5]
    assert (chosen("2"), chosen("2-4"), chosen("body"), chosen("CONV"), chosen("9")) == (
        [2],
        [2, 3, 4],
        [2],
        [1, 2, 3],
        [],
    )


def test_padding_is_cut_away_and_a_box_becomes_cells() -> None:
    placement = place((640, 426), (416, 416), "center")  # resized to 416 x 277, 69 rows of pad above
    maps = np.zeros((1, 52, 52))
    maps[:, :9] = maps[:, -9:] = 7  # rows whose centres lie in the pad
    content, cells = content_of(maps, placement, np.array([0, 0, 320, 426], np.float32))
    assert content.shape == (1, 34, 52)
    assert not content.any()
    assert cells == (0, 0, 26, 34)


def test_channels_are_sorted_by_their_answer_to_the_box_and_dead_ones_left_out() -> None:
    random = np.random.default_rng(0)
    maps = random.normal(0, 0.1, (4, 20, 30))
    maps[1] = 5.0
    maps[2, 5:10, 5:10] += 3
    maps[3, 5:10, 5:10] -= 3
    found = channels_of(maps, (5, 5, 10, 10))
    assert found.dead.tolist() == [1]
    assert found.order.tolist() == [2, 0, 3]
    live = found.maps[0].ravel()
    low, high = np.percentile(maps[0], (1, 99))
    assert np.allclose(live, np.clip((maps[0].ravel() - low) / (high - low), 0, 1), atol=1e-6)


def test_a_channel_that_fires_in_few_cells_is_not_dead() -> None:
    maps = np.zeros((1, 40, 40))
    maps[0, 3, 3] = 2
    found = channels_of(maps, None)
    assert found.order.tolist() == [0]
    assert found.maps[0, 3, 3] == 1


def test_tokens_lie_over_the_picture_where_their_grid_does() -> None:
    assert token_grid(197, (224, 224)) == (14, 14, 1)
    assert token_grid(196, (224, 224)) == (14, 14, 0)
    assert token_grid(1 + 12 * 8, (384, 256)) == (8, 12, 1)
    assert token_grid(84, (416, 416)) is None
    maps = as_maps(np.arange(197 * 3, dtype=np.float32).reshape(1, 197, 3), (224, 224))
    assert maps is not None
    assert maps.shape == (3, 14, 14)
    assert maps[:, 0, 0].tolist() == [3, 4, 5]


def test_first_filters_are_in_the_order_of_colours(tmp_path: Path) -> None:
    weights = np.zeros((1, 3, 1, 2), np.float32)
    weights[0, 0] = [[2, -1]]
    path = save(tmp_path / "f.onnx", [helper.make_node("Conv", ["x", "w"], ["y"])], {"w": weights}, [1, 3, 4, 4], "y")
    tapped = Tapped(path, load_whole(path))
    assert first_filters(tapped).tolist() == [[[[1, 0.5, 0.5], [0.25, 0.5, 0.5]]]]
    assert first_filters(tapped, "bgr").tolist() == [[[[0.5, 0.5, 1], [0.5, 0.5, 0.25]]]]


def test_the_command_lists_layers_in_80_columns_and_writes_channels(cli, tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))
    model = residual_classifier(tmp_path / "r.onnx")
    done = cli("look", tmp_path / "a.png", "--model", model, "--layers", "--activations", tmp_path / "out",
               "--layer", "1-3", "--json", tmp_path / "n.json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "5 layers, 941 parameters, 221 k multiply-adds" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    record = json.loads((tmp_path / "n.json").read_text())["pictures"][0]
    assert [one["layer"] for one in record["activations"]] == [1, 2, 3]
    assert sorted(record["activations"][0]["order"] + record["activations"][0]["dead"]) == list(range(8))
    assert read_image(tmp_path / "out" / "a" / "001-stem.png").shape[1] > 8 * 100
    assert (tmp_path / "out" / "a" / "filters.png").is_file()


def test_wrong_use_is_one_line(cli, tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", np.zeros((40, 60, 3), np.uint8))
    model = residual_classifier(tmp_path / "r.onnx")
    rows = [
        (("--model", model), 2, "say what to look at"),
        (("--model", model, "--layer", "1"), 2, "--activations DIR"),
        (("--model", model, "--activations", tmp_path / "o", "--layer", "99"), 2, "--layers lists them, 1 to 5"),
        (("--model", model, "--why", "1", "--box", "5,5,1,1"), 2, "no box"),
        (("--model", model, "--eigen-cam"), 3, "--cam is exact"),
        (("--cam",), 3, "one cell of its map"),
        (("--model", "person", "--layers"), 3, "holds no network"),
        (("--model", tmp_path / "none.onnx", "--layers"), 3, "no such model"),
    ]
    for options, status, text in rows:
        done = cli("look", tmp_path / "a.png", *options)
        assert (done.returncode, done.stderr.count("\n")) == (status, 1), done.stderr
        assert text in done.stderr
