"""The platform's edges: one folder each, found by its name. Beside them what the simulators share."""
