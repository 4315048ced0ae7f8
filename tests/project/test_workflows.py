"""The workflows of `.github` are written against the Makefile, and publish without a password."""

import re
from pathlib import Path

import tomllib
import yaml

ROOT = Path(__file__).parents[2]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
WORKFLOWS = {path.stem: yaml.safe_load(path.read_text()) for path in FILES}


def test_versions_agree() -> None:
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == VERSION
    assert f"\n## [{VERSION}]" in (ROOT / "CHANGELOG.md").read_text()


def steps(workflow: dict) -> list[dict]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def test_workflows_call_targets_that_are_there() -> None:
    assert WORKFLOWS.keys() == {"tests", "publish"}
    makefile = (ROOT / "Makefile").read_text()
    called = set()
    for workflow in WORKFLOWS.values():
        for step in steps(workflow):
            called |= set(re.findall(r"\bmake ([a-z-]+)", step.get("run", "")))
    assert called >= {"setup", "check", "test", "test-oldest", "test-newest", "dist"}
    for target in called:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_actions_are_pinned_and_may_only_read() -> None:
    for workflow in WORKFLOWS.values():
        assert workflow["permissions"] == {"contents": "read"}
        for step in steps(workflow):
            assert "run" in step or re.search(r"@(release/)?v\d+$", step["uses"])


def test_publishing_is_by_trusted_publisher() -> None:
    for file in FILES:
        assert not re.search(r"password:|secrets\b", file.read_text()), file
    jobs = WORKFLOWS["publish"]["jobs"]
    publishing = [
        job
        for job in jobs.values()
        if any("gh-action-pypi-publish" in step.get("uses", "") for step in job["steps"])
    ]
    assert [job["permissions"] for job in publishing] == [{"id-token": "write"}]
    assert [job["environment"]["name"] for job in publishing] == ["pypi"]
    assert all("permissions" not in job for job in jobs.values() if job not in publishing)
    # "on" is a truth value to YAML 1.1
    assert WORKFLOWS["publish"][True] == {"release": {"types": ["published"]}}
