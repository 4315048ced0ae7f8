"""Examples: tokenised rows, their labels and ids, and the pruning of their tokens."""
