"""`detkit eval --protocol mot`: files, folders of sequences, rules, and what is refused."""

from __future__ import annotations

import orjson
import pytest
from typer.testing import CliRunner

from detkit.cli import app
from detkit.errors import InputError
from detkit.tracking.sequence_files import find_sequences, frame_rate, read_track_lines

# two people, ten frames; classes and visibility as MOT17 has them; a static person (class 7) beside them
TRUTH = "".join(
    f"{frame},1,{10 * frame},20,30,60,1,1,1\n{frame},2,{300 - 10 * frame},220,30,60,1,1,1\n"
    f"{frame},3,500,20,30,60,0,7,1\n"
    for frame in range(1, 11)
)


def result(switch_at: int = 99) -> str:
    """The two people exactly, the first one under another number from frame `switch_at`; and the static one."""
    return "".join(
        f"{frame},{1 if frame < switch_at else 9},{10 * frame},20,30,60,0.9,-1,-1,-1\n"
        f"{frame},2,{300 - 10 * frame},220,30,60,0.9,-1,-1,-1\n{frame},3,500,20,30,60,0.9,-1,-1,-1\n"
        for frame in range(1, 11)
    )


@pytest.fixture
def benchmark(tmp_path):
    """Two sequences, the second with one switch; and their results."""
    for name, switch_at in (("MOT17-A", 99), ("MOT20-B", 6)):
        (tmp_path / "train" / name / "gt").mkdir(parents=True)
        (tmp_path / "train" / name / "gt" / "gt.txt").write_text(TRUTH)
        (tmp_path / "train" / name / "seqinfo.ini").write_text("[Sequence]\nname=x\nframeRate=25\n")
        (tmp_path / "res").mkdir(exist_ok=True)
        (tmp_path / "res" / f"{name}.txt").write_text(result(switch_at))
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(app, ["eval", *map(str, arguments), "--protocol", "mot"])


def figures(*arguments):
    outcome = run(*arguments, "--json", "-")
    assert outcome.exit_code == 0, outcome.output
    return orjson.loads(outcome.stdout)


def test_folders_have_a_row_a_sequence_and_all_together(benchmark):
    found = figures(benchmark / "res", benchmark / "train")
    assert found["protocol"] == "mot"
    assert list(found["sequences"]) == ["MOT17-A", "MOT20-B"]
    first, second = found["sequences"].values()
    assert first["HOTA"] == first["MOTA"] == first["IDF1"] == 1.0
    assert first["FP"] == first["FN"] == first["switches"] == 0  # the static person is a distractor
    assert (second["switches"], second["MOTA"]) == (1, 1 - 1 / 20)
    assert found["figures"]["MOTA"] == 1 - 1 / 40
    text = run(benchmark / "res", benchmark / "train", "--explain").stdout
    assert "MOT16/17 and MOT20: 2 sequences, 40 boxes of 4 tracks" in text
    assert [line.split()[0] for line in text.splitlines()[2:5]] == ["MOT17-A", "MOT20-B", "all"]
    assert "best pairing of whole tracks" in text


def test_two_files_or_a_file_and_a_sequence(benchmark):
    truth = benchmark / "train" / "MOT20-B"
    for place in (truth, truth / "gt" / "gt.txt"):
        assert list(figures(benchmark / "res" / "MOT20-B.txt", place)["sequences"]) == ["MOT20-B"]


def test_rules_of_another_benchmark(benchmark):
    assert figures(benchmark / "res", benchmark / "train", "--gt-format", "mot15")["figures"]["FP"] == 20
    refused = run(benchmark / "res", benchmark / "train", "--gt-format", "coco")
    assert refused.exit_code == 2
    assert "mot15, mot17, mot20" in refused.stderr


def test_a_result_that_is_missing_is_no_empty_one(benchmark):
    (benchmark / "res" / "MOT17-A.txt").unlink()
    outcome = run(benchmark / "res", benchmark / "train")
    assert outcome.exit_code == 1
    assert "no result of MOT17-A" in outcome.stderr
    (benchmark / "res" / "MOT17-A.txt").write_text("")
    found = figures(benchmark / "res", benchmark / "train")["sequences"]["MOT17-A"]
    assert (found["HOTA"], found["FN"]) == (0.0, 20)


def test_options_of_other_protocols_are_refused(benchmark):
    outcome = run(benchmark / "res", benchmark / "train", "--conf", "0.3")
    assert outcome.exit_code == 2
    assert "--conf" in outcome.stderr


def test_a_bar_for_continuous_integration(benchmark):
    assert run(benchmark / "res", benchmark / "train", "--fail-under", "0.5").exit_code == 0
    assert run(benchmark / "res", benchmark / "train", "--fail-under", "0.999").exit_code == 1
    assert run(benchmark / "res", benchmark / "train", "--fail-under", "IDF1=0.999").exit_code == 1
    count = run(benchmark / "res", benchmark / "train", "--fail-under", "switches=0.5")
    assert count.exit_code == 2
    assert "is a count" in count.stderr


def test_json_spares_the_inputs(benchmark):
    truth = benchmark / "train" / "MOT17-A" / "gt" / "gt.txt"
    assert run(benchmark / "res" / "MOT17-A.txt", truth, "--json", truth).exit_code == 2
    assert truth.read_text() == TRUTH


def test_results_without_a_ground_truth_are_named(benchmark):
    (benchmark / "res" / "other.txt").write_text(result())
    sequences, others = find_sequences(benchmark / "res", benchmark / "train")
    assert len(sequences) == 2
    assert [path.name for path in others] == ["other.txt"]


def test_json_lines_are_results(benchmark):
    lines = []
    for frame in range(10):
        boxes = [(1, [10 * frame + 10, 20, 10 * frame + 40, 80]), (2, [290 - 10 * frame, 220, 320 - 10 * frame, 280])]
        found = [{"box": box, "score": 0.9, "class": "person", "class_id": 0, "track": track} for track, box in boxes]
        lines.append(orjson.dumps({"file": "a.avi", "frame": frame, "time": frame / 25, "detections": found}))
    path = benchmark / "tracks.jsonl"
    path.write_bytes(b"\n".join(lines))
    assert len(read_track_lines(path)) == 20
    assert figures(path, benchmark / "train" / "MOT17-A")["figures"]["HOTA"] == 1.0
    path.write_bytes(lines[0] + b'\n{"file": "a.avi"\n')
    with pytest.raises(InputError, match="line 2"):
        read_track_lines(path)


def test_the_rate_of_a_sequence(benchmark):
    assert frame_rate(benchmark / "train" / "MOT17-A" / "gt" / "gt.txt") == 25
    assert frame_rate(benchmark / "res") is None


def test_results_are_no_ground_truth(tmp_path):
    """A score in the seventh column marks no box as one that counts."""
    (tmp_path / "a.txt").write_text(result())
    done = run(tmp_path / "a.txt", tmp_path / "a.txt")
    assert done.exit_code == 1
    assert "no box that counts" in done.stderr
