"""What is pushed of a pruned data set, and its card, by format."""

import pytest
from datasets import load_dataset
from huggingface_hub import HfApi, RepoUrl

import qtuning
from qtuning import PruningArguments, UsageError
from qtuning.commands.main import main
from qtuning.offline.file_formats import FORMATS
from qtuning.offline.hub import dataset_card, push
from qtuning.offline.origin import read_origin
from qtuning.offline.read import read_scores

from .. import talks
from ..talks import answer, user

pytestmark = pytest.mark.usefixtures("one_thread")
ROWS = [{"messages": [user(f"ask {i}"), answer(f"say {i}")]} for i in range(8)]


class Client(HfApi):
    """A client of the Hub that writes into a folder."""

    def __init__(self, folder) -> None:
        super().__init__()
        self.folder = folder

    def create_repo(self, repo_id, **options):
        self.options = options
        return RepoUrl(f"https://huggingface.co/datasets/{repo_id}")

    def create_commit(self, repo_id, operations, **options):
        for one in operations:
            path = self.folder / one.path_in_repo
            path.parent.mkdir(parents=True, exist_ok=True)
            with one.as_file() as file:
                path.write_bytes(file.read())


@pytest.fixture(scope="module")
def scores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scored")
    model, data = talks.save_model(folder / "model"), talks.write(folder / "rows.jsonl", ROWS)
    path = folder / "s.parquet"
    qtuning.score(
        data,
        model,
        output=path,
        bf16=False,
        progress=False,
        per_token=True,
        assistant_only_loss=True,
    )
    return path


def card(scores, to, **options):
    args = PruningArguments(sample_ratio=0.5, **options)
    origin = read_origin(read_scores(scores).schema, scores)
    rules = {"pool_size": None, "seed": 42}
    return dataset_card("me/rows", "4 of 8 rows kept.", args, origin, to=to, rules=rules)


@pytest.mark.parametrize("to", FORMATS)
def test_the_repository_is_read_by_its_card(scores, tmp_path, to) -> None:
    output, repo = tmp_path / "out", tmp_path / "repo"
    qtuning.prune(scores, sample_ratio=0.5, token_ratio=0.5, output=output, format=to)
    client = Client(repo)
    url = push(output, to, "me/rows", card(scores, to), private=True, api=client)
    assert url.endswith("/datasets/me/rows")
    assert client.options == {"repo_type": "dataset", "private": True, "exist_ok": True}
    assert load_dataset(str(repo), split="train").num_rows == 4
    text = (repo / "README.md").read_text()
    assert ("chat_template.jinja" in text) == (repo / "chat_template.jinja").exists()


def test_the_card_says_from_what_and_by_which_decision(scores) -> None:
    text = card(scores, "parquet", pool_factor=2)
    for words in ("# rows", "4 of 8 rows kept.", "data: rows.jsonl", "scored by: model", "float32"):
        assert words in text
    for words in ("| `sample_ratio` | `0.5` |", "| `pool_factor` | `2` |", "| `seed` | `42` |"):
        assert words in text
    assert str(scores.parent) not in text


def test_scores_of_an_earlier_version_have_no_name_of_their_data(scores) -> None:
    origin = read_origin(read_scores(scores).schema, scores)
    del origin["data_name"], origin["versions"]
    text = dataset_card("me/rows", "", PruningArguments(), origin, to="trl", rules={})
    assert "data: not on record" in text


@pytest.mark.parametrize(
    ("repo", "words"), [(None, "--repo_id user/name"), ("a/b/c", "--repo_id a/b/c")]
)
def test_a_repository_without_a_name_is_refused_before_work(tmp_path, capsys, repo, words) -> None:
    argv = ["prune", str(tmp_path / "no.parquet"), "--output", str(tmp_path / "o"), "--push_to_hub"]
    assert main([*argv, *(["--repo_id", repo] if repo else [])]) == 2
    assert words in capsys.readouterr().err


def test_an_unreachable_hub_is_told(scores, tmp_path) -> None:
    output = tmp_path / "out.parquet"
    qtuning.prune(scores, token_ratio=1.0, output=output)
    api = HfApi(endpoint="http://127.0.0.1:9", token="t")
    with pytest.raises(UsageError, match="is written, and was not pushed"):
        push(output, "parquet", "me/rows", "# rows\n", private=None, api=api)
