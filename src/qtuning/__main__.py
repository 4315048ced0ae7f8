"""``python -m qtuning``, so that ``accelerate launch -m qtuning train ...`` works."""

import sys

from .commands.main import main

if __name__ == "__main__":
    sys.exit(main())
