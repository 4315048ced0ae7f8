"""The command ``qtuning``: one file a verb, which parses, calls a library and prints."""
