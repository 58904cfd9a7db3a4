"""Training of Fast and Faster R-CNN with torch, which is needed for training and nowhere else in detkit.

Girshick, "Fast R-CNN" (2015); Ren, He, Girshick and Sun, "Faster R-CNN" (2015). A training is made of these steps:

    anchors      -> label_anchors -> sample_anchors     what the region proposal network learns
    rois         propose -> sample_rois                 what the head learns
    roi_pool     roi_max_pool                           what the head sees of a RoI
    losses       rpn_loss, class_loss, box_loss
    objective    batch_losses -> multi_task_loss        all of it for a batch
"""

from detkit.training.yolo.data import TrainingSet
from detkit.training.yolo.history import plot_history

from .recipe import Recipe
from .train import VARIANTS, Progress, Variant, train_rcnn

__all__ = ["VARIANTS", "Progress", "Recipe", "TrainingSet", "Variant", "plot_history", "train_rcnn"]
