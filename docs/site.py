"""What mkdocs asks while it builds the manual: pages above `docs` are pages of it too, links to code are text."""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

TOP = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
TO_CODE = re.compile(r"\[([^]]*)\]\((?:\.\./|(?:tests|benchmarks|tensix_sim|kernels|examples)/)[^)]*\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that lie above `docs`."""
    for name in TOP:
        text = (Path(config.config_file_path).parent / name).read_text(encoding="utf-8")
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links as they lead from page to page."""
    return TO_CODE.sub(r"\1", markdown).replace("](docs/", "](")
