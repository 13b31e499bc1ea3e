"""A whole field of masks in a few small files: discs and squares on noisy planes."""
