"""Pictures of what a run decided."""
