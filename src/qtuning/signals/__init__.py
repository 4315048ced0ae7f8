"""What pruners read of samples and tokens, got out of models, and remembered."""
