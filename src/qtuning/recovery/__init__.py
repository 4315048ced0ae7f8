"""Nothing lost: whole checkpoints, orderly stops, and what is said of a lost rank."""
