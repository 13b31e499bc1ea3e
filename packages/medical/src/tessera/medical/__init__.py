"""Volumes: scans in, masks, measurements and a report out."""
