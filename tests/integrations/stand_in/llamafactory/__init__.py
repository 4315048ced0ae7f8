"""The parts of LLaMA-Factory that the integration touches, with its names and signatures.

They are as recorded in ../../llamafactory/signatures.json, which `make integrations` compares with
the real ones; what they do is as little as trains.
"""
