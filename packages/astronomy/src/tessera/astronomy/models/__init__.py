"""Networks of the astronomical papers, one file a paper."""
