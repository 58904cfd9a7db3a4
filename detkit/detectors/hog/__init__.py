"""Histograms of oriented gradients and a linear SVM in a sliding window (Dalal and Triggs 2005)."""
