"""The mathematics: functions on tensors that need torch alone."""
