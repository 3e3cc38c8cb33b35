"""The manifest for Kubernetes is one that KubeRay takes, and its command is one that we take.

``golden/kuberay-rayjob-v1.json.gz`` is the OpenAPI schema of KubeRay's ``RayJob`` (``ray.io/v1``),
as its project publishes it under the Apache licence, without descriptions.
"""

from __future__ import annotations

import copy
import gzip
import json
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from typer.testing import CliRunner

from alphatriangle.cli.app import app

ROOT = Path(__file__).parent.parent
MANIFEST = ROOT / "examples/kuberay-rayjob.yaml"


def closed(schema: Any) -> Any:
    """Kubernetes drops fields that a schema does not name: here they are errors."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: closed(value) for key, value in schema.items()}
    is_open = "additionalProperties" in schema or "x-kubernetes-preserve-unknown-fields" in schema
    if isinstance(schema.get("properties"), dict) and "type" in schema and not is_open:
        result["additionalProperties"] = False
    if schema.get("x-kubernetes-int-or-string"):
        result.pop("type", None)
    return result


@pytest.fixture(scope="module")
def schema() -> Any:
    content = gzip.decompress((ROOT / "tests/golden/kuberay-rayjob-v1.json.gz").read_bytes())
    result = closed(json.loads(content))
    # What every object of Kubernetes has; the schema leaves it to the server.
    result["properties"]["metadata"].pop("additionalProperties", None)
    return result


@pytest.fixture
def manifest() -> Any:
    return yaml.safe_load(MANIFEST.read_text())


def test_the_manifest_fits_the_schema(schema: Any, manifest: Any) -> None:
    jsonschema.validate(manifest, schema)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("spec", "rayClusterSpec", "workerGroupSpecs", 0, "replicas"), "four"),
        (("spec", "rayClusterSpec", "headGroupSpec", "containers"), []),
        (("spec", "entryPoint"), "alphatriangle train"),
    ],
)
def test_what_does_not_fit_is_seen(
    schema: Any, manifest: Any, place: tuple[Any, ...], value: object
) -> None:
    wrong = copy.deepcopy(manifest)
    inner = wrong
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, schema)


def test_its_command_is_understood(
    manifest: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to the bucket, which is not there: nothing is trained."""
    words = shlex.split(manifest["spec"]["entrypoint"])
    assert words[0] == "alphatriangle"
    words[words.index("--data-dir") + 1] = str(tmp_path)
    bucket = next(word for word in words if word.startswith("persistence.replica="))
    words[words.index(bucket)] = "persistence.replica=s3://"
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    result = CliRunner().invoke(app, words[1:])
    assert result.exit_code == 2
    assert "names no bucket" in result.output
    assert not (tmp_path / "runs").exists()
