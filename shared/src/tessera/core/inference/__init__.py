"""Prediction in steps, a ledger and a runner that loses nothing."""
