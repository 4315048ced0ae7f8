"""How good a model is: benchmark tasks, held-out answer NLL and calibration."""
