"""From files to batches: cases, geometry, manifests, splits, cache and loaders."""
