"""Training of detectors: one package or module a family."""
