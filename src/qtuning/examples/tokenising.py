"""The options of TRL that determine the tokens of a row."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase
from trl import SFTConfig

from ..errors import UsageError
from ..io.models import load_tokenizer

_TEMPLATES = (".jinja", ".j2")
_NAMES = {"text_field": "dataset_text_field"}
"""Fields that TRL names otherwise."""


@dataclass(frozen=True)
class Tokenising:
    """TRL's options that determine the tokens of a row, with its defaults.

    Attributes:
        max_length: Tokens at which a row is cut; None cuts nothing.
        text_field: TRL's ``dataset_text_field``, the column of plain text.
        assistant_only_loss: Whether only the assistant turns of a conversation are answers.
        truncation_mode: Which end of a row is cut off: "keep_start" or "keep_end".
        completion_only_loss: Whether only the completion is the answer; None is True for rows of
            prompt and completion.
        eos_token: The token that ends a row; None is the tokenizer's.
        pad_token: The token that fills rows up; None is the tokenizer's.
        chat_template_path: A file of a chat template, or a model whose template is used; None is
            the tokenizer's.
    """

    max_length: int | None = 1024
    text_field: str = "text"
    assistant_only_loss: bool = False
    truncation_mode: str = "keep_start"
    completion_only_loss: bool | None = None
    eos_token: str | None = None
    pad_token: str | None = None
    chat_template_path: str | None = None

    @classmethod
    def of(cls, args: Any) -> "Tokenising":
        """The options among TRL's ``SFTConfig``, or other arguments with fields of its names.

        A field that the version of TRL lacks has its default.
        """
        values = vars(args)
        names = {one.name: _NAMES.get(one.name, one.name) for one in fields(cls)}
        return cls(**{ours: values[theirs] for ours, theirs in names.items() if theirs in values})

    def for_trl(self) -> dict[str, Any]:
        """The options as keyword arguments of TRL's ``SFTConfig``.

        Raises:
            UsageError: The version of TRL lacks an option that is set.
        """
        known = {one.name for one in fields(SFTConfig)}
        plain = asdict(Tokenising())
        options = {}
        for ours, value in asdict(self).items():
            theirs = _NAMES.get(ours, ours)
            if theirs in known:
                options[theirs] = value
            elif value != plain[ours]:
                raise UsageError(f"{theirs}: this version of TRL has no such option: leave it out")
        return options

    def template(self, tokenizer: PreTrainedTokenizerBase) -> str | None:
        """The chat template in force; None if there is none.

        Args:
            tokenizer: The tokenizer of the model.

        Raises:
            UsageError: The file is missing or cannot be read, or the model has no template.
        """
        if self.chat_template_path is None:
            template: str | None = tokenizer.chat_template
            return template
        path = Path(self.chat_template_path).expanduser()
        option = f"chat_template_path {self.chat_template_path}"
        if path.suffix in _TEMPLATES:
            try:
                return path.read_text(encoding="utf-8")
            except (OSError, ValueError) as error:
                reason = getattr(error, "strerror", None) or "it is no UTF-8 text"
                raise UsageError(f"{option}: {reason}; name a file of a template") from error
        template = load_tokenizer(self.chat_template_path).chat_template
        if template is None:
            raise UsageError(f"{option}: this model has no chat template; name another one")
        return template


OPTIONS = tuple(_NAMES.get(one.name, one.name) for one in fields(Tokenising))
"""The names of the options as TRL has them."""
