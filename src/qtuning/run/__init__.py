"""What a run writes, tells and survives: ledger, budget, probe, checkpoints, stops."""
