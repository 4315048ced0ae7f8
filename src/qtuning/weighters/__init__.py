"""Weights of tokens in the loss: the protocol, the registry, and one file for each method."""
