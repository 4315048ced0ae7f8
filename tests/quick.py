"""What makes hundreds of short training runs in one process quicker, and changes none of them."""

import functools
import gc

from accelerate.utils import imports


def ask_once_for_packages() -> None:
    """Before every forward pass accelerate reads the metadata of peft, to see if it is there."""
    imports._is_package_available = functools.cache(imports._is_package_available)


def settle() -> None:
    """Every run collects garbage, and need not look through all that was imported before it."""
    gc.collect()
    gc.freeze()
