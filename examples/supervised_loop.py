"""A supervised loop with torchdata, mixed precision, an average of the weights and a schedule.

    python supervised_loop.py runs_folder 120

Killed at any moment, and started again by the same command, it goes on in the middle of an epoch
with the examples that it has not seen, and ends with the same bits.

What else has to be right, beside the parts:

- The sampler has a generator of its own, and the loader another. A loader draws from its generator
  whenever it is iterated, so once more after a restart. Were that the sampler's, or torch's global
  one, all that is drawn later would differ.
- ``scaler`` is a part on every device. It does something on CUDA only; on the CPU its state is
  empty, so that a run cannot move from one to the other.
"""

import sys

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torchdata.stateful_dataloader import StatefulDataLoader
from torchdata.stateful_dataloader.sampler import RandomSampler

from alphatriangle.data import Saver


def examples(count: int) -> torch.utils.data.TensorDataset:
    """Points in two moons: the same ones at every start."""
    generator = torch.Generator().manual_seed(7)
    angle = torch.rand(count, generator=generator) * torch.pi
    label = torch.arange(count) % 2
    side = 1 - 2 * label
    points = torch.stack([angle.cos() + label, side * (angle.sin() - 0.25 * label)], dim=1)
    return torch.utils.data.TensorDataset(
        points + 0.1 * torch.randn(count, 2, generator=generator), label
    )


def main(folder: str, steps: int) -> None:
    torch.manual_seed(1)
    # Nothing draws from it here, but it is saved and compared: unseeded, every run has another.
    np.random.seed(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    half = torch.float16 if device.type == "cuda" else torch.bfloat16
    # Dropout draws from torch's global generator, which is always saved.
    model = nn.Sequential(
        nn.Linear(2, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 2)
    ).to(device)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.98), use_buffers=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=50)
    scaler = torch.amp.GradScaler(device.type, enabled=device.type == "cuda")
    data = examples(500)
    sampler = RandomSampler(data, generator=torch.Generator().manual_seed(2))
    loader = StatefulDataLoader(data, 32, sampler=sampler, generator=torch.Generator())

    # An epoch has 16 steps: most saves are in the middle of one.
    with Saver(folder, "supervised", every=10) as saver:
        parts = {
            "model": model,
            "average": average,
            "optimizer": optimizer,
            "schedule": schedule,
            "scaler": scaler,
            "loader": loader,
        }
        step = saver.restore(parts)
        if step > 0:
            print(f"going on at step {step}")
        while step < steps:
            # After a restart, what is left of the epoch; maybe nothing, if it was saved at its end.
            for inputs, labels in loader:
                with torch.autocast(device.type, dtype=half):
                    outputs = model(inputs.to(device))
                    loss = nn.functional.cross_entropy(outputs, labels.to(device))
                optimizer.zero_grad()
                scaler.scale(loss).backward()
                scaler.step(optimizer)
                scaler.update()
                schedule.step()
                average.update_parameters(model)
                step += 1
                if step % 4 == 0:
                    print(f"step {step}: loss {loss.item():.4f}")
                saver.save(step, metrics={"loss": loss.item()})
                if step == steps:
                    break
    print("stopped; the same command goes on" if saver.stopping else f"complete at step {steps}")


if __name__ == "__main__":
    folder, steps = sys.argv[1:] or ("runs_folder", "120")
    main(folder, int(steps))
