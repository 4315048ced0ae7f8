"""Pruning within the programs that others train with; one file a program."""
