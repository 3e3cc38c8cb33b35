"""What MLflow shows of a run beside its curves: settings, origin of the code, signature."""

from __future__ import annotations

import shutil
import subprocess
from functools import partial
from pathlib import Path

import numpy as np

from alphatriangle import __version__
from alphatriangle.config import Config
from alphatriangle.data.elsewhere.mlflow_store import RunDescription
from alphatriangle.features import OTHER_FEATURES, PLANES
from alphatriangle.game.geometry import ACTIONS, COLS, ROWS, SLOTS
from alphatriangle.nn import NeuralNetwork
from alphatriangle.stats.events import points

SOURCE = Path(__file__).parent.parent.parent
"""The checkout that this package is run from, where it is one."""


def describe_for_mlflow(config: Config, network: NeuralNetwork) -> RunDescription:
    """Parameters ``section.field``, tags, and ``model/MLmodel`` with the network's signature."""
    parameters = {
        f"{section}.{field}": str(value)
        for section, fields in config.model_dump(mode="json").items()
        for field, value in fields.items()
    }
    parameters["parameter_count"] = str(network.parameter_count)
    tags = {
        "version": __version__,
        "device": network.device.type,
        "mlflow.note.content": metrics_note(),
    }
    revision = git_revision(SOURCE)
    if revision is not None:
        # The second is where MLflow's own pages look.
        tags |= {"git_revision": revision, "mlflow.source.git.commit": revision.split("-")[0]}
    return RunDescription(parameters, tags, {"model/MLmodel": partial(model_signature, config)})


def metrics_note() -> str:
    """What the curves are, in Markdown: MLflow shows it as the run's description."""
    lines = ["| metric | unit | what it is |", "| --- | --- | --- |"]
    lines += [f"| {p.name} | {p.unit} | {p.what.replace('|', ' ')} |" for p in points()]
    return "\n".join(lines)


def git_revision(folder: Path) -> str | None:
    """The commit that is checked out in ``folder``, with "-dirty" where files differ from it.

    None where ``folder`` is not the top of a checkout, or git is not installed.
    """
    git = shutil.which("git")
    if git is None or not (folder / ".git").exists():
        return None
    done = subprocess.run(
        [git, "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() if done.returncode == 0 else None


def model_signature(config: Config) -> str:
    """An ``MLmodel`` file that says what goes into the network and what comes out.

    Imports MLflow.
    """
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    def tensor(name: str, *shape: int, dtype: type = np.float32) -> TensorSpec:
        return TensorSpec(np.dtype(dtype), (-1, *shape), name)

    if config.model.kind == "ntuple":
        boards, slots = tensor("boards", 2, dtype=np.uint64), tensor("slots", SLOTS, dtype=np.int8)
        answers = Schema([tensor("policy_logits", ACTIONS), tensor("chance_to_survive")])
        plain = ModelSignature(inputs=Schema([boards, slots]), outputs=answers)
        return str(Model(artifact_path="model", signature=plain).to_yaml())
    signature = ModelSignature(
        inputs=Schema(
            [tensor("grid", PLANES, ROWS, COLS), tensor("other_features", OTHER_FEATURES)]
        ),
        outputs=Schema(
            [
                tensor("policy_logits", ACTIONS),
                tensor("value_logits", config.model.num_value_atoms),
            ]
        ),
    )
    return str(Model(artifact_path="model", signature=signature).to_yaml())
