"""Any PyTorch training loop, crash-safe: alphatriangle.data alone, without the game.

Kill it at any moment and start it again: it goes on from the newest commit, with the same weights,
optimizer and generators, and ends as if it had never been killed.
"""

import torch

from alphatriangle.data import Saver

STEPS = 200

torch.manual_seed(1)
model = torch.nn.Sequential(torch.nn.Linear(4, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)

with Saver("crash_safe_data", "regression", every=50) as saver:
    start = saver.restore({"model": model, "optimizer": optimizer})
    if start > 0:
        print(f"going on at step {start}")
    for step in range(start, STEPS):
        inputs = torch.randn(64, 4)
        loss = torch.nn.functional.mse_loss(model(inputs), inputs.sum(dim=1, keepdim=True))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        # Returns after a copy in memory; writing, syncing and committing happen behind it.
        saver.save(step + 1, metrics={"loss": loss.item()})
print("stopped; the same command goes on" if saver.stopping else f"complete at step {STEPS}")
