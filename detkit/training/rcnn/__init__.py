"""Training of R-CNN, which needs no torch, and of Fast and Faster R-CNN, which do.

Girshick et al., "Rich feature hierarchies" (2014): `svm_training` and `rcnn_svm`.

Girshick, "Fast R-CNN" (2015); Ren, He, Girshick and Sun, "Faster R-CNN" (2015): `rcnn_training`, made of these steps:

    anchors          -> label_anchors -> sample_anchors     what the region proposal network learns
    rois             propose -> sample_rois                 what the head learns
    roi_pool         roi_max_pool                           what the head sees of a RoI
    rcnn_losses      rpn_loss, class_loss, box_loss
    rcnn_objective   batch_losses -> multi_task_loss        all of it for a batch

The names are loaded when they are first used, so that what needs no torch does not load it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from detkit.training.rcnn.precomputed import GivenProposals as GivenProposals
    from detkit.training.rcnn.rcnn_recipe import Recipe as Recipe
    from detkit.training.rcnn.rcnn_training import Progress as Progress
    from detkit.training.rcnn.rcnn_training import train_rcnn as train_rcnn
    from detkit.training.torch.history import plot_history as plot_history
    from detkit.training.torch.train_settings import Length as Length
    from detkit.training.torch.train_settings import Start as Start
    from detkit.training.torch.train_settings import Work as Work
    from detkit.training.torch.training_set import TrainingSet as TrainingSet

_HOMES = {
    "GivenProposals": "rcnn.precomputed",
    "Length": "torch.train_settings",
    "Progress": "rcnn.rcnn_training",
    "Recipe": "rcnn.rcnn_recipe",
    "Start": "torch.train_settings",
    "TrainingSet": "torch.training_set",
    "Work": "torch.train_settings",
    "plot_history": "torch.history",
    "train_rcnn": "rcnn.rcnn_training",
}

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"detkit.training.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
