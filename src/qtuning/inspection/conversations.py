"""Conversations that end without an answer, or to which the template adds a system turn."""

from transformers import PreTrainedTokenizerBase

from ..examples.templates import RENDERING, rendered
from ..io.turns import OF_SYSTEM
from .findings import in_rows
from .result import Finding
from .texts import Said
from .tokens import Bools

_ASKING = ("user", "tool", *OF_SYSTEM)
_MARK, _LONGEST = "0mark0", 80


def is_unanswered(said: Said) -> bool:
    """Whether the last turn of a conversation is not the assistant's."""
    return bool(said.turns) and said.turns[-1][0] in _ASKING


def lacks_system(said: Said) -> bool:
    """Whether a conversation begins without a turn of the system."""
    return bool(said.turns) and said.turns[0][0] not in OF_SYSTEM


def added_system(tokenizer: PreTrainedTokenizerBase, template: str) -> str:
    """The system's words that a chat template adds where there are none; empty for none.

    Args:
        tokenizer: The tokenizer.
        template: The chat template in force.
    """
    asked = {"role": "user", "content": "q"}
    own = [{"role": "system", "content": _MARK}, asked]
    try:
        without, given = (
            rendered({"messages": messages}, tokenizer, template) for messages in ([asked], own)
        )
    except RENDERING:
        return ""
    before, mark, after = (given or "").partition(_MARK)
    text = without or ""
    if not mark or not (text.startswith(before) and text.endswith(after)):
        return ""
    return text[len(before) : len(text) - len(after)].strip()


def conversation_findings(
    unanswered: Bools, no_system: Bools, tokenizer: PreTrainedTokenizerBase, template: str | None
) -> list[Finding]:
    """Conversations whose last turn nothing answers, and those that get a system turn.

    Args:
        unanswered: What ``is_unanswered`` says of each row, ``(R,)``.
        no_system: What ``lacks_system`` says of each row that is a conversation, ``(R,)``.
        tokenizer: The tokenizer.
        template: The chat template in force; None for none.
    """
    added = added_system(tokenizer, template) if template is not None and no_system.any() else ""
    words = added if len(added) <= _LONGEST else f"{added[: _LONGEST - 1]}…"
    return [
        *in_rows(
            "warning",
            "unanswered",
            unanswered,
            "the last turn of the conversation is not the assistant's",
            "take the turn out, or see where its answer is",
        ),
        *in_rows(
            "note",
            "system-added",
            no_system if added else no_system & False,
            f"no system turn, and the chat template adds its own: {' '.join(words.split())}",
            "give the rows a system turn, or name another template with chat_template_path",
        ),
    ]
