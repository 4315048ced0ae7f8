"""Reports of pruning decisions: an HTML page, and pictures for papers."""
