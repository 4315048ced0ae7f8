"""Push a pruned data set to the Hub, with a card that says from what and by which decision."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import CommitOperationAdd, HfApi

# Its clients are of different packages in different versions; the name is the same in all.
from ..arguments import PruningArguments, pruning_fields
from ..io.hub import public_name, pushing
from ..run.card import CARD, CITED, TAG, option_table, program
from .beside_tokens import TEMPLATE_FILE
from .origin import DATA_NAME, Origin, tokenising_of

_DATA_FILES = {
    "parquet": "train.parquet",
    "jsonl": "train.jsonl",
    "datasets": "*.arrow",
    "trl": "train.parquet",
    "llamafactory": "data.jsonl",
    "axolotl": "data.jsonl",
}
"""The file that ``datasets.load_dataset`` reads of a repository, by format."""

_ON_DISK = ("state.json", "dataset_info.json")
"""Files of ``save_to_disk`` with which ``load_dataset`` refuses the rest."""


def push(
    output: Path,
    to: str,
    repo_id: str,
    card: str,
    *,
    private: bool | None,
    api: HfApi | None = None,
) -> str:
    """Push what ``export`` wrote, and its card, in one commit.

    Args:
        output: The file or folder that was written.
        to: Its format.
        repo_id: The data set on the Hub, which is made if it is not there.
        card: The text of its card.
        private: Whether to make it private; None is what the Hub's organisation has set.
        api: The client of the Hub; None is the user's, with the token of ``hf auth login``.

    Returns:
        The address of the data set.

    Raises:
        UsageError: The Hub cannot be reached, or refuses.
    """
    client = api or HfApi(library_name="qtuning")
    files = {
        path.relative_to(output).as_posix(): path for path in output.rglob("*") if path.is_file()
    }
    for name in _ON_DISK if to == "datasets" else ():
        files.pop(name)
    if output.is_file():
        files = {_DATA_FILES[to]: output}
    operations = [CommitOperationAdd(name, path) for name, path in sorted(files.items())]
    operations.append(CommitOperationAdd(CARD, card.encode()))
    command = f"hf upload {repo_id} {output} --repo-type dataset"
    with pushing(
        f"--push_to_hub {repo_id}: {output} is written, and was not pushed",
        f", and push it with `{command}`",
    ):
        url = client.create_repo(repo_id, repo_type="dataset", private=private, exist_ok=True)
        client.create_commit(
            url.repo_id,
            operations,
            commit_message="Upload rows that qtuning kept",
            repo_type="dataset",
        )
    return str(url)


def dataset_card(
    repo_id: str,
    kept: str,
    args: PruningArguments,
    origin: Origin,
    *,
    to: str,
    rules: Mapping[str, Any],
) -> str:
    """The card of a pruned data set: metadata, what it is from, and how it was decided.

    Args:
        repo_id: The data set on the Hub.
        kept: A sentence on how much is kept.
        args: The pruning arguments.
        origin: The origin of the scores.
        to: The format of the export.
        rules: Further options of the decision, by name, such as the size of a pool.
    """
    data_files = _DATA_FILES[to]
    head = {
        "tags": [TAG],
        "configs": [{"config_name": "default", "data_files": data_files}],
    }
    name = repo_id.split("/")[-1]
    lines = ["---", yaml.safe_dump(head, sort_keys=False).strip(), "---", "", f"# {name}", "", kept]
    lines += ["", "## From", "", *_from(origin), "", "## Decision", ""]
    lines += [
        f"`qtuning prune` of {program()}, an implementation of "
        "[Q-Tuning](https://arxiv.org/abs/2509.23873), decided on these scores.",
        "",
        *option_table(pruning_fields(args)),
        *(f"| `{key}` | `{value}` |" for key, value in rules.items()),
        "",
        *_tokens(origin, to),
        *CITED,
    ]
    return "\n".join([*lines, ""])


def _from(origin: Origin) -> Sequence[str]:
    """The lines on data, model and options of the scores."""
    model = public_name(origin["model_name"])
    if origin["revision"] is not None:
        model += f", revision {origin['revision']}"
    versions = ", ".join(f"{name} {one}" for name, one in origin.get("versions", {}).items())
    lines = [
        f"- data: {public_name(origin.get(DATA_NAME, 'not on record'))} "
        f"(fingerprint {public_name(origin['data'])})",
        f"- scored by: {model} in {origin['dtype']}, rows cut at {origin['max_length']} tokens",
    ]
    return [*lines, f"- with: {versions}"] if versions else lines


def _tokens(origin: Origin, to: str) -> Sequence[str]:
    """The lines on the tokens that are in the data; none where there are none."""
    if to not in ("trl", "llamafactory", "axolotl"):
        return []
    how = tokenising_of(origin)
    option = how.chat_template_path
    template = "the tokenizer's" if option is None else f"that of {public_name(option)}"
    return [
        f"Tokens, where there are any, are of the scoring model's tokenizer. Conversations carry "
        f"{template} chat template, which is in `{TEMPLATE_FILE}`: prompt the model by it.",
        "",
    ]
