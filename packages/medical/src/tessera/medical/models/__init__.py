"""Networks of the medical papers, one file a paper."""
