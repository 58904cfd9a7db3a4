"""The detector that `detkit train yolo` trains: an EfficientNet-Lite0 with a path-aggregation neck and a decoupled
head.

Images are RGB float32 (N, 3, H, W) in 0-1, H and W multiples of 32. Feature maps have strides 8, 16 and 32. Each
cell of each map is one *point*: points of all maps are concatenated, finest map first, rows before columns, to an
axis of length A.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .depthwise import depthwise_convolution, pointwise_convolution

STRIDES = (8, 16, 32)

# Stages of EfficientNet-Lite0: kernel size, stride, expansion, output channels, repeats.
LITE0_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
LITE0_STEM = 32
LITE0_TOP = 1280
IMAGENET_MEAN = 127.0 / 255.0  # EfficientNet-Lite maps 0-255 to (x - 127) / 128
IMAGENET_SCALE = 255.0 / 128.0


class FrozenNormConv2d(nn.Module):
    """A convolution and the batch normalisation after it, whose statistics and gain no longer change.

    `scale` is gain / sqrt(variance + epsilon) and stays fixed; `weight` and `bias` (offset - mean * scale) train.
    The scale is multiplied into the weight on the fly, so no normalisation passes over the activations, forward or
    backward.
    """

    scale: Tensor

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.stride, self.padding, self.groups = stride, kernel // 2, groups
        self.weight = nn.Parameter(torch.empty(channels_out, channels_in // groups, kernel, kernel))
        nn.init.kaiming_normal_(self.weight, mode="fan_out" if groups == 1 else "fan_in", nonlinearity="relu")
        self.bias = nn.Parameter(torch.zeros(channels_out))
        self.register_buffer("scale", torch.ones(channels_out))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight * self.scale.view(-1, 1, 1, 1)
        if self.groups > 1:
            return depthwise_convolution(x, weight, self.bias, self.stride)
        if self.padding == 0 and self.stride == 1:
            return pointwise_convolution(x, weight, self.bias)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


class InvertedResidual(nn.Module):
    """MobileNetV2's block as EfficientNet-Lite has it: no squeeze-and-excitation, ReLU6.

    `convolution` makes its layers from (channels in, channels out, kernel, stride, groups). `hidden` is the number of
    channels between them where it is not the expansion's.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int,
        stride: int,
        expansion: int,
        convolution: Callable[..., nn.Module] = FrozenNormConv2d,
        hidden: int | None = None,
    ) -> None:
        super().__init__()
        hidden = hidden or channels_in * expansion
        self.expand = convolution(channels_in, hidden, 1) if expansion != 1 else None
        self.depthwise = convolution(hidden, hidden, kernel, stride, groups=hidden)
        self.project = convolution(hidden, channels_out, 1)
        self.residual = stride == 1 and channels_in == channels_out

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else F.relu6(self.expand(x), inplace=True)
        y = self.project(F.relu6(self.depthwise(y), inplace=True))
        return x + y if self.residual else y


class EfficientNetLite0(nn.Module):
    """Feature maps of EfficientNet-Lite0 at strides 8, 16 and 32: (N, 40, H/8, W/8), (N, 112, ...), (N, 320, ...).

    A fourth map (N, 1280, H/32, W/32) is what the classifier would average and tell its classes from. A slimmed network
    has other numbers of `hidden` channels, one for each block, and of `top` channels than the classifier.

    Tan and Le, "EfficientNet" (2019), in the "Lite" form of its authors' repository. Departures: convolutions of
    stride 2 pad both sides alike where TensorFlow pads after the picture only, which moves the feature maps and
    nothing else.
    """

    channels = (40, 112, 320)

    def __init__(self, hidden: Sequence[int] = (), top: int = LITE0_TOP) -> None:
        super().__init__()
        self.stem = FrozenNormConv2d(3, LITE0_STEM, 3, stride=2)
        self.blocks = nn.ModuleList()
        self.taken: list[int] = []  # indices of the blocks whose outputs are the feature maps
        channels_in, stride_now = LITE0_STEM, 2
        for kernel, stride, expansion, channels_out, repeats in LITE0_STAGES:
            if stride == 2 and stride_now in STRIDES:
                self.taken.append(len(self.blocks) - 1)
            stride_now *= stride
            for i in range(repeats):
                width = hidden[len(self.blocks)] if hidden else None
                self.blocks.append(
                    InvertedResidual(
                        channels_in, channels_out, kernel, stride if i == 0 else 1, expansion, hidden=width
                    )
                )
                channels_in = channels_out
        self.taken.append(len(self.blocks) - 1)
        self.top = FrozenNormConv2d(channels_in, top, 1)
        self.frozen_blocks = 0

    def freeze(self, blocks: int) -> None:
        """Stop training the stem and the first `blocks` blocks (0 trains everything)."""
        self.frozen_blocks = blocks
        for module in (self.stem, *self.blocks[:blocks]):
            module.requires_grad_(blocks == 0)

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = []
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen_blocks):
            x = F.relu6(self.stem((images - IMAGENET_MEAN) * IMAGENET_SCALE), inplace=True)
            for block in self.blocks[: self.frozen_blocks]:
                x = block(x)
        for i, block in enumerate(self.blocks):
            if i >= self.frozen_blocks:
                x = block(x)
            if i in self.taken:
                maps.append(x)
        return [*maps, F.relu6(self.top(x), inplace=True)]


class DepthwiseConv2d(nn.Conv2d):
    """One kernel for each channel, no bias, padded to keep the size where the stride is 1."""

    def __init__(self, channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__(channels, channels, kernel, stride, kernel // 2, groups=channels, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        return depthwise_convolution(input, self.weight, None, self.stride[0])


class PointwiseConv2d(nn.Conv2d):
    """One pixel's channels to others."""

    def __init__(self, channels_in: int, channels_out: int, bias: bool = False) -> None:
        super().__init__(channels_in, channels_out, 1, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        return pointwise_convolution(input, self.weight, self.bias)


class NormConv2d(nn.Sequential):
    """Convolution, batch normalisation and ReLU."""

    def __init__(
        self, channels_in: int, channels_out: int, kernel: int = 1, stride: int = 1, depthwise: bool = False
    ) -> None:
        layers: list[nn.Module] = [
            DepthwiseConv2d(channels_in, kernel, stride) if depthwise else PointwiseConv2d(channels_in, channels_out),
            nn.BatchNorm2d(channels_out, momentum=0.03),
            nn.ReLU(inplace=True),
        ]
        super().__init__(*layers)


def separable(channels_in: int, channels_out: int, kernel: int = 5, stride: int = 1) -> nn.Sequential:
    """A depthwise and a pointwise convolution, each with its normalisation and ReLU."""
    return nn.Sequential(
        NormConv2d(channels_in, channels_in, kernel, stride, depthwise=True), NormConv2d(channels_in, channels_out)
    )


class Fusion(nn.Module):
    """Two maps (N, C, h, w) to one: concatenated, mixed, then a separable convolution beside a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = NormConv2d(2 * channels, channels)
        self.refine = separable(channels, channels)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        x = self.mix(torch.cat((a, b), dim=1))
        return x + self.refine(x)


class PathAggregationNeck(nn.Module):
    """Liu et al., "Path Aggregation Network" (2018): a pass from coarse to fine, then one from fine to coarse.

    Departures: maps are concatenated, not added; convolutions are separable, as in NanoDet and YOLOX-Nano.
    """

    def __init__(self, channels_in: tuple[int, int, int], channels: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(NormConv2d(c, channels) for c in channels_in)
        self.down = nn.ModuleList(Fusion(channels) for _ in range(2))
        self.up = nn.ModuleList(Fusion(channels) for _ in range(2))
        self.stride = nn.ModuleList(separable(channels, channels, stride=2) for _ in range(2))

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        fine, middle, coarse = (lateral(x) for lateral, x in zip(self.lateral, maps, strict=True))
        middle = self.down[0](middle, F.interpolate(coarse, scale_factor=2.0, mode="nearest"))
        fine = self.down[1](fine, F.interpolate(middle, scale_factor=2.0, mode="nearest"))
        middle = self.up[0](middle, self.stride[0](fine))
        coarse = self.up[1](coarse, self.stride[1](middle))
        return [fine, middle, coarse]


class SharedSeparable(nn.Module):
    """A separable convolution whose weights all feature maps share, while each map has its own normalisations.

    As the head of RTMDet (Lyu et al., 2022): objects of a class look alike at every scale, their statistics
    differ.
    """

    def __init__(self, channels: int, kernel: int = 5) -> None:
        super().__init__()
        self.depthwise = DepthwiseConv2d(channels, kernel)
        self.pointwise = PointwiseConv2d(channels, channels)
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels, momentum=0.03) for _ in range(2 * len(STRIDES)))

    def forward(self, x: Tensor, level: int) -> Tensor:
        x = F.relu(self.norms[2 * level](self.depthwise(x)), inplace=True)
        return F.relu(self.norms[2 * level + 1](self.pointwise(x)), inplace=True)


class DecoupledHead(nn.Module):
    """Class logits (N, classes, A) and the logits (N, 4, bins, A) of the distances left, top, right and bottom."""

    def __init__(self, channels: int, classes: int, bins: int, depth: int = 2) -> None:
        super().__init__()
        self.classes, self.bins = classes, bins
        self.class_branch = nn.ModuleList(SharedSeparable(channels) for _ in range(depth))
        self.box_branch = nn.ModuleList(SharedSeparable(channels) for _ in range(depth))
        self.class_out = PointwiseConv2d(channels, classes, bias=True)
        box_layers = [PointwiseConv2d(channels, 4 * bins, bias=True) for _ in STRIDES]
        for layer in box_layers:
            assert layer.bias is not None  # boxes start about three strides wide, not as wide as the bins go
            nn.init.constant_(layer.weight, 0.0)
            layer.bias.data.copy_(-torch.arange(bins).repeat(4) / 2)
        self.box_out = nn.ModuleList(box_layers)
        nn.init.normal_(self.class_out.weight, std=0.01)
        assert self.class_out.bias is not None
        nn.init.constant_(self.class_out.bias, -4.6)  # sigmoid(-4.6) = 0.01, the prior of RetinaNet

    def forward(self, maps: list[Tensor], evidence: list[Tensor]) -> tuple[Tensor, Tensor]:
        logits, distances = [], []
        for level, x in enumerate(maps):
            c = b = x
            for layer in self.class_branch:
                c = layer(c, level)
            for layer in self.box_branch:
                b = layer(b, level)
            logits.append((self.class_out(c) + evidence[level]).flatten(2))  # (N, classes, h * w)
            distances.append(self.box_out[level](b).flatten(2))  # (N, 4 * bins, h * w)
        return torch.cat(logits, dim=2), torch.cat(distances, dim=2).unflatten(1, (4, self.bins))


class ClassShortcut(nn.Module):
    """What the classifier's own features (N, C, H/32, W/32) say of the classes, to be added to each map's logits.

    Linear, from 0, one for each feature map: list of (N, classes, h, w). These features tell many classes apart before
    the first step, where neck and head, which start at random, need a long time.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        layers = [nn.Conv2d(channels, classes, 1, bias=False) for _ in STRIDES]
        for layer in layers:
            nn.init.zeros_(layer.weight)
        self.linear = nn.ModuleList(layers)

    def forward(self, top: Tensor) -> list[Tensor]:
        weight = torch.cat(list(self.linear.parameters()))  # one convolution for all maps
        fine, middle, coarse = pointwise_convolution(top, weight, None).chunk(len(STRIDES), dim=1)
        return [
            F.interpolate(fine, scale_factor=4.0, mode="nearest"),
            F.interpolate(middle, scale_factor=2.0, mode="nearest"),
            coarse,
        ]


class YoloNetwork(nn.Module):
    """Images (N, 3, H, W) to class logits (N, classes, A) and distance logits (N, 4, bins, A).

    A distance is from a point to a side of its box in units of the point's stride; bin i stands for the distance
    i.
    """

    def __init__(
        self, classes: int, channels: int = 96, bins: int = 16, hidden: Sequence[int] = (), top: int = LITE0_TOP
    ) -> None:
        super().__init__()
        self.settings = {
            "classes": classes, "channels": channels, "bins": bins, "hidden": tuple(hidden), "top": top
        }  # fmt: skip
        self.backbone = EfficientNetLite0(hidden, top)
        self.neck = PathAggregationNeck(self.backbone.channels, channels)
        self.head = DecoupledHead(channels, classes, bins)
        self.shortcut = ClassShortcut(top, classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        *maps, top = self.backbone(images)
        return self.head(self.neck(maps), self.shortcut(top))


def grid_points(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Centres (A, 2) of all points as x, y in pixels of the input, and their strides (A,)."""
    centres, strides = [], []
    for stride in STRIDES:
        ys = (torch.arange(height // stride) + 0.5) * stride
        xs = (torch.arange(width // stride) + 0.5) * stride
        y, x = torch.meshgrid(ys, xs, indexing="ij")
        centres.append(torch.stack((x.flatten(), y.flatten()), dim=1))
        strides.append(torch.full((len(centres[-1]),), float(stride)))
    return torch.cat(centres), torch.cat(strides)


def decode_boxes(distance_logits: Tensor, centres: Tensor, strides: Tensor) -> Tensor:
    """Boxes (N, 4, A) xyxy in input pixels from distance logits (N, 4, bins, A), centres (A, 2) and strides (A,).

    A distance is the mean of its distribution: Li et al., "Generalized Focal Loss" (2020), equation 5.
    """
    bins = torch.arange(distance_logits.shape[2], dtype=distance_logits.dtype).view(1, 1, -1, 1)
    distances = (distance_logits.softmax(dim=2) * bins).sum(dim=2) * strides  # (N, 4, A)
    points = centres.T  # (2, A)
    return torch.cat((points - distances[:, :2], points + distances[:, 2:]), dim=1)
