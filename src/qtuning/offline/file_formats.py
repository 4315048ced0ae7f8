"""The formats that pruned rows are written in."""

OF_TRAINERS = ("trl", "llamafactory", "axolotl")
"""Those of trainers, which train on all rows of the file and read tokens with masked labels."""
FORMATS = ("parquet", "jsonl", "datasets", *OF_TRAINERS)
