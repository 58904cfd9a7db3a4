"""Label maps, a class number a pixel: palettes, files, and connected regions as objects."""
