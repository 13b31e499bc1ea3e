"""Networks of the sound papers, one file a paper."""
