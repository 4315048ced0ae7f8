"""Statistics of samples and tokens that pruners read: computed with models, and stored."""
