"""Shapes of objects beside boxes: masks, outlines, turned boxes, and their columns over a data set."""
