"""A capture of what lies on a GPU is what was there, its generators included."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from alphatriangle.config import PersistenceConfig
from alphatriangle.data import Saver
from alphatriangle.data.commits.digest import value_digest
from alphatriangle.data.commits.staging import Staging


def loop(folder: Path, steps: int, *, interrupted_at: int | None = None) -> str:
    """A small training on the GPU that draws from its generator; the digest of its end."""
    settings = PersistenceConfig(mlflow=False)
    torch.manual_seed(0)
    model = torch.nn.Linear(64, 64, device="cuda")
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    scaler = torch.amp.GradScaler("cuda")
    parts: dict[str, Any] = {"model": model, "optimizer": optimizer, "scaler": scaler}
    with Saver(folder, "r", settings=settings) as saver:
        for step in range(saver.restore(parts), steps):
            with torch.autocast("cuda", torch.float16):
                loss = model(torch.randn(8, 64, device="cuda")).square().mean()
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            saver.save(step + 1)
            if step + 1 == interrupted_at:
                break
    return value_digest(
        {name: part.state_dict() for name, part in parts.items()}
        | {"next": torch.rand(4, device="cuda")}
    )


def test_a_loop_that_was_interrupted_ends_as_one_that_was_not(tmp_path: Path) -> None:
    whole = loop(tmp_path / "a", 12)
    loop(tmp_path / "b", 12, interrupted_at=5)
    assert loop(tmp_path / "b", 12) == whole


def test_a_capture_does_not_follow_what_training_does_next() -> None:
    staging = Staging()
    weights = [torch.randn(1000, 100, device="cuda") for _ in range(8)]
    for _ in range(3):
        before = [w.cpu().clone() for w in weights]
        staging.begin()
        copies = staging.copy(weights)
        staging.finish()
        for w in weights:
            w.add_(1)
        torch.cuda.synchronize()
        assert all(c.device.type == "cpu" for c in copies)
        assert all(torch.equal(c, b) for c, b in zip(copies, before, strict=True))
