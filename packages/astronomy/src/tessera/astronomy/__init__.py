"""The sky: catalogues and images in, catalogues with scores, heat maps and a report out."""
