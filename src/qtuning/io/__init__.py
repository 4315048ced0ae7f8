"""What users give, files and names, looked at before it is trusted."""
