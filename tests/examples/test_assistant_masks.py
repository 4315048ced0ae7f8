"""Marks of a chat template that end in white space of no token, and what is masked then."""

from types import SimpleNamespace

import pytest
import transformers
from datasets import Dataset
from packaging.version import Version
from tokenizers import Regex, pre_tokenizers
from transformers import set_seed

import qtuning
from qtuning import QTuningConfig, QTuningTrainer, UsageError
from qtuning.examples.assistant_masks import check_assistant_masks

from .. import runs, tiny, turned
from ..talks import answer, user

BY_OFFSETS = Version(transformers.__version__) >= Version("5.24")
"""Whether transformers masks the tokens of marks by where they stand, which is right."""
looked_up = pytest.mark.skipif(BY_OFFSETS, reason="this version of transformers masks the marks")
INSIDE = (
    "{% for m in messages %}<u>{{ m['role'] }} {% if m['role'] == 'assistant' %}{% generation %}"
    "{{ m['content'] }}<e>\n{% endgeneration %}{% else %}{{ m['content'] }}<e>\n{% endif %}"
    "{% endfor %}"
)
"""The line end after an answer is marked as well."""
OUTSIDE = INSIDE.replace("<e>\n{% endgeneration %}", "<e>{% endgeneration %}{{ '\n' }}")
FIRST = INSIDE.replace("{% generation %}", "{% generation %}{{ '\n' }}").replace(
    "<e>\n{% endgeneration %}", "<e>{% endgeneration %}"
)
"""A line end stands before an answer."""
TALKS = [[user(f"q{i}"), answer("one"), user("r"), answer(f"two {i}")] for i in range(8)]
DATA = Dataset.from_list([{"messages": talk} for talk in TALKS])
ENDS = Dataset.from_list([{"messages": talk[:2]} for talk in TALKS])
"""Nothing follows the answers."""
WHY = (
    r"^the train data, row 1: a part that the chat template marks as the assistant's begins or "
    r"ends in white space .*$"
)


def tokenizer(template, *, drops=True):
    """A tokenizer of one token a character, which drops line ends or not."""
    made = tiny.tokenizer()
    if drops:
        parts = [
            pre_tokenizers.Split("\n", "removed"),
            pre_tokenizers.Split(Regex("."), "isolated"),
        ]
        made.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(parts)
    made.chat_template = template
    return made


def trainer(folder, template, *, drops=True, data=DATA, **settings):
    set_seed(42)
    settings = {**runs.SETTINGS, "assistant_only_loss": True, "num_train_epochs": 1, **settings}
    return QTuningTrainer(
        tiny.llama(),
        QTuningConfig(str(folder), **settings),
        train_dataset=data,
        processing_class=tokenizer(template, drops=drops),
    )


def trained_texts(made):
    return [
        "".join(made.processing_class.convert_ids_to_tokens([y for y in labels if y != -100]))
        for labels in map(turned.labels_of, made.train_dataset)
    ]


@looked_up
@pytest.mark.parametrize("unit", ["sample", "turn"])
@pytest.mark.parametrize("template", [INSIDE, FIRST], ids=["at the end", "at the beginning"])
def test_questions_are_not_trained_silently(tmp_path, template, unit) -> None:
    with pytest.raises(UsageError, match=WHY):
        trainer(tmp_path, template, prune_unit=unit)


@looked_up
def test_evaluation_data_and_streams_are_checked(tmp_path) -> None:
    with pytest.raises(UsageError, match=r"^the eval data, row 1: "):
        QTuningTrainer(
            tiny.llama(),
            QTuningConfig(str(tmp_path), **{**runs.SETTINGS, "assistant_only_loss": True}),
            train_dataset=ENDS,
            eval_dataset=DATA,
            processing_class=tokenizer(INSIDE),
        )
    with pytest.raises(UsageError, match=WHY):
        trainer(tmp_path, INSIDE, data=DATA.to_iterable_dataset(), max_steps=1)


@looked_up
def test_scoring_is_checked(tmp_path) -> None:
    tiny.llama().save_pretrained(tmp_path)
    tokenizer(INSIDE).save_pretrained(tmp_path)
    with pytest.raises(UsageError, match=WHY):
        qtuning.score(DATA, tmp_path, assistant_only_loss=True, progress=False, bf16=False)


@pytest.mark.parametrize(
    ("template", "drops", "data"),
    [
        (OUTSIDE, True, DATA),
        (INSIDE, False, DATA),
        (INSIDE, True, ENDS),
        pytest.param(INSIDE, True, DATA, marks=pytest.mark.skipif(not BY_OFFSETS, reason="wrong")),
    ],
    ids=["not marked", "a token", "nothing follows", "by offsets"],
)
def test_what_is_right_stays(tmp_path, template, drops, data) -> None:
    made = trainer(tmp_path, template, drops=drops, data=data)
    for row, text in zip(data, trained_texts(made), strict=True):
        own = [m["content"] for m in row["messages"] if m["role"] == "assistant"]
        parts = [part for part in text.replace("<pad>", "").split("<e>") if part]
        assert parts == own


def test_tokenizers_that_drop_nothing_cost_nothing() -> None:
    """Nothing is rendered: no row is looked at."""
    rows = SimpleNamespace(column_names=["messages"])
    assert check_assistant_masks(rows, "the data", tokenizer(INSIDE, drops=False), INSIDE) is rows
