"""The pruners, one file a method; ``registry.py`` names them, ``protocols.py`` says what one is."""
