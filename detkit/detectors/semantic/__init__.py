"""Semantic segmentation: a class for every pixel, from any network that gives a map of them."""
