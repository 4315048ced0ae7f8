"""What a run's record tells about its steps and samples: ``qtuning explain``."""
