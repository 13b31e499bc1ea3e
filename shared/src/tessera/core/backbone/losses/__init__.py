"""Losses that need more than logits and targets."""
