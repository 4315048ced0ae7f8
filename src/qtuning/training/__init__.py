"""The trainer: pruning through the hooks of any ``transformers.Trainer``."""
