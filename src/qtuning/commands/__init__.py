"""The command ``qtuning``: one file per verb, which parses arguments, calls the library, prints."""
