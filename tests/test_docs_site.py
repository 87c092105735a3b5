"""The pages of docs/ become a site."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_the_site_has_no_broken_link_and_all_pages_are_in_its_menu(tmp_path):
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )

    assert built.returncode == 0, built.stderr
    assert "not included in the" not in built.stderr, built.stderr
    assert "open_store" in (tmp_path / "api/index.html").read_text()
