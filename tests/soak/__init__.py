"""Thousands of steps: memory, file handles and the ledger's size over them."""
