"""What sample pruners remember from step to step."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..errors import UsageError


class PrunerMemory(dict[str, Tensor]):
    """Named tensors, the same on every rank, since all of them decide alike."""

    def save(self, path: Path) -> None:
        """Write all of it to a safetensors file; none if there is nothing."""
        if self:
            save_file(dict(self), path)

    def load(self, path: Path) -> None:
        """Take what ``save`` wrote in place of what is remembered.

        Raises:
            UsageError: The file cannot be read.
        """
        try:
            loaded = load_file(path)
        except (OSError, SafetensorError) as error:
            raise UsageError(
                f"cannot read {path}: {error}; it must be a safetensors file"
            ) from error
        self.clear()
        self.update(loaded)
