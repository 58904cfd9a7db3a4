"""Training of YOLO detectors with torch, which is needed here and nowhere else in detkit."""

from .data import TrainingSet
from .history import Progress, plot_history
from .recipe import Recipe
from .train import train_yolo

__all__ = ["Progress", "Recipe", "TrainingSet", "plot_history", "train_yolo"]
