"""Examples: tokenised rows, their labels and names, and what is cut out of them."""
