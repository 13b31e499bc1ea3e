"""One self-contained HTML page for a run or for predictions."""
