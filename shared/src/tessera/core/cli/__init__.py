"""The command line; torch is imported inside the commands only."""
