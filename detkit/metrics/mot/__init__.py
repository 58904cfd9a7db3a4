"""Figures of multi-object tracking: HOTA, CLEAR and identity, under MOTChallenge's rules.

`figures_of(truth, result, rules)` measures one sequence, `combined(figures)` several together.
"""

from __future__ import annotations

from detkit.metrics.mot.figures import TrackFigures, combined, figures_of
from detkit.metrics.mot.preprocessing import MOT15, MOT17, MOT20, Rules

__all__ = ["MOT15", "MOT17", "MOT20", "Rules", "TrackFigures", "combined", "figures_of"]
