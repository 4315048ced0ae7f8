"""Compare pruners on one's own model and data: a grid of runs, and tables and figures of them."""
