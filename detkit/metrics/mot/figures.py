"""All figures of tracking, of one sequence and of several together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from detkit.metrics.mot.clear import Clear, clear, combined_clear
from detkit.metrics.mot.hota import Hota, combined_hota, hota
from detkit.metrics.mot.identity import Identity, combined_identity, identity
from detkit.metrics.mot.preprocessing import MOT17, Rules, prepare
from detkit.tracks import TrackTable


@dataclass(frozen=True)
class TrackFigures:
    """HOTA, CLEAR and identity figures, and the numbers of tracks that count on both sides."""

    hota: Hota
    clear: Clear
    identity: Identity
    truth_tracks: int
    result_tracks: int

    def named(self) -> dict[str, float]:
        """The usual figures by name; shares from 0 to 1, HOTA's the means over its 19 thresholds."""
        return {
            "HOTA": float(self.hota.hota.mean()),
            "DetA": float(self.hota.det_a.mean()),
            "AssA": float(self.hota.ass_a.mean()),
            "LocA": float(self.hota.loc_a.mean()),
            "DetRe": float(self.hota.det_recall.mean()),
            "DetPr": float(self.hota.det_precision.mean()),
            "AssRe": float(self.hota.ass_recall.mean()),
            "AssPr": float(self.hota.ass_precision.mean()),
            "MOTA": self.clear.mota,
            "MOTP": self.clear.motp,
            "recall": self.clear.recall,
            "precision": self.clear.precision,
            "IDF1": self.identity.idf1,
            "IDR": self.identity.recall,
            "IDP": self.identity.precision,
            "switches": self.clear.switches,
            "fragments": self.clear.fragments,
            "TP": self.clear.true_positives,
            "FP": self.clear.false_positives,
            "FN": self.clear.false_negatives,
            "mostly_tracked": self.clear.mostly_tracked,
            "partly_tracked": self.clear.partly_tracked,
            "mostly_lost": self.clear.mostly_lost,
            "truth_tracks": self.truth_tracks,
            "tracks": self.result_tracks,
        }


def figures_of(truth: TrackTable, result: TrackTable, rules: Rules = MOT17) -> TrackFigures:
    """The figures of `result` against `truth`, of one video, prepared by the `rules` of its benchmark."""
    video = prepare(truth, result, rules)
    return TrackFigures(hota(video), clear(video), identity(video), video.truth_tracks, video.result_tracks)


def combined(parts: Sequence[TrackFigures]) -> TrackFigures:
    """The figures of several videos together, as TrackEval combines them: by boxes, not by videos."""
    return TrackFigures(
        combined_hota([part.hota for part in parts]),
        combined_clear([part.clear for part in parts]),
        combined_identity([part.identity for part in parts]),
        sum(part.truth_tracks for part in parts),
        sum(part.result_tracks for part in parts),
    )
