"""The pruners, one file per method; names are in ``registry.py``, types in ``protocols.py``."""
