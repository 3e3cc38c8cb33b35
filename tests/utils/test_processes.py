"""Processes beside training are of this very package, wherever training was started."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from alphatriangle import __version__
from alphatriangle.utils.processes import start_beside


def test_files_of_the_folder_are_no_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("random", "json", "typer", "alphatriangle"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('somebody else wrote this')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    process = start_beside("alphatriangle", "--version", stdout=subprocess.PIPE)
    output, _ = process.communicate(timeout=120)
    assert output.decode() == f"alphatriangle {__version__}\n"


def test_no_signal_of_the_terminal_reaches_them() -> None:
    process = start_beside("alphatriangle", "--help")
    assert os.getsid(process.pid) == process.pid != os.getsid(0)
    assert process.wait(120) == 0
