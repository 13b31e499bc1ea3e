"""Networks of the papers whose parameter counts are known exactly."""
