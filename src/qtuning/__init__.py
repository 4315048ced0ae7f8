"""Q-Tuning."""
