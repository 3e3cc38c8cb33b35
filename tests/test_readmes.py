"""What the READMEs show works as written."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from alphatriangle.cli.app import app

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *ROOT.glob("alphatriangle/*/README.md")])
SNIPPETS = [
    pytest.param(code, id=f"{page.parent.name}-{number}")
    for page in PAGES
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL))
]


def test_every_package_has_a_readme_with_an_example() -> None:
    packages = sorted(p.parent for p in ROOT.glob("alphatriangle/*/__init__.py"))
    assert len(packages) == 13
    for package in packages:
        assert "```python" in (package / "README.md").read_text(), package.name


@pytest.mark.parametrize("code", SNIPPETS)
def test_snippets_run(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {"__name__": "__main__"})


def test_links_between_files_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!http|#)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page}: {target}"


def test_commands_in_the_readme_exist() -> None:
    """Each ``alphatriangle ...`` line parses: its command and options are there."""
    text = (ROOT / "README.md").read_text()
    commands = re.findall(r"^\$? ?(?:\.venv/bin/)?alphatriangle ([^\n#]+)", text, re.MULTILINE)
    assert len(commands) >= 5
    for line in commands:
        words = shlex.split(line)
        path = words[:2] if words[0] in ("runs", "ui") else words[:1]
        help_text = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "200"})
        assert help_text.exit_code == 0, line
        for option in (word for word in words if word.startswith("--")):
            assert option in help_text.stdout, (line, option)
