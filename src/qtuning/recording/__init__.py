"""What a run writes down and tells of its decisions and their cost."""
