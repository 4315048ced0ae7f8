"""What `make dist` builds, installed into a clean environment, does what README says."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from email import message_from_bytes
from pathlib import Path
from typing import NamedTuple

import pytest
import tomllib

from qtuning.evaluation.local_tasks import local_tasks

from .. import processes, tiny

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# Left out of the copy that is built from: large, or of this machine.
LEFT_OUT = (".git", ".venv*", "build", "dist", "*.egg-info", "__pycache__", ".*_cache", "*.pyc")
LEFT_OUT += (".hypothesis", "runs", "logs", "outputs", "site", "cells")
# Names of what only the extras install.
EXTRAS = ("peft", "matplotlib", "lm_eval", "scipy", "sklearn", "gguf", "ray", "reasoning_gym")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("make") is None, reason="needs make"),
]


class Made(NamedTuple):
    """What is built, and an environment that it is installed into."""

    sdist: Path
    wheel: Path
    bin: Path


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Made:
    folder = tmp_path_factory.mktemp("dist")
    tree, environment = folder / "tree", folder / "venv"
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(*LEFT_OUT))
    venv.create(environment, with_pip=False, symlinks=True)
    # The other packages are those of this environment, without the qtuning that it develops.
    (site,) = environment.glob("lib/python*/site-packages")
    (site / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (environment / ".build").touch()  # what building needs is there, without a network
    run("make", "-C", tree, "dist", f"VENV={environment}", cwd=folder)
    (sdist,), (wheel,) = (tree / "dist").glob("*.tar.gz"), (tree / "dist").glob("*.whl")
    pip = [sys.executable, "-m", "pip", "--python", environment / "bin" / "python"]
    run(*pip, "install", "--no-deps", "--no-index", wheel, cwd=folder)
    return Made(sdist, wheel, environment / "bin")


def run(*command: object, cwd: Path) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
        capture_output=True,
        text=True,
        timeout=processes.WAIT,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def test_the_wheel_has_every_file_of_the_package(made) -> None:
    source = ROOT / "src"
    files = {
        str(path.relative_to(source)): path.read_bytes()
        for path in (source / "qtuning").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    packed = contents(made.wheel)
    assert {name: packed[name] for name in packed if ".dist-info/" not in name} == files


def test_the_metadata_are_those_of_the_project(made) -> None:
    (name,) = (name for name in contents(made.wheel) if name.endswith("/METADATA"))
    metadata = message_from_bytes(contents(made.wheel)[name])
    assert metadata["Name"] == "qtuning"
    assert metadata["Version"] == PROJECT["version"]
    assert set(metadata.get_all("Provides-Extra")) == set(PROJECT["optional-dependencies"])
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert made.sdist.name == f"qtuning-{PROJECT['version']}.tar.gz"


def test_the_wheel_of_the_tree_is_that_of_the_source_distribution(made, tmp_path) -> None:
    tree = made.sdist.parents[1]
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, tree]
    run(*build, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    first, second = contents(wheel), contents(made.wheel)
    assert first.keys() == second.keys()
    assert all(first[name] == second[name] for name in first if not name.endswith("/RECORD"))


def test_the_source_distribution_is_enough_to_develop_and_of_sensible_size(made) -> None:
    with tarfile.open(made.sdist) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    for needed in (
        *("README.md", "LICENSE", "CHANGELOG.md", "Makefile", "pyproject.toml", "constraints.txt"),
        *("tests/conftest.py", "tests/project/test_dist.py", "docs/pruners.md", ".ci/run"),
        *("examples/demo.py", "examples/accelerate/ddp.yaml", "benchmarks/speed.py"),
        *("study/grid.yaml", "src/qtuning/py.typed", "src/qtuning/reports/page/template.html"),
    ):
        assert needed in names, needed
    assert not [name for name in names if name.startswith(("study/results", "benchmarks/results"))]
    assert not [name for name in names if name.endswith(".pyc") or "__pycache__" in name]
    assert made.sdist.stat().st_size < 3_000_000


def test_the_command_of_the_installed_package_lists_its_verbs(made, tmp_path) -> None:
    said = run(made.bin / "qtuning", "--help", cwd=tmp_path)
    assert said == run(made.bin / "python", "-m", "qtuning", "--help", cwd=tmp_path)
    assert re.search(r"^  train +fine-tune", said, re.MULTILINE)


def test_a_plain_install_does_what_needs_no_extra(made, tmp_path) -> None:
    """README's lines: `train`, `score`, `prune`, `report` and `diff`, with every extra hidden."""
    tiny.save_model(tmp_path / "model")
    tiny.dataset(8).to_json(tmp_path / "rows.jsonl")
    named = "--model_name_or_path model --dataset_name rows.jsonl"
    ratios = "--sample_ratio 0.25 --token_ratio 0.5"
    commands = [
        "train --help",
        f"train {named} {ratios} --output_dir out --use_cpu --max_steps 1 --report_to none",
        f"score {named} --per_token --output scores.parquet",
        f"prune scores.parquet {ratios} --format trl --output kept",
        "report scores.parquet --sample_ratio 0.25 --output report.html",
        "report out --rows scores.parquet --output run.html",
        "diff scores.parquet out --sample_ratio 0.25",
        f"evaluate {named} --dataset_test_split train",
        "evaluate --model_name_or_path model --tasks arc_easy",
    ]
    (tmp_path / "commands.json").write_text(json.dumps([line.split() for line in commands]))
    script = Path(__file__).with_name("plain_install.py")
    said = run(made.bin / "python", script, "commands.json", *EXTRAS, cwd=tmp_path)
    told = json.loads(said.splitlines()[-1])
    assert Path(told["file"]).is_relative_to(made.bin.parent), "not the source tree"
    assert told["codes"] == [0] * (len(commands) - 1) + [2]
    assert told["tasks"] == list(local_tasks()) != []
