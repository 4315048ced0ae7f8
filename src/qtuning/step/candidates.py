"""The candidates of a step on one rank, read off the rows that its loader yields."""

from collections.abc import Callable, Sequence

from ..examples.candidate import Candidate
from ..examples.example import Example, answers_of, unpack
from ..examples.labels import Labels
from ..examples.loss_weights import take_weights
from ..examples.names import take_name
from ..examples.turns import take_turns


def candidates_of(
    labels: Labels,
    lists: Sequence[Sequence[Example]],
    first_repeated: int,
    packed_length: Callable[[Example], int],
    by_turn: bool = False,
) -> list[Candidate]:
    """The samples of a rank's rows, packed rows unpacked.

    Args:
        labels: Reads the labels of examples.
        lists: The rows, a list for each micro-batch.
        first_repeated: Place in the last list from which on rows repeat earlier ones.
        packed_length: Input tokens of a packed row; 0 for any other.
        by_turn: Whether to tell the turns of each sample.

    Raises:
        UsageError: A row is not tokenised text, or the weights of its tokens cannot be used.
    """
    candidates: list[Candidate] = []
    for micro, rows in enumerate(lists):
        for place, row in enumerate(rows):
            is_repeated = micro == len(lists) - 1 and place >= first_repeated
            packed = packed_length(row)
            for sample in unpack(row):
                example = labels.of(sample)
                example, name = take_name(example)
                example, weights = take_weights(example, name)
                answers = answers_of(example)
                example, turns = take_turns(example, answers) if by_turn else (example, ())
                candidates.append(
                    Candidate(
                        example,
                        name,
                        micro,
                        is_repeated,
                        answers,
                        packed,
                        row=place,
                        loss_weight=weights,
                        turns=turns,
                    )
                )
    return candidates
