"""The processors: one folder each, found by its SPEC."""
