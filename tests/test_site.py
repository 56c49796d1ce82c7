"""The manual as a website: every page is there, every link within it leads somewhere, nothing is fetched."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from processes import HANGS

import tensix_sim

pytest.importorskip("mkdocs", reason="needs the docs extra")
pytestmark = pytest.mark.slow

ROOT = Path(tensix_sim.__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manual as built; a link or an anchor that leads nowhere ends the build."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=HANGS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_page_is_in_the_site(site: Path) -> None:
    """README is the first one; none is left out of the menu."""
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")}
    menu = (site / "index.html").read_text()
    for page in pages | {"CONTRIBUTING", "CHANGELOG"}:
        assert (site / f"{page}.html").is_file()
        assert f'href="{page}.html"' in menu


def test_the_site_fetches_nothing(site: Path) -> None:
    """Scripts, styles and pictures lie beside the pages; pictures are there."""
    for page in {*site.glob("*.html")} - {site / "404.html"}:  # which a server would show anywhere
        text = page.read_text()
        sources = re.findall(r'<(?:script|img|link)\b[^>]*?(?:src|href)="([^"]+)"', text)
        assert not [source for source in sources if source.startswith(("http", "//"))]
        assert all((site / source.partition("?")[0]).exists() for source in sources)
