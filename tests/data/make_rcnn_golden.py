"""Writes rcnn_golden.npz: RoI pooling, anchors and offsets as torchvision computes them.

python make_rcnn_golden.py        # in an environment with torch and torchvision (0.28 here)
"""

from pathlib import Path

import numpy as np
import torch
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import roi_pool

torch.manual_seed(0)
features = torch.randn(1, 3, 13, 17)
corners = torch.rand(40, 2) * torch.tensor([200.0, 150.0])
rois = torch.cat((corners, corners + 1 + torch.rand(40, 2) * 120), dim=1)
rois[0] = torch.tensor([0.0, 0.0, 272.0, 208.0])  # the whole picture
rois[1] = torch.tensor([8.0, 8.0, 24.0, 40.0])  # ends that round at a half
rois[2] = torch.tensor([250.0, 190.0, 300.0, 260.0])  # beyond the border
pooled = roi_pool(features, [rois], output_size=7, spatial_scale=1 / 16)

generator = AnchorGenerator(sizes=((32, 64, 128),), aspect_ratios=((0.5, 1.0, 2.0),))
anchors = generator(ImageList(torch.zeros(1, 3, 96, 128), [(96, 128)]), [torch.zeros(1, 8, 6, 8)])[0]

coder = BoxCoder(weights=(1.0, 1.0, 1.0, 1.0))
offsets = torch.randn(40, 4)
offsets[3, 2] = 9.0  # a wild one
targets = rois + torch.rand(40, 4) * 5
np.savez_compressed(
    Path(__file__).with_name("rcnn_golden.npz"),
    features=features.numpy(),
    rois=rois.numpy(),
    pooled=pooled.numpy(),
    shapes=(generator.cell_anchors[0][:, 2:] - generator.cell_anchors[0][:, :2]).numpy(),
    anchors=anchors.numpy(),
    offsets=offsets.numpy(),
    decoded=coder.decode_single(offsets, rois).numpy(),
    targets=targets.numpy(),
    encoded=coder.encode_single(targets, rois).numpy(),
)
