"""Entry point of ``python -m qtuning``, which ``accelerate launch -m qtuning train`` needs."""

import sys

from .commands.main import main

if __name__ == "__main__":
    sys.exit(main())
