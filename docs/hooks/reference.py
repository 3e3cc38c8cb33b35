"""Pages that are made from the product: settings, commands, the packages' own READMEs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from alphatriangle.config import PRESETS, Config, OnResume, base, build, preset
from alphatriangle.config.toml import toml_value
from alphatriangle.stats.events import points

ROOT = Path(__file__).parent.parent.parent


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Called by mkdocs when it has read the pages that are written by hand."""
    pages = {"configuration.md": configuration_page(), "commands.md": commands_page()}
    pages |= {"examples.md": examples_page(), "metrics.md": metrics_page()}
    for readme in sorted(ROOT.glob("alphatriangle/*/README.md")):
        pages[f"packages/{readme.parent.name}.md"] = readme.read_text()
    for path, content in pages.items():
        files.append(File.generated(config, path, content=content))
    return files


def configuration_page() -> str:
    """Every setting with its bounds, its default and what the presets make of it."""
    presets = {name: build(preset(name)) for name in PRESETS}
    lines = [
        "# Configuration",
        "",
        "Settings come from a preset, over it a TOML file (`--config`), over that the environment",
        "(`ALPHATRIANGLE_SECTION__FIELD=value`), over all of them `--set section.field=value` and",
        "the other options. A run that is gone on with has its own settings in a preset's place.",
        "Unknown names and values out of bounds are errors that name the key, the value and the",
        "bound.",
        "",
        "```sh",
        "alphatriangle config show laptop > mine.toml",
        "alphatriangle config diff quick laptop",
        "alphatriangle config schema > alphatriangle.schema.json",
        "alphatriangle train --config mine.toml --set ntuple.explore=0.2",
        "```",
        "",
        "A preset's value stands below the default where it is another. The last column says what",
        "becomes of a change when a run is resumed:",
        "",
        *(f"- *{kind}*: {kind.meaning}" for kind in OnResume),
        "",
        "Where it names a kind of network, the setting has no effect on others: there a change is",
        "refused on a resume, and a new run says that it has none.",
    ]
    for section, model in Config.model_fields.items():
        kind: Any = model.annotation
        schema = kind.model_json_schema()
        lines += ["", f"## `{section}`", "", str(kind.__doc__).strip(), ""]
        lines += ["| setting | default | what it is | on resume |", "| --- | --- | --- | --- |"]
        for field, info in kind.model_fields.items():
            values = [_value(info.default)]
            for name, chosen in presets.items():
                value = getattr(getattr(chosen, section), field)
                if value != info.default:
                    values.append(f"{name}&nbsp;{_value(value)}")
            cells = [
                f"`{field}`<br>{_bounds(schema['properties'][field])}",
                "<br>".join(values),
                " ".join((info.description or "").split()).replace("|", "\\|"),
                # By its module: mkdocs takes every name that begins with on_ for a handler.
                base.labels(info),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    return f"`{toml_value(value)}`"


def _bounds(schema: dict[str, Any]) -> str:
    """What a value may be, from its JSON schema."""
    return " or ".join(_alternatives(schema)).replace("|", "\\|")


def _alternatives(schema: dict[str, Any]) -> Iterator[str]:
    if "anyOf" in schema:
        for one in schema["anyOf"]:
            yield from _alternatives(one)
    elif "enum" in schema:
        yield ", ".join(schema["enum"])
    elif schema.get("type") == "null":
        yield "none"
    else:
        words = [schema.get("format", schema.get("type", "any"))]
        names = {
            "minimum": "≥",
            "exclusiveMinimum": "&gt;",
            "maximum": "≤",
            "exclusiveMaximum": "&lt;",
        }
        words += [f"{sign} {schema[key]:,}" for key, sign in names.items() if key in schema]
        yield " ".join(words)


def metrics_page() -> str:
    """Every curve with its unit."""
    lines = ["# Metrics", "", "What TensorBoard and MLflow show of a run, by training step.", ""]
    lines += ["| metric | unit | what it is |", "| --- | --- | --- |"]
    for name, unit, what in points():
        lines.append(f"| `{name}` | {unit} | {what.replace('|', '&#124;')} |")
    return "\n".join(lines) + "\n"


def commands_page() -> str:
    """What each command says of itself, written out by Typer."""
    words = ["alphatriangle.cli.app", "utils", "docs", "--name", "alphatriangle"]
    done = subprocess.run(
        [sys.executable, "-m", "typer", *words],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    page = done.stdout.replace("# `alphatriangle`\n", "# Commands\n", 1)
    # Typer cuts what a group says of its commands, and its examples would be paragraphs.
    purposes = dict(re.findall(r"^#+ `([^`]+)`\n\n([^\n]+)", page, re.MULTILINE))
    lines, group = [], "alphatriangle"
    for line in page.splitlines():
        if heading := re.match(r"#+ `([^`]+)`", line):
            group = heading[1]
        if listed := re.match(r"\* `([a-z][a-z-]*)`: ", line):
            name = listed[1]
            line = f"* `{name}`: {purposes[f'{group} {name}']}"
        lines.append(line)
    return re.sub(r"(?:^  alphatriangle .*\n+)+", _as_console, "\n".join(lines), flags=re.MULTILINE)


def _as_console(examples: re.Match[str]) -> str:
    commands = [line.strip() for line in examples[0].splitlines() if line.strip()]
    return "\n".join(["```sh", *commands, "```", "", ""])


def on_page_content(html: str, **_: Any) -> str:
    """Called by mkdocs: the roles in docstrings are for other tools."""
    return re.sub(r":(?:func|class|meth|data):(?=<code>)", "", html)


def examples_page() -> str:
    """The gallery, with its files written out."""
    page = (ROOT / "examples" / "README.md").read_text()
    for file in sorted((ROOT / "examples").glob("*.py")):
        page += f"\n## `{file.name}`\n\n```python\n{file.read_text()}```\n"
    return page
