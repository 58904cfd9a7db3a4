"""Training of YOLO detectors with torch, which is needed for training and nowhere else in detkit."""

from detkit.training.torch.history import plot_history
from detkit.training.torch.train_settings import Length
from detkit.training.torch.training_set import TrainingSet
from detkit.training.yolo.yolo_recipe import Recipe
from detkit.training.yolo.yolo_training import Progress, YoloStart, YoloWork, train_yolo

__all__ = ["Length", "Progress", "Recipe", "TrainingSet", "YoloStart", "YoloWork", "plot_history", "train_yolo"]
