"""Figures of merit: pure functions over arrays and the tables of `detkit.dataset`; never files.

From the bottom up: `ranking` puts the detections in the order of a precision-recall curve, `overlaps` finds the
pairs of a detection and a true box that overlap, `matching` gives each detection its true box, and one module a
family of figures reads the matches.
"""
