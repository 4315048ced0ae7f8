"""What stands beside exported tokens: their chat template, and a word on labels of prompts."""

import logging
from pathlib import Path

import pyarrow as pa

from ..io.arrow_rows import rows_of
from ..io.formats import find_format
from ..io.models import load_tokenizer
from ..io.rows import ALPACA, TALKS, holds_talk
from .origin import Origin, tokenising_of

logger = logging.getLogger(__name__)

TEMPLATE_FILE = "chat_template.jinja"
_WHERE = "the scored rows"


def write_template(rows: pa.Table, origin: Origin, folder: Path) -> None:
    """Write the chat template that the tokens of conversations carry; for other rows no file.

    A model trained on the tokens must be prompted by the same template.

    Args:
        rows: The rows that are tokenised.
        origin: The origin of the scores, which names tokenizer and template.
        folder: The folder with the tokens, which gets ``TEMPLATE_FILE``.
    """
    names = find_format(rows.column_names, _WHERE, origin["text_field"])
    first = next(rows_of(rows.slice(0, 1)), None)
    # Alpaca rows become conversations where there is a template.
    if first is None or not (names == ALPACA or holds_talk(first, names)):
        return
    tokenizer = load_tokenizer(origin["model_name"], revision=origin["revision"])
    template = tokenising_of(origin).template(tokenizer)
    if template is not None:
        (folder / TEMPLATE_FILE).write_text(template, encoding="utf-8")


def warn_of_prompts(rows: pa.Table, origin: Origin, to: str) -> None:
    """Warn where prompts have labels, which other trainers' users do not expect.

    Args:
        rows: The rows that are tokenised.
        origin: The origin of the scores, which has the options of TRL they were tokenised by.
        to: The format that the tokens are written in.
    """
    names = find_format(rows.column_names, _WHERE, origin["text_field"])
    how = tokenising_of(origin)
    if names[0] in TALKS and not how.assistant_only_loss:
        why, what = "TRL's default for conversations", "with --assistant_only_loss"
    elif len(names) > 1 and how.completion_only_loss is False:
        why, what = "completion_only_loss is false", "without --completion_only_loss false"
    else:
        return
    logger.warning(
        f"--format {to}: prompts have labels as well ({why}), and will be trained on like answers: "
        f"to train answers alone, score {what}"
    )
