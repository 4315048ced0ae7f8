"""Sample pruner ``image-gain``.

What: keeps the samples whose images tell most about their answers: the highest mean NLL of the
    answer tokens without the images minus that with them, in nats.
Cost: the scoring pass, and a second one over the text alone, which runs no vision tower.
When: data with images of which many are not needed: questions that can be answered without looking
    are redundant. Where images do not fit their answers, the gain is below 0, and they go first.
Source: ours; the gain of ``gain-high`` with images in the place of prompts.
Differs: samples without images have no gain, and come last, in the order of the data. Image tokens
    are taken out, not blanked, so what follows them moves to earlier positions.
"""

from ..arguments import PruningArguments
from ..core.plane import Selection
from .protocols import SCORES, WITHOUT_IMAGE, SamplePool
from .ranking import keep_highest, last_without_prompt


class ImageGain:
    """Keeps the highest gains by images: mean NLL of the answer without them minus with them."""

    needs = frozenset({SCORES, WITHOUT_IMAGE})

    def __call__(self, pool: SamplePool, args: PruningArguments) -> Selection:
        """Keep k of ``N`` samples; those without images come last."""
        without, with_images = pool.extras[WITHOUT_IMAGE].unbind(1)
        gain = (without - with_images).masked_fill((without - with_images).isinf(), float("nan"))
        return keep_highest(last_without_prompt(gain, pool), args.sample_ratio)
