"""Edge maps: how strong the edge at a pixel is and which way it runs, the input of edge boxes.

    gradient_edges(image)  or  network_edges(image, network)  or  structured_forest.StructuredForest(file)(image)
        -> edge_orientation -> thin (non-maximum suppression across the edge)

A map is float32 (H, W). Strengths are 0 to 1. Orientations are radians in 0..pi, of the normal of the edge, from the
x axis towards y: 0 for an upright edge, pi / 2 for a level one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from detkit.errors import InputError, ModelError
from detkit.images import Image, as_image

if TYPE_CHECKING:
    from detkit.graphs.session import Network

EdgeMap = NDArray[np.float32]

SMOOTHING = 3.0  # sigma of the gradient's Gaussian, pixels: outlines of objects stay, most of their texture goes
SURROUNDINGS = 31  # side of the window that a gradient is compared with, pixels
FLAT = 15.0  # added to the mean gradient there, in Lab over a pixel
ORIENTATION_RADIUS = 4  # of the triangle filter before second derivatives
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Edges(NamedTuple):
    """Thinned strengths and orientations, both float32 (H, W)."""

    strength: EdgeMap
    orientation: EdgeMap


def gradient_edges(image: Image, sigma: float = SMOOTHING) -> EdgeMap:
    """Strengths 0 to 1 from the gradient of the picture (H, W, 3) RGB, smoothed by a Gaussian.

    At each pixel the channel in Lab with the steepest gradient counts. A gradient counts relative to its surroundings,
    as in the channels of Dollar and Zitnick (2013, section 4.3): divided by the mean of a window around it plus a
    constant for flat ones, so that faint outlines count beside strong ones.
    """
    lab = cv2.cvtColor(as_image(image).astype(np.float32) / 255, cv2.COLOR_RGB2Lab)
    lab = cv2.GaussianBlur(lab, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    dx = cv2.Sobel(lab, cv2.CV_32F, 1, 0, ksize=1, scale=0.5, borderType=cv2.BORDER_REPLICATE)
    dy = cv2.Sobel(lab, cv2.CV_32F, 0, 1, ksize=1, scale=0.5, borderType=cv2.BORDER_REPLICATE)
    steepness = np.sqrt((dx * dx + dy * dy).max(axis=2))
    around = cv2.blur(steepness, (SURROUNDINGS, SURROUNDINGS), borderType=cv2.BORDER_REFLECT)
    return np.asarray(np.minimum(steepness / (around + FLAT), 1), np.float32)


def edge_orientation(strength: EdgeMap, radius: int = ORIENTATION_RADIUS) -> EdgeMap:
    """Orientations 0..pi from the second derivatives of the smoothed strengths (Dollar and Zitnick's toolbox).

    Equal to OpenCV's `computeOrientation`, whose formula is atan of -yy * sign(xy) / xx.
    """
    smoothed = triangle_filter(_checked(strength), radius)
    xx = cv2.Sobel(smoothed, cv2.CV_32F, 2, 0).astype(np.float64)
    xy = cv2.Sobel(smoothed, cv2.CV_32F, 1, 1)
    yy = cv2.Sobel(smoothed, cv2.CV_32F, 0, 2).astype(np.float64)
    angle = np.arctan(yy * -np.sign(xy) / (xx + 1e-5))
    return np.where(angle > 0, angle, np.fmod(angle + np.pi, np.pi)).astype(np.float32)


def thin(strength: EdgeMap, orientation: EdgeMap, radius: int = 2, border: int = 0, factor: float = 1.0) -> EdgeMap:
    """The strengths with those set to 0 that are weaker than another on their normal, up to `radius` pixels away.

    border  strengths this near the border fade towards it
    factor  above 1 an edge survives that is this much weaker
    """
    from detkit.proposals.edge_boxes_kernels import thin_kernel

    strength, orientation = _checked(strength), _checked(orientation)
    if strength.shape != orientation.shape:
        raise InputError(f"strengths {strength.shape} and orientations {orientation.shape} differ in shape")
    thinned = thin_kernel(strength, orientation, radius, np.float32(factor))
    height, width = strength.shape
    reach = min(border, height // 2, width // 2)
    for near in range(reach):
        fade = np.float32(near / reach)
        thinned[:, near] *= fade
        thinned[:, width - 1 - near] *= fade
    for near in range(reach):
        fade = np.float32(near / reach)
        thinned[near] *= fade
        thinned[height - 1 - near] *= fade
    return thinned


def thinned_edges(strength: EdgeMap) -> Edges:
    """A map of strengths, thinned, with its orientations, as edge boxes takes it."""
    orientation = edge_orientation(strength)
    return Edges(thin(strength, orientation, border=5), orientation)


def network_edges(image: Image, network: Network) -> EdgeMap:
    """Strengths 0 to 1 from an .onnx edge network (HED, RCF, BDCN, DexiNed, TEED ...), at the size of the picture.

    The input takes one picture (1, 3, H, W), RGB; sides that the graph leaves open become multiples of 32. Samples
    are normalised as the graph's metadata say under `mean` and `std` (three numbers each, of samples in 0..1), by
    ImageNet's otherwise. Of several outputs the last with one channel counts, which is the fused one in these
    networks; logits become probabilities. ModelError where no output is a map of the picture.
    """
    image = as_image(image)
    height, width = image.shape[:2]
    tensor = network.inputs[0]
    if len(network.inputs) > 1 or len(tensor.shape) != 4 or tensor.shape[1] not in (3, None):
        shown = "; ".join(map(str, network.inputs))
        raise ModelError(f"{network.path}: an edge network takes a picture (1, 3, H, W), its input is {shown}")
    size = (tensor.shape[3] or _multiple(width), tensor.shape[2] or _multiple(height))
    resized = cv2.resize(image, size, interpolation=cv2.INTER_AREA if size[0] < width else cv2.INTER_LINEAR)
    mean, std = _numbers(network, "mean", IMAGENET_MEAN), _numbers(network, "std", IMAGENET_STD)
    planes = ((resized.astype(np.float32) / 255 - mean) / std).transpose(2, 0, 1)[None]
    outputs = network.run({tensor.name: np.ascontiguousarray(planes, tensor.dtype)})
    maps = [output for output in outputs if _is_map(output.shape, size)]
    if not maps:
        shapes = ", ".join(str(output.shape) for output in outputs)
        raise ModelError(f"{network.path}: is no edge network: no output is a map (1, 1, H, W); there are {shapes}")
    found: EdgeMap = maps[-1].reshape(maps[-1].shape[-2:]).astype(np.float32)
    if found.min(initial=0) < 0 or found.max(initial=0) > 1:
        found = np.asarray(1 / (1 + np.exp(-found)), np.float32)
    return np.ascontiguousarray(cv2.resize(found, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def _is_map(shape: tuple[int, ...], size: tuple[int, int]) -> bool:
    """Whether an output is one channel in the proportions of the input, `size` (width, height), or smaller."""
    if len(shape) not in (3, 4) or any(side != 1 for side in shape[:-2]):
        return False
    across, down = size[0] / shape[-1], size[1] / shape[-2]
    return 1 <= max(across, down) <= 16 and abs(across - down) <= 0.1 * max(across, down)


def triangle_filter(values: NDArray[Any], radius: int) -> NDArray[np.float32]:
    """`values` (H, W) or (H, W, C) float32 convolved with a triangle of this radius and sum 1, mirrored outside."""
    if radius == 0:
        return values
    if radius == 1:
        side = 12 / radius / (radius + 2) - 2
        weights = np.array([1, side, 1], np.float32) / np.float32(side + 2)
    else:
        rising = np.arange(1, radius + 2, dtype=np.float32)
        weights = np.concatenate((rising, rising[-2::-1])) / np.float32((radius + 1) ** 2)
    if values.ndim == 2:
        return np.asarray(cv2.sepFilter2D(values, -1, weights, weights), np.float32)
    # OpenCV filters few channels at a time.
    return np.dstack([cv2.sepFilter2D(values[:, :, c], -1, weights, weights) for c in range(values.shape[2])])


def _checked(values: NDArray[Any]) -> EdgeMap:
    if values.ndim != 2 or 0 in values.shape:
        raise InputError(f"an edge map must have shape (H, W), got {values.shape}")
    return np.ascontiguousarray(values, np.float32)


def _multiple(side: int, of: int = 32) -> int:
    return max(of, -(-side // of) * of)


def _numbers(network: Network, key: str, default: tuple[float, ...]) -> NDArray[np.float32]:
    text = network.metadata.get(key)
    values: tuple[float, ...] = default
    if text is not None:
        try:
            values = tuple(float(part) for part in text.strip("[]() ").replace(",", " ").split())
        except ValueError:
            values = ()
    if len(values) != 3:
        raise ModelError(f"{network.path}: metadata {key} must be three numbers, got {text!r}")
    return np.array(values, np.float32)
