"""Records and recovery of a run: ledger, budget, probe, messages, checkpoints, signals."""
