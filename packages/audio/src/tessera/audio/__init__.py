"""Tessera for sound."""
