"""A whole field in four small files: label images."""
