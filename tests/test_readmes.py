"""What the READMEs and the manual show works as written."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from alphatriangle.cli.app import app
from alphatriangle.config import Config
from alphatriangle.stats.events import points

ROOT = Path(__file__).parent.parent
MANUAL = sorted(ROOT.glob("docs/*.md"))
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("alphatriangle/*/README.md")), *MANUAL]
SNIPPETS = [
    pytest.param(code, id=f"{page.parent.name}-{page.stem}-{number}")
    for page in PAGES
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL))
]


def test_every_package_has_a_readme_with_an_example() -> None:
    packages = sorted(p.parent for p in ROOT.glob("alphatriangle/*/__init__.py"))
    assert len(packages) == 14
    for package in packages:
        assert "```python" in (package / "README.md").read_text(), package.name


@pytest.mark.parametrize("code", SNIPPETS)
def test_snippets_run(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {"__name__": "__main__"})


def test_links_between_files_lead_somewhere() -> None:
    for page in set(PAGES) - set(MANUAL):
        for target in re.findall(r"\]\((?!http|#)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page}: {target}"


@pytest.mark.parametrize("page", [ROOT / "README.md", *MANUAL], ids=lambda page: page.stem)
def test_commands_that_are_shown_exist(page: Path) -> None:
    """Each ``alphatriangle ...`` line parses: its command and options are there."""
    commands = re.findall(r"^alphatriangle ([^\n#>]+)", page.read_text(), re.MULTILINE)
    for line in commands:
        words = shlex.split(line)
        path = words[:2] if words[0] in ("runs", "ui", "config") else words[:1]
        help_text = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "200"})
        assert help_text.exit_code == 0, line
        for option in (word for word in words if word.startswith("--")):
            assert option in help_text.stdout, (line, option)


def test_the_readme_and_the_first_page_show_commands() -> None:
    for page in (ROOT / "README.md", ROOT / "docs" / "index.md"):
        assert len(re.findall(r"^alphatriangle ", page.read_text(), re.MULTILINE)) >= 5


def test_the_manual_is_built_without_a_dead_link(tmp_path: Path) -> None:
    """Also: each setting and each command has its place in the reference."""
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    settings = (tmp_path / "site" / "configuration" / "index.html").read_text()
    for section, info in Config.model_fields.items():
        assert f'id="{section}"' in settings
        for field in info.annotation.model_fields:  # type: ignore[union-attr]
            assert f"<code>{field}</code>" in settings
    metrics = (tmp_path / "site" / "metrics" / "index.html").read_text()
    for point in points():
        assert f"<code>{point.name}</code>" in metrics
    commands = (tmp_path / "site" / "commands" / "index.html").read_text()
    for command in ("train", "eval", "runs explain-resume", "config schema", "ui mlflow"):
        assert f"<code>alphatriangle {command}</code>" in commands
