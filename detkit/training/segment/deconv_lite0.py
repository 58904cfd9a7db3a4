"""DeconvLite0: a deconvolution network that is small, and whose encoder has seen ImageNet."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from detkit.training.segment.segment_network import Deconvolution, SegmentNetwork
from detkit.training.segment.unpooling import pool, unpool
from detkit.training.torch.backbone import LITE0_TOP, EfficientNetLite0

STRIDES = (2, 4, 8, 16, 32)
ENCODER = (16, 24, 40, 112)  # channels of the last maps of strides 2, 4, 8 and 16
DECODER = (32, 64, 96, 160)  # channels of the decoder at those strides
COARSEST = 192  # ... and at stride 32


class Mirror(nn.Module):
    """The mirror image of an encoder's stage: (N, C, h, w) and the stage's last map (N, S, 2h, 2w) to (N, D, 2h, 2w).

    The stage's map, projected to D channels, is max-pooled for its switches alone; the decoder's map is unpooled with
    them, and the projection added.
    """

    def __init__(self, channels_in: int, channels_out: int, channels_beside: int) -> None:
        super().__init__()
        self.before = Deconvolution(channels_in, channels_out)
        self.beside = nn.Conv2d(channels_beside, channels_out, 1)
        self.after = Deconvolution(channels_out, channels_out)

    def forward(self, x: Tensor, beside: Tensor) -> Tensor:
        beside = self.beside(beside)
        _, switches = pool(beside.detach())
        x = unpool(self.before(x), switches)
        result: Tensor = self.after(x + beside)
        return result


class DeconvLite0(SegmentNetwork):
    """A deconvolution network after Noh et al. (2015) with EfficientNet-Lite0 where the paper has VGG-16.

    The encoder's top, 1,280 channels at stride 32 that ImageNet taught, stands for fc6 and fc7. Its mirror image is a
    transposed convolution of one pixel; then four stages unpool and convolve transposed, and a last transposed
    convolution of stride 2 is the mirror image of the encoder's first, strided one.

    Departures: Lite0 strides where VGG pools, so switches are taken from the map before each stride (see `Mirror`), and
    that map is added to what was unpooled. Where the paper's fc6 sees a picture of 224 pixels whole, the mean of the
    top over the picture is added to its mirror image. Logits are a sum: those that the top gives, enlarged, and what
    each stage adds (as in Ghiasi and Fowlkes, "Laplacian Pyramid Reconstruction and Refinement", 2016). With the last
    stage's logits alone the loss on the pictures of the bundled network hardly fell in 700 steps, while the top's own
    were far ahead.
    """

    slow_layers = ("backbone.",)

    def __init__(self, classes: int, channels: Sequence[int] = DECODER, coarsest: int = COARSEST) -> None:
        super().__init__()
        self.settings = {
            "network": "lite0", "classes": classes, "channels": tuple(channels), "coarsest": coarsest
        }  # fmt: skip
        self.backbone = EfficientNetLite0(strides=STRIDES)
        self.coarse = nn.Conv2d(LITE0_TOP, classes, 1)
        self.top_mirror = Deconvolution(LITE0_TOP, coarsest, 1)
        self.surroundings = nn.Conv2d(LITE0_TOP, coarsest, 1)
        self.mirrors, self.additions = nn.ModuleList(), nn.ModuleList()
        channels_in = coarsest
        for channels_out, channels_beside in zip(reversed(channels), reversed(ENCODER), strict=True):
            self.mirrors.append(Mirror(channels_in, channels_out, channels_beside))
            if len(self.additions) < len(channels) - 1:  # the last stage's are the score's
                self.additions.append(_from_zero(nn.Conv2d(channels_out, classes, 1)))
            channels_in = channels_out
        self.score = _from_zero(nn.ConvTranspose2d(channels_in, classes, 4, stride=2, padding=1))

    def freeze(self, blocks: int) -> None:
        self.backbone.freeze(blocks)

    def whole(self, pictures: Tensor) -> list[Tensor]:
        *maps, _, top = self.backbone(pictures)
        mean = top.mean(dim=(2, 3), keepdim=True)
        x = self.top_mirror(top) + F.relu(self.surroundings(mean))
        coarse = logits = self.coarse(top)
        for number, (mirror, beside) in enumerate(zip(self.mirrors, reversed(maps), strict=True)):
            x = mirror(x, beside)
            if number < len(self.additions):
                logits = _enlarged(logits, 2) + self.additions[number](x)
        logits = _enlarged(logits, 4) + self.score(x)
        return [logits, coarse] if self.training else [logits]


def _from_zero(layer: nn.Conv2d | nn.ConvTranspose2d) -> nn.Module:
    """The layer with weights of zero: it has nothing to add yet."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _enlarged(logits: Tensor, times: int) -> Tensor:
    return F.interpolate(logits, scale_factor=float(times), mode="bilinear", align_corners=False)
