"""The folder of the file for ms-swift's ``--external_plugins``, which puts the folder on its path.

So nothing else is in here: a module of a common name would hide another's.
"""

from pathlib import Path

PLUGIN = Path(__file__).with_name("qtuning_swift.py")
"""The file."""
