"""Columns of a file of scores with further statistics of samples, as sample pruners read them."""

from collections.abc import Collection

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ..errors import UsageError
from ..pruners.protocols import S_IFD, WITHOUT_IMAGE, WITHOUT_PROMPT

NLL_SUM = "nll_sum"
"""Column with the summed NLL of the answer tokens in nats."""
ALONE = "nll_alone_sum"
"""Column that scoring adds with ``alone``: summed NLL of the answer tokens without their prompt, in
nats; null in rows that have no prompt or no answer tokens."""
SELECTIVE = "s_ifd"
"""Column that scoring adds with ``alone``: selective IFD, see ``core.selective_ifd``; null where
``nll_alone_sum`` is."""
WITHOUT_IMAGES = "nll_without_images_sum"
"""Column that scoring adds with ``without_images``: summed NLL of the answer tokens without the
images of the row, in nats; null in rows that have no images or no answer tokens."""
NOISY = ("s_ifd_mean", "s_ifd_deviation")
"""Columns that scoring adds with ``noisy_copies``: mean and standard deviation (of the population)
of selective IFD over copies with noise on their embeddings; null where ``nll_alone_sum`` is."""

_NOISY_COPIES = 30  # published


def columns_for(needs: frozenset[str], noisy: bool = False) -> tuple[str, ...]:
    """Columns with the further statistics that a sample pruner reads, of those that files have.

    Args:
        needs: What the sample pruner reads.
        noisy: Whether selective IFD is that over noisy copies.
    """
    of_alone = (ALONE, NLL_SUM) if WITHOUT_PROMPT in needs else ()
    of_images = (WITHOUT_IMAGES, NLL_SUM) if WITHOUT_IMAGE in needs else ()
    of_tokens = NOISY if noisy else (SELECTIVE,)
    return (*of_alone, *of_images, *(of_tokens if S_IFD in needs else ()))


def check_columns(
    names: Collection[str],
    pruner: object,
    needs: frozenset[str],
    noisy: bool = False,
    where: str = "",
) -> None:
    """Check that scores have the further statistics that a sample pruner reads.

    Args:
        names: The columns of the scores.
        pruner: The sample pruner as the user named it, for messages.
        needs: What it reads.
        noisy: Whether selective IFD is that over noisy copies.
        where: The scores with a colon, for messages.

    Raises:
        UsageError: A column is missing.
    """
    missing = [name for name in columns_for(needs, noisy) if name not in names]
    if not missing:
        return
    if missing[0] in NOISY:
        what = "selective IFD over noisy copies"
        how = f"--alone --noisy_copies {_NOISY_COPIES}"
    elif missing[0] == SELECTIVE:
        what, how = "selective IFD", "--alone"
    elif missing[0] == WITHOUT_IMAGES:
        what, how = "the NLL of answers without their images", "--without_images"
    else:
        what, how = "the NLL of answers without their prompts", "--alone"
    raise UsageError(
        f"{where}sample_pruner {pruner} reads {what}: score with {how} (`qtuning score {how}` "
        f"writes {', '.join(missing)})"
    )


def extras_in(
    table: pa.Table, needs: frozenset[str], noisy: bool = False
) -> dict[str, NDArray[np.float64]]:
    """The further statistics of each row that a sample pruner reads, ``(N, d)``, by name.

    As in a run, a row without a prompt has NaN alone, and one without images in that of images.

    Args:
        table: Scores with ``n_tokens`` and the columns of ``columns_for``.
        needs: What the sample pruner reads.
        noisy: Whether selective IFD is that over noisy copies.
    """
    extras = {}
    if WITHOUT_PROMPT in needs:
        with np.errstate(divide="ignore", invalid="ignore"):  # a row without answer tokens
            extras[WITHOUT_PROMPT] = _numbers(table, ALONE, NLL_SUM) / _numbers(table, "n_tokens")
    if WITHOUT_IMAGE in needs:
        with np.errstate(divide="ignore", invalid="ignore"):
            sums = _numbers(table, WITHOUT_IMAGES, NLL_SUM)
            extras[WITHOUT_IMAGE] = sums / _numbers(table, "n_tokens")
    if S_IFD in needs:
        extras[S_IFD] = _numbers(table, *columns_for(frozenset({S_IFD}), noisy))
    for values in extras.values():
        values[np.isnan(values).any(1)] = np.nan
    return extras


def _numbers(table: pa.Table, *names: str) -> NDArray[np.float64]:
    """Columns of numbers, ``(N, d)``; null is NaN."""
    columns = [pc.fill_null(table[name].cast(pa.float64()), float("nan")) for name in names]
    return np.stack([column.to_numpy() for column in columns], axis=1)
