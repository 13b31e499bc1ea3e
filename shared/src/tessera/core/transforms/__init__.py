"""Random transforms of a batch: draw, record, apply."""
