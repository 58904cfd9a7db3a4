"""Detectors: callables `image -> Detections`, where an image is uint8 (H, W, 3) RGB."""
