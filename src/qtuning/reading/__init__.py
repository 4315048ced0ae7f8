"""What users give: data, tables, YAML and model folders, looked at before they are trusted."""
