"""The code on the README and the pages of the site runs, and what they name is there."""

import ast
import importlib.util
import json
import re
import shutil
import sys
from dataclasses import fields
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

import qtuning
from qtuning import SAMPLE_PRUNERS, TOKEN_PRUNERS, PruningArguments
from qtuning.commands import main as cli
from qtuning.compare.grid import Data, Method, read_grid
from qtuning.io.rows import columns_with
from qtuning.io.turns import ROLES
from qtuning.io.yaml_files import read_yaml
from qtuning.offline.schema import DECISIONS, SCORED
from qtuning.pruners.protocols import NEEDS, SamplePool
from qtuning.run.ledger import SCHEMA

from .. import device, tiny, vision
from ..integrations.axolotl import recorded as of_axolotl
from ..integrations.llamafactory import recorded
from ..integrations.swift import recorded as of_swift
from .pages import DOCS, MODEL, PAGES, ROOT, VERBS, blocks, commands, flags, prose, text

QUIET = [*device.flags(), "--max_steps", "1", "--report_to", "none"]
# What stands for a user's own in the code of the pages: theirs, ours.
LOCAL = (
    (MODEL, "model"),
    ("HuggingFaceTB/SmolVLM-256M-Instruct", "seeing"),
    ('"trl-lib/Capybara", split', '"json", data_files="data.jsonl", split'),
    ('Config("out", ', f'Config("out", **{device.arguments()}, report_to="none", max_steps=2, '),
)
# Programs on the pages that are not ours; their arguments are not looked at.
OTHERS = {"git", "cd", ".venv/bin/pre-commit", "swift", "axolotl"}
OTHER_TRAINERS = {
    "docs/llamafactory.md": {
        name
        for names in json.loads(recorded.FILE.read_text())["options"].values()
        for name in names
    },
    "docs/axolotl.md": {"qtuning", *json.loads(of_axolotl.FILE.read_text())["config"]},
    "docs/swift.md": {"ENV", *json.loads(of_swift.FILE.read_text())["options"]},
}
"""Pages of other trainers, and the options that these have."""
# Flags in the prose that belong to other programs.
OTHERS_FLAGS = {"--no-deps", "--disable-pip", "--target", "--case"}
OTHERS_FLAGS |= {"--external_plugins", "--resume_from_checkpoint"}
OTHERS_FLAGS |= {"--launcher", "--qtuning__sample_ratio"}


def module_of(name: str):
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def localised(code: str) -> str:
    for theirs, ours in LOCAL:
        code = code.replace(theirs, ours)
    return code


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """What the pages' code expects in the working folder: data, scores, a run."""
    folder = tmp_path_factory.mktemp("files")
    tiny.save_model(folder / "model", chat=True)
    for name, seed in (("data", 0), ("train", 0), ("held_out", 1)):
        tiny.dataset(seed=seed).to_json(folder / f"{name}.jsonl")
    vision.save(folder / "seeing")
    vision.dataset(8).to_parquet(str(folder / "pictures.parquet"))
    (folder / "my_pruners.py").write_text(blocks("docs/your-own-pruner.md", "python")[0].code)
    (folder / "examples").mkdir()
    shutil.copy(ROOT / "examples" / "as_released.yaml", folder / "examples")
    (folder / "run.yaml").write_text(localised(blocks("docs/training.md", "yaml")[0].code))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        model = ["--model_name_or_path", "model", "--dataset_name", "data.jsonl"]
        watched = ["--output_dir", "out", "--probe_samples", "4", "--logging_steps", "1"]
        assert cli.main(["train", *model, *watched, *QUIET]) == 0
        assert cli.main(["score", *model, "--per_token", "--output", "scores.parquet"]) == 0
        for copy in ("a", "b"):
            shutil.copy("scores.parquet", f"{copy}.parquet")
        words = ["prune", "scores.parquet", "--with_dropped", "--output", "decided.parquet"]
        assert cli.main(words) == 0
    return folder


@pytest.fixture
def workplace(files, tmp_path, monkeypatch) -> Path:
    """A copy of the files, as the working folder."""
    folder = tmp_path / "work"
    shutil.copytree(files, folder)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "my_pruners", raising=False)  # another test's
    return folder


@pytest.mark.parametrize("page", PAGES)
def test_every_block_says_its_language(page) -> None:
    known = {"bash", "sh", "python", "yaml", "text"}
    assert {block.language for block in blocks(page)} <= known


@pytest.mark.parametrize("page", PAGES)
def test_every_line_of_the_shell_is_one_that_works(page) -> None:
    for words in commands(page):
        check(words)


def check(words: list[str]) -> None:
    """See that a command's program, targets, extras and flags exist."""
    program, *rest = words
    if program == "accelerate" and "-m" in rest:
        program, *rest = rest[rest.index("-m") + 1 :]
    if program == "qtuning":
        assert rest[0] in VERBS, words
        unknown = {word for word in rest if word.startswith("--")} - flags(rest[0])
        assert not unknown, words
    elif program == "make":
        makefile = text("Makefile")
        for word in rest:
            kind = r"^{} \?=" if "=" in word else r"^{}:"
            pattern = kind.format(re.escape(word.partition("=")[0]))
            assert re.search(pattern, makefile, re.MULTILINE), words
    elif program == "pip":
        assert rest[0] == "install", words
        for extra in re.findall(r"[\w-]+", "".join(re.findall(r"\[(.*)\]", rest[1]))):
            assert re.search(rf"^{extra} = ", text("pyproject.toml"), re.MULTILINE), words
    elif program in ("bash", "python", ".venv/bin/python"):
        assert (ROOT / rest[0]).is_file(), words
    else:
        assert program in OTHERS, words


@pytest.mark.parametrize("page", PAGES)
def test_the_flags_that_the_text_names_exist(page) -> None:
    known = frozenset().union(*map(flags, VERBS)) | OTHERS_FLAGS
    named = set(re.findall(r"(?<![\w-])--\w[\w-]*", prose(page)))
    assert named <= known


def runs_here(words: list[str]) -> bool:
    """Whether a command needs no hub, no other data or program, and little time."""
    return (
        words[0] == "qtuning"
        and words[1] not in ("compare", "llamafactory")
        and {"--tasks", "--push_to_hub"}.isdisjoint(words)
    )


@pytest.mark.parametrize("page", [page for page in PAGES if any(map(runs_here, commands(page)))])
def test_the_commands_run(page, workplace) -> None:
    for words in filter(runs_here, commands(page)):
        if "--output" in words:
            Path(words[words.index("--output") + 1]).unlink(missing_ok=True)
        quiet = QUIET if words[1] == "train" else []
        assert cli.main([*map(localised, words[1:]), *quiet]) == 0, words


# Its page is run by `make integrations`, where Unsloth is.
@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page, "python") and page != "docs/unsloth.md"]
)
def test_the_python_runs(page, workplace, capsys) -> None:
    names: dict = {"__name__": "page"}
    for block in blocks(page, "python"):
        code = localised(block.code)
        exec(compile(code, f"{page}: {block.code.splitlines()[0]}", "exec"), names)


def test_what_the_offline_page_says_comes_out(workplace, capsys) -> None:
    lines = commands("docs/offline.md")
    assert [words[1] for words in lines] == ["score", "prune", "prune", "report", "diff"]
    Path("decided.parquet").unlink()
    for words in lines[1:]:
        assert cli.main(words[1:]) == 0
    shown = capsys.readouterr().out
    assert "6 of 24 rows (25.0%)" in shown
    assert "scores.parquet: 3 of 24 samples" in shown
    assert pq.read_table("kept/train.parquet").num_rows == 6


def test_held_out_rows_are_evaluated(workplace, capsys) -> None:
    words = next(w for w in commands("docs/compare-and-evaluate.md") if "held_out.jsonl" in w)
    assert cli.main(words[1:]) == 0
    assert "answer NLL" in capsys.readouterr().out


def test_a_pruner_of_ones_own_decides_as_its_page_says() -> None:
    names: dict = {}
    exec(blocks("docs/your-own-pruner.md", "python")[0].code, names)
    pool = SamplePool(torch.ones(3), torch.ones(3), torch.tensor([1, 2, 3]), list("abc"), 1, 0)
    assert names["longer_half"](pool, None).tolist() == [False, True, True]


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "yaml")])
def test_yaml_is_a_grid_or_a_config(page, tmp_path) -> None:
    for place, block in enumerate(blocks(page, "yaml")):
        path = tmp_path / f"{place}.yaml"
        path.write_text(block.code)
        content = read_yaml(path, page)
        if "grid" in content:
            assert read_grid(path).cells()
        elif page in OTHER_TRAINERS:
            assert set(content) <= OTHER_TRAINERS[page] | {
                one.name for one in fields(PruningArguments)
            }
        else:
            assert {f"--{name}" for name in content} <= flags("train")


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"])
def test_links_lead_to_files(page) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", text(page)):
        assert "://" in target or (ROOT / target).exists(), target


def test_the_page_of_options_is_that_of_the_code() -> None:
    assert text("docs/configuration.md") == module_of("generate").configuration(), (
        "run: python docs/generate.py"
    )


def test_every_public_name_is_on_the_page_of_the_api() -> None:
    shown = re.findall(r"^::: qtuning\.(\w+)$", text("docs/python-api.md"), re.MULTILINE)
    assert sorted(shown) == sorted(qtuning.__all__)


@pytest.mark.parametrize("page", ["README.md", "docs/quickstart.md"])
def test_every_extra_is_named(page) -> None:
    section = text("pyproject.toml").split("[project.optional-dependencies]")[1]
    extras = set(re.findall(r"^(\w+) = \[", section.split("\n[")[0], re.MULTILINE)) - {"dev"}
    assert "docs" in extras
    listed = re.search(r"# extras: [^\n]*|^\| extra .*?\n\n", text(page), re.DOTALL | re.MULTILINE)
    for extra in extras:
        assert re.search(rf"\b{extra}\b", listed[0]), extra


def test_the_pruners_that_are_recommended_exist() -> None:
    table = text("docs/choosing-a-pruner.md").split("## By situation")[1]
    for line in table.splitlines():
        if line.startswith("| ") and "`" in line:
            _, _, samples, tokens, _ = line.split("|")
            assert set(re.findall(r"`(.*?)`", samples)) <= SAMPLE_PRUNERS.keys(), line
            assert set(re.findall(r"`(.*?)`", tokens)) <= TOKEN_PRUNERS.keys(), line


def test_the_page_of_comparisons_names_every_option_and_key() -> None:
    page = text("docs/compare-and-evaluate.md")
    for name in (*flags("compare") - {"--help"}, *_keys(Data), *_keys(Method)):
        assert f"`{name}" in page, name


def _keys(kind: type) -> set[str]:
    return {one.name for one in fields(kind)} - {"name", "pruning"}


def test_the_page_of_pruners_of_ones_own_names_all_that_one_is_given() -> None:
    page = text("docs/your-own-pruner.md")
    for name in (*NEEDS, *(one.name for one in fields(SamplePool))):
        assert f"`{name}`" in page, name


def test_the_page_of_the_ledger_names_every_column() -> None:
    page = text("docs/metrics-and-ledger.md").split("## The ledger")[1]
    for name in SCHEMA.names:
        assert f"`{name}`" in page, name


def test_the_page_of_scores_names_every_column() -> None:
    page = text("docs/offline.md")
    for name in (*SCORED, *DECISIONS):
        assert f"`{name}`" in page, name


def test_the_page_of_the_metrics_names_every_one_that_is_logged(files) -> None:
    page = text("docs/metrics-and-ledger.md").replace("`pruning/q1_share` ... `q4_share`", "")
    state = json.loads((files / "out" / "checkpoint-1" / "trainer_state.json").read_text())
    logged = {name for line in state["log_history"] for name in line if name.startswith("pruning/")}
    assert len(logged) > 15
    for name in logged - {f"pruning/q{q}_share" for q in (1, 2, 3, 4)}:
        assert re.search(rf"`(pruning/)?{name.removeprefix('pruning/')}`", page), name


def test_options_of_the_page_on_cheaper_scoring_exist() -> None:
    known = {one.name for one in fields(PruningArguments)}
    table = text("docs/cheaper-scoring.md").split("## ")[0]
    assert set(re.findall(r"^\| `(\w+): ", table, re.MULTILINE)) <= known


def test_python_parses_where_it_is_not_run() -> None:
    for page in PAGES:
        for block in blocks(page, "python"):
            ast.parse(block.code)


def test_the_page_of_data_names_every_role_and_column_that_is_read() -> None:
    page = text("docs/data.md")
    formats = (("messages",), ("prompt", "completion"), ("instruction", "output"))
    names = [*ROLES, *(name for one in formats for name in (*one, *columns_with(one)))]
    assert [name for name in names if f"`{name}`" not in page] == []


class TestLinksOfTheSite:
    """``docs/hooks.py``: links lead to pages of the site where there are any."""

    @pytest.fixture
    def with_links(self):
        pytest.importorskip("mkdocs")
        return module_of("hooks").with_links

    def test_a_page_made_of_a_file_outside_docs(self, with_links) -> None:
        assert with_links("[a](../SECURITY.md#x)", "training.md", None) == "[a](security.md#x)"

    def test_from_such_a_page_into_docs(self, with_links) -> None:
        made = with_links("[a](docs/study.md), [b](SECURITY.md)", "changelog.md", None)
        assert made == "[a](study.md), [b](security.md)"

    def test_from_a_page_in_a_folder(self, with_links) -> None:
        made = with_links("[a](../../docs/study.md)", "results/speed.md", None)
        assert made == "[a](../study.md)"

    def test_a_file_that_is_no_page_is_named(self, with_links) -> None:
        made = with_links("[examples/accelerate](../examples/accelerate)", "distributed.md", None)
        assert made == "`examples/accelerate`"
        assert with_links("[it](../LICENSE)", "index.md", None) == "it, `LICENSE`"

    def test_or_linked_where_the_repository_can_be_seen(self, with_links) -> None:
        made = with_links("[it](../LICENSE)", "index.md", "https://host/x/")
        assert made == "[it](https://host/x/blob/HEAD/LICENSE)"

    def test_what_is_not_there_is_left_to_mkdocs(self, with_links) -> None:
        for link in ("[a](nowhere.md)", "[a](../nowhere)", "[a](https://b/c)", "![a](x.png)"):
            made = with_links(link, "index.md", None)
            assert made == link
