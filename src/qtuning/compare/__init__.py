"""Compare pruners on a user's model and data: a grid of runs, with tables and plots of results."""
