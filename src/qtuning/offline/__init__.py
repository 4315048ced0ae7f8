"""Work on a data set without a training run: score it once, decide many times."""
