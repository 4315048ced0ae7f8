"""The mathematics of Q-Tuning: functions on tensors that need only torch."""
