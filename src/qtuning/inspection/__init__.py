"""What a run would be trained on, and what is wrong with it: before a weight is loaded."""
