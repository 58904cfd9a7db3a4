"""HOTA, CLEAR and identity figures: TrackEval's numbers on made scenes, small cases by hand, real sequences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from detkit.errors import InputError
from detkit.metrics.mot import MOT15, MOT17, MOT20, TrackFigures, combined, figures_of
from detkit.tracking.motchallenge import read_tracks, read_truth
from detkit.tracks import NO_CLASS, TrackTable

GOLDEN = Path(__file__).parent.parent / "data" / "mot_golden.npz"
KINDS = ("noise", "pixels", "copies", "one side")
RULES = {"MOT15": MOT15, "MOT17": MOT17, "MOT20": MOT20}


def table(rows: np.ndarray) -> TrackTable:
    """Rows of `frame, id, x, y, width, height, score, class`."""
    boxes = np.concatenate((rows[:, 2:4], rows[:, 2:4] + rows[:, 4:6]), axis=1)
    return TrackTable(
        rows[:, 0].astype(np.int64), rows[:, 1].astype(np.int64), boxes, rows[:, 6], rows[:, 7].astype(np.int64)
    )


def compare(figures: TrackFigures, golden: dict[str, np.ndarray], key: str) -> None:
    h, c, i = figures.hota, figures.clear, figures.identity
    hota = [h.hota, h.det_a, h.ass_a, h.loc_a, h.det_recall, h.det_precision, h.ass_recall, h.ass_precision]
    hota += [h.true_positives, h.false_negatives, h.false_positives]
    clear = [c.mota, c.moda, c.motp, c.s_mota, c.recall, c.precision, c.true_positives, c.false_negatives]
    clear += [c.false_positives, c.switches, c.fragments, c.mostly_tracked, c.partly_tracked, c.mostly_lost]
    identity = [i.idf1, i.recall, i.precision, i.true_positives, i.false_negatives, i.false_positives]
    for name, mine in (("HOTA", hota), ("CLEAR", clear), ("Identity", identity)):
        np.testing.assert_allclose(np.array(mine), golden[f"{key}/{name}"], rtol=0, atol=1e-9, err_msg=f"{key} {name}")


@pytest.mark.parametrize("benchmark", RULES)
def test_equal_to_trackeval(benchmark: str) -> None:
    golden = dict(np.load(GOLDEN))
    found = []
    for kind in KINDS:
        truth, result = (table(golden[f"{benchmark}/{kind}/{side}"]) for side in ("truth", "result"))
        found.append(figures_of(truth, result, RULES[benchmark]))
        compare(found[-1], golden, f"{benchmark}/{kind}")
    compare(combined(found), golden, f"{benchmark}/combined")


@pytest.mark.parametrize("benchmark", RULES)
def test_the_order_of_rows_within_a_track_does_not_matter(benchmark: str) -> None:
    golden = dict(np.load(GOLDEN))
    truth, result = (table(golden[f"{benchmark}/noise/{side}"]) for side in ("truth", "result"))
    rng = np.random.default_rng(0)
    shuffled = figures_of(truth[rng.permutation(len(truth))], result[rng.permutation(len(result))], RULES[benchmark])
    compare(shuffled, golden, f"{benchmark}/noise")


def rows(*given: tuple[int, int, float], score: float = 1, class_id: int = 1) -> np.ndarray:
    """Boxes of 10 x 10 at x, for (frame, id, x)."""
    return np.array([(frame, track, x, 0, 10, 10, score, class_id) for frame, track, x in given], float)


def test_one_switch_by_hand() -> None:
    truth = table(rows((1, 1, 0), (2, 1, 0), (3, 1, 0), (4, 1, 0)))
    result = table(rows((1, 7, 0), (2, 7, 0), (3, 8, 0), (4, 8, 0)))
    named = figures_of(truth, result).named()
    assert (named["switches"], named["fragments"], named["FP"], named["FN"]) == (1, 0, 0, 0)
    assert named["MOTA"] == 3 / 4
    assert named["IDF1"] == 2 / 4  # 2 of 4 boxes on both sides
    assert named["DetA"] == 1
    assert named["AssA"] == pytest.approx(2 / 4)  # each box: 2 shared frames of 4
    assert named["HOTA"] == pytest.approx(0.5**0.5)


def test_a_gap_is_a_fragment_and_no_switch() -> None:
    truth = table(rows(*((frame, 1, 0) for frame in range(1, 6))))
    result = table(rows((1, 3, 0), (2, 3, 0), (3, 3, 500), (4, 3, 0), (5, 3, 0)))
    named = figures_of(truth, result).named()
    assert (named["switches"], named["fragments"], named["FP"], named["FN"]) == (0, 1, 1, 1)


def test_distractors_take_boxes_away_and_ignored_rows_do_not_count() -> None:
    truth = table(np.concatenate((rows((1, 1, 0)), rows((1, 2, 50), class_id=7), rows((1, 3, 90), score=0))))
    result = table(rows((1, 1, 0), (1, 2, 50), (1, 3, 90)))
    named = figures_of(truth, result, MOT17).named()
    assert (named["TP"], named["FP"], named["FN"]) == (1, 1, 0)  # who stands on an ignored pedestrian is false
    named = figures_of(truth, result, MOT15).named()
    assert (named["TP"], named["FP"], named["FN"]) == (2, 1, 0)


def test_without_boxes_on_a_side() -> None:
    some, none = table(rows((1, 1, 0), (2, 1, 0))), TrackTable.empty()
    missed, false = figures_of(some, none).named(), figures_of(none, some).named()
    assert (missed["FN"], missed["HOTA"], missed["MOTA"], missed["mostly_lost"]) == (2, 0, 0, 1)
    assert (false["FP"], false["HOTA"], false["IDF1"]) == (2, 0, 0)
    assert figures_of(none, none).named()["HOTA"] == 0
    assert combined([figures_of(some, some), figures_of(some, none)]).named()["MOTA"] == 0.5


def test_a_track_twice_in_a_frame() -> None:
    with pytest.raises(InputError, match="frame 1 holds track 4 twice"):
        table(rows((1, 4, 0), (1, 4, 20)))
    one = np.ones(1, np.int64)
    with pytest.raises(InputError, match=r"boxes must have shape \(1, 4\)"):
        TrackTable(one, one, np.zeros((2, 4)), np.ones(1), np.full(1, NO_CLASS))


# Published by TrackEval for the results in the shared data: HOTA, DetA, AssA, MOTA, IDF1 in percent, switches, FP, FN.
PUBLISHED = {
    "MOT17-05-FRCNN": (70.20, 73.75, 67.09, 85.53, 82.78, 57, 409, 535),
    "MOT17-09-FRCNN": (65.19, 77.57, 54.89, 88.04, 73.97, 32, 227, 378),
}


@pytest.mark.parametrize("sequence", PUBLISHED)
def test_published_figures(shared: Path, sequence: str) -> None:
    folder = shared / "data" / "tracks" / "MOT17" / sequence
    named = figures_of(read_truth(folder / "gt" / "gt.txt"), read_tracks(folder / "tracker-result.txt")).named()
    shares = [round(100 * named[name], 2) for name in ("HOTA", "DetA", "AssA", "MOTA", "IDF1")]
    assert (*shares, named["switches"], named["FP"], named["FN"]) == PUBLISHED[sequence]
