"""A training watched on pictures that it does not learn from: the best state is kept, and it may end early."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from detkit.training.torch.train_session import DETECTOR, Session
from detkit.training.torch.train_settings import Measured, Watching

_CANDIDATE = "candidate.onnx"


class Watcher:
    """Looks at a training that is under way.

    export   writes the average of its weights, as they are now, to a file

    The detector in the folder is always the best that was seen, or the last where nothing is held out; what it was
    worth is in the checkpoint, so that a training that was killed goes on comparing.
    """

    def __init__(self, watching: Watching, session: Session[Any], export: Callable[[Path], Path]) -> None:
        self.watching, self._session, self._export = watching, session, export
        self._next = (int(session.share() * watching.times) + 1) / watching.times
        self._losses: list[float] = []
        self._rate = 0.0

    def after_step(self, loss: float, rate: float) -> bool:
        """To be called after each step; whether the training is to end now."""
        self._losses.append(loss)
        self._rate = rate
        share = self._session.share()
        if self.watching.measure is None or share < min(self._next, 1.0):
            return False
        self._next = (int(share * self.watching.times) + 1) / self.watching.times
        self._look(share)
        patience = self.watching.patience
        return patience is not None and self._session.since_best >= patience

    def finish(self) -> Path:
        """The detector, once the training is over."""
        session = self._session
        path = session.directory / DETECTOR
        if self.watching.measure is None:
            self._export(path)
        elif session.looked_at != session.step:
            self._look(session.share())
        session.save()
        return path

    def _look(self, share: float) -> None:
        session, measure = self._session, self.watching.measure
        assert measure is not None
        with session.paused():
            candidate = self._export(session.directory / _CANDIDATE)
            figures = measure(candidate)
            # Without boxes there AP is undefined, -1: the last state is as good as any.
            best = session.best_ap is None or figures[0] > session.best_ap or figures[0] < 0
            if best:
                os.replace(candidate, session.directory / DETECTOR)
            else:
                candidate.unlink(missing_ok=True)
        session.looked(figures[0], best)
        session.save()
        loss = sum(self._losses) / max(len(self._losses), 1)
        self._losses.clear()
        self.watching.told(Measured(share, session.seconds(), loss, self._rate, figures, best))
