"""A trained model as a folder: weights, config, card, golden pair, calibration."""
