"""Communication between the ranks of a run; a single process communicates with nobody."""

from collections.abc import Sequence
from typing import TypeVar

from accelerate import Accelerator
from accelerate.utils import gather_object

from .errors import UsageError

T = TypeVar("T")


class Ranks:
    """The data-parallel ranks of a run.

    Tensor-parallel ranks receive the same batch, so a group of them counts as one rank.

    Attributes:
        rank: Data-parallel rank of this process.
        size: Number of data-parallel ranks.
    """

    def __init__(self, accelerator: Accelerator, tensor_parallel_size: int = 1) -> None:
        """Read rank and size off the accelerator."""
        self._process: int = accelerator.process_index
        self._tensor_parallel_size = tensor_parallel_size
        self.rank = accelerator.process_index // tensor_parallel_size
        self.size = accelerator.num_processes // tensor_parallel_size

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files."""
        return self._process == 0

    def gather(self, items: Sequence[T]) -> list[list[T]]:
        """The items of every rank, one list for each rank; every rank must call this method.

        Python objects travel, not tensors: lengths differ between ranks, and floats arrive
        exactly as they left. A tensor among them would be sent with the whole storage that it is a
        view of, so send an array.
        """
        return self.of_every_process(list(items))[:: self._tensor_parallel_size]

    def of_every_process(self, item: T) -> list[T]:
        """The item of every process, in order; every process must call this method."""
        if self.size * self._tensor_parallel_size == 1:
            return [item]
        pairs: list[tuple[int, T]] = gather_object([(self._process, item)])
        by_process = dict(pairs)
        return [by_process[process] for process in range(len(by_process))]

    def gather_flat(self, items: Sequence[T]) -> list[T]:
        """The items of all ranks in one list, in rank order; every rank must call this method."""
        return [item for items in self.gather(items) for item in items]

    def highest(self, value: int) -> int:
        """The highest value of all ranks; every rank must call this method."""
        return max(self.gather_flat([value]))

    def check_even(self, micro_batches: int, step: int) -> None:
        """Check that all ranks have as many micro-batches; every rank must call this method.

        A stream may give ranks different numbers. The ranks would then wait for each other in
        different places: a hang, or steps of mixed-up rows.

        Args:
            micro_batches: Number of micro-batches that this rank has for the step.
            step: Number of the step, for the message.

        Raises:
            UsageError: The numbers of micro-batches differ; raised on every rank.
        """
        numbers = self.gather_flat([micro_batches])
        if len(set(numbers)) > 1:
            raise UsageError(
                f"step {step}: the stream gave ranks {', '.join(map(str, numbers))} micro-batches, "
                "so their shares end apart: make them equal (as many shards of the same size as "
                "there are processes), stop before (max_steps), or load without streaming"
            )
