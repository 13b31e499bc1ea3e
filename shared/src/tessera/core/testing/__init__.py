"""Contract tests every pipeline, preset and model must pass."""
