"""The picture as regions: label maps, their palettes and files, and connected regions as objects."""
