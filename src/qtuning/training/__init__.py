"""The trainer: pruning on the hooks of any transformers.Trainer."""
