"""Exported detection networks: a graph in one run, and the heads that decode its outputs."""
