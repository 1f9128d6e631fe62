"""Hooks of mkdocs: generated pages, links that leave docs/, GitHub's Markdown, no other hosts."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
# Files of the repository that are pages of the site as well.
PAGES = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security-policy.md",
}
# `npm install --no-save --ignore-scripts mermaid` puts it here. Without it, diagrams are shown as source.
MERMAID = ROOT / "node_modules/mermaid/dist/mermaid.min.js"

COMMANDS = "reference/commands.md"

_FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
_INDENT = re.compile(r"^ +(?=\S)", re.MULTILINE)
_REMOTE = re.compile(
    r"<(?:script|img|iframe)\b[^>]* src=\"?https?:|<link\b[^>]*stylesheet[^>]*https?:"
)
_TABLE_END = re.compile(r"^( *\|.*\n)(?= *[^|\s])", re.MULTILINE)
_LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)#\s]+)(?=[)#])")
_log = logging.getLogger("mkdocs.hooks.tempo_runtime")


def on_config(config: Any) -> None:
    """Draw Mermaid's fences if its script is there."""
    if MERMAID.is_file():
        from pymdownx.superfences import fence_code_format

        fence = {"name": "mermaid", "class": "mermaid", "format": fence_code_format}
        config.mdx_configs["pymdownx.superfences"] = {"custom_fences": [fence]}


def on_files(files: Files, config: Any) -> None:
    """Add the pages that lie outside docs/, and the help of each command."""
    from tempo_runtime.cli import main

    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text()))
    text = "# Each command\n\n[Command line](../cli.md) shows the commands at work.\n\n"
    text += "\n".join(_help(main, "tempo-runtime"))
    files.append(File.generated(config, COMMANDS, content=text))


def _help(command: click.Command, name: str, parent: click.Context | None = None) -> Iterator[str]:
    """Yield a section with the help of a command, and one for each command below it."""
    context = click.Context(command, parent, name, terminal_width=84, **command.context_settings)
    yield f"## {context.command_path}\n\n```text\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for name, below in sorted(command.commands.items()):
            yield from _help(below, name, context)


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Adapt what GitHub reads to the site."""
    markdown = _link(markdown, page, config)
    # mkdocstrings' options are indented as well, but such pages have no lists.
    return markdown if page.file.src_uri.startswith("reference/") else _reformat(markdown)


def _reformat(markdown: str) -> str:
    """Write the prose as Python-Markdown reads it.

    GitHub nests lists by two spaces, Python-Markdown by four. A list ends a table for GitHub only.
    """
    fences = _FENCE.findall(markdown)
    prose = []
    for part in _FENCE.split(markdown):
        nested = _INDENT.sub(lambda match: match[0] * 2, part)
        prose.append(_TABLE_END.sub(r"\1\n", nested))
    return "".join(part + fence for part, fence in zip(prose, [*fences, ""]))


def _link(markdown: str, page: Any, config: Any) -> str:
    """Point links that leave docs/ to the site's own page, or to the file in the repository."""
    outside = page.file.src_uri in PAGES.values()
    folder = ROOT if outside else (ROOT / "docs" / page.file.src_uri).parent

    def target(match: re.Match[str]) -> str:
        path = (folder / match[1]).resolve()
        if path.is_relative_to(ROOT / "docs"):
            return str(path.relative_to(ROOT / "docs")) if outside else match[1]
        relative = str(path.relative_to(ROOT))
        if relative in PAGES:
            return PAGES[relative]
        if not path.exists():
            _log.warning("%s links to %s, which does not exist", page.file.src_uri, match[1])
        return f"{config.repo_url.rstrip('/')}/blob/main/{relative}"

    return _LINK.sub(target, markdown)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Load Mermaid from the site, which keeps the theme from loading it from a CDN."""
    if _REMOTE.search(output):
        _log.warning("%s loads something from another host", page.file.src_uri)
    if 'class="mermaid"' not in output:
        return output
    script = "../" * page.url.count("/") + "assets/javascripts/mermaid.min.js"
    return output.replace("</head>", f'<script src="{script}"></script></head>', 1)


def on_post_build(config: Any) -> None:
    """Copy Mermaid's script into the site."""
    if MERMAID.is_file():
        shutil.copy(MERMAID, Path(config.site_dir) / "assets/javascripts")
