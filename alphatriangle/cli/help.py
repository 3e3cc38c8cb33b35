"""Help as people read it: paragraphs as wide as the terminal, flags without a value."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption


def reflowed(text: str) -> str:
    """A docstring whose paragraphs are single lines; indented lines stay lines.

    Typer keeps the line breaks of the source, which fit no other width.
    """
    blocks = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(b if b.startswith(" ") else b.replace("\n", " ") for b in blocks)


def _flags_without_value(parameters: list[Any]) -> list[Any]:
    """Typer writes ``<bool>`` behind a flag, as if it wanted one."""
    for parameter in parameters:
        if isinstance(parameter, TyperOption) and parameter.is_flag:
            parameter.metavar = ""
    return parameters


class _Command(TyperCommand):
    def __init__(self, *args: Any, help: str | None = None, **options: Any) -> None:
        super().__init__(*args, help=reflowed(help or ""), **options)

    def get_params(self, ctx: Any) -> list[Any]:
        return _flags_without_value(super().get_params(ctx))


class _Group(TyperGroup):
    def get_params(self, ctx: Any) -> list[Any]:
        return _flags_without_value(super().get_params(ctx))


class App(typer.Typer):
    """A group of commands; without one it shows its help."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            cls=_Group, no_args_is_help=True, pretty_exceptions_enable=False, **options
        )

    def command(self, name: str | None = None, **options: Any) -> Callable[..., Any]:
        """As Typer's."""
        return super().command(name, cls=_Command, **options)
