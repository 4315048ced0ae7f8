"""Hooks of mkdocs: pages made of files outside docs/, and links that lead there.

Links in the sources are relative paths that GitHub follows. On the site a file that is a page is
linked as that page; any other file of the repository is named by its path, or linked if mkdocs.yml
has a ``repo_url``.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PAGES = {
    "contributing.md": "CONTRIBUTING.md",
    "security.md": "SECURITY.md",
    "changelog.md": "CHANGELOG.md",
    "results/study.md": "study/results/results.md",
    "results/speed.md": "benchmarks/results/speed.md",
    "results/cheaper-scoring.md": "study/cheaper_scoring/results.md",
    "results/suspects.md": "study/faults/results.md",
    "results/noise.md": "study/noise/results.md",
    "results/weights.md": "study/weights/results.md",
    "results/protocols.md": "study/protocols/results.md",
    "results/gpu.md": "benchmarks/results/gpu.md",
    "results/gpu-2.md": "benchmarks/results/gpu-2.md",
}
"""Page of the site: the file of the repository that it is made of."""
_PICTURES = {"results": "benchmarks/results"}
_LINK = re.compile(r"(?P<picture>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages and pictures that lie outside docs/."""
    for uri, source in PAGES.items():
        if (ROOT / source).is_file():  # else mkdocs tells of a page of the menu that is not there
            text = (ROOT / source).read_text(encoding="utf-8")
            files.append(File.generated(config, uri, content=text))
    for folder, source in _PICTURES.items():
        for picture in sorted((ROOT / source).glob("*.png")):
            uri = f"{folder}/{picture.name}"
            files.append(File.generated(config, uri, abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links lead to pages of the site."""
    uri = page.file.src_uri
    return with_links(markdown, uri, config.repo_url)


def with_links(markdown: str, uri: str, repo_url: str | None) -> str:
    """The text of a page, its links to other files of the repository put right.

    Args:
        markdown: The text.
        uri: The page, relative to docs/.
        repo_url: Where the repository can be looked at, if anywhere.
    """
    source = PAGES.get(uri, f"docs/{uri}")
    page_of = {path: page for page, path in PAGES.items()}

    def put_right(match: re.Match[str]) -> str:
        target, _, anchor = match["target"].partition("#")
        if not target or ":" in target or match["picture"]:
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        page = path[len("docs/") :] if path.startswith("docs/") else page_of.get(path)
        if page is not None:
            relative = posixpath.relpath(page, posixpath.dirname(uri) or ".")
            return f"[{match['text']}]({relative}{'#' if anchor else ''}{anchor})"
        if not (ROOT / path).exists():
            return match[0]  # mkdocs tells of it
        if repo_url:
            return f"[{match['text']}]({repo_url.rstrip('/')}/blob/HEAD/{path})"
        file = Path(path)
        named = match["text"].strip("`") in (path, file.name, file.stem)
        return f"`{path}`" if named else f"{match['text']}, `{path}`"

    return _LINK.sub(put_right, markdown)
