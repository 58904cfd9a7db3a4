"""Training of deconvolution networks, which tell the class of every pixel, with torch.

Noh, Hong and Han, "Learning Deconvolution Network for Semantic Segmentation", ICCV 2015: `DeconvNet` is theirs,
`DeconvLite0` a small one with an encoder that has seen ImageNet.
"""

from detkit.training.segment.deconv_lite0 import DeconvLite0
from detkit.training.segment.deconv_vgg import DeconvNet
from detkit.training.segment.segment_recipe import SegmentRecipe
from detkit.training.segment.segment_training import SegmentProgress, SegmentStart, train_segment
from detkit.training.torch.history import plot_history
from detkit.training.torch.train_settings import Length

__all__ = [
    "DeconvLite0",
    "DeconvNet",
    "Length",
    "SegmentProgress",
    "SegmentRecipe",
    "SegmentStart",
    "plot_history",
    "train_segment",
]
