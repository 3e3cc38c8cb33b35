"""How the command is called from where this process was started, for messages that name one."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from typing import Final

_NAME: Final = "alphatriangle"


def command(*words: str) -> str:
    """``alphatriangle WORDS`` as the person's shell finds it, quoted for that shell.

    The bare name where it is on the PATH, else the path of the script, else ``python -m``.
    """
    try:
        program = _program()
    except OSError:  # the current folder has been removed
        program = [_NAME]
    return shlex.join([*program, *words])


def _program() -> list[str]:
    started = Path(sys.argv[0]) if sys.argv and sys.argv[0] else None
    if started is not None and started.parts[-2:] == (_NAME, "__main__.py"):
        return _module()
    beside = Path(sys.executable).parent / _NAME
    for script in (started, beside):
        if script is not None and script.stem == _NAME and script.is_file():
            return [_NAME] if _is_on_path(_NAME, script) else [_from_here(script)]
    return _module()


def _module() -> list[str]:
    python = Path(sys.executable)
    known = next((n for n in ("python", "python3") if _is_on_path(n, python)), None)
    return [known or _from_here(python), "-m", _NAME]


def _is_on_path(name: str, file: Path) -> bool:
    found = shutil.which(name)
    # Not resolved: the python of a virtual environment is a link to one that knows nothing of it.
    return found is not None and Path(found).absolute() == file.absolute()


def _from_here(file: Path) -> str:
    """Relative where it lies below the current folder."""
    file = file.absolute()
    here = Path.cwd()
    if not file.is_relative_to(here):
        return str(file)
    return f"./{file.name}" if file.parent == here else str(file.relative_to(here))
