"""Rows of plain text: whether a chat template is missing, and a space before the answer."""

from .findings import in_rows
from .result import Finding
from .texts import Said
from .tokens import Bools

_SENTENCE_ENDS = ".?!)…。？！"


def is_joined(said: Said) -> bool:
    """Whether the answer follows the prompt, a word or a sentence, without a space or line end."""
    if [speaker for speaker, _ in said.turns] != ["prompt", "completion"]:
        return False
    last, first = said.prompt[-1:], said.answer[:1]
    return (last.isalnum() or (last != "" and last in _SENTENCE_ENDS)) and first.isalnum()


def plain_findings(plain: Bools, joined: Bools, *, template: bool) -> list[Finding]:
    """Rows of text that a chat model would read as a conversation, or whose answers are glued on.

    Args:
        plain: Whether a row is plain text without special tokens, ``(R,)``.
        joined: What ``is_joined`` says of each row, ``(R,)``.
        template: Whether the model has a chat template.
    """
    found = in_rows(
        "warning",
        "answers-joined",
        joined,
        "nothing stands between the prompt and the answer",
        "end the prompts with a line end, or make conversations of the rows",
    )
    if template:
        found += in_rows(
            "warning",
            "template-not-used",
            plain,
            "plain text, which is trained on without the chat template of the model",
            "make messages of the rows if the model shall chat: prompt and completion as lists of "
            "role and content",
        )
    return found
