"""What sample pruners remember from step to step."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..errors import UsageError


class PrunerMemory(dict[str, Tensor]):
    """Named tensors, the same on every rank, since all of them decide alike."""

    def save(self, path: Path) -> None:
        """Write the tensors to a safetensors file; without tensors no file is written."""
        if self:
            save_file(dict(self), path)

    def load(self, path: Path) -> None:
        """Replace the tensors by those of a file that ``save`` wrote.

        Raises:
            UsageError: The file cannot be read.
        """
        try:
            tensors = load_file(path)
        except (OSError, SafetensorError) as error:
            raise UsageError(
                f"cannot read {path}: {error}; it must be a safetensors file"
            ) from error
        self.clear()
        self.update(tensors)
