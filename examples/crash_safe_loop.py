"""Any PyTorch training loop, crash-safe: alphatriangle.data alone, without the game.

Kill it at any moment and start it again: it goes on from the newest commit, with the same weights,
optimizer and generators.
"""

import torch

from alphatriangle.config import PersistenceConfig, TrainConfig
from alphatriangle.data import DataManager
from alphatriangle.utils.global_rng import seed_everything, set_rng_state

STEPS, EVERY = 200, 50

seed_everything(1)
model = torch.nn.Sequential(torch.nn.Linear(4, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)

settings = PersistenceConfig(root_data_dir="crash_safe_data", mlflow=False)
manager = DataManager(settings, TrainConfig(run_name="regression"))
state = manager.load_initial_state()
step = 0
if state.checkpoint_data is not None:
    model.load_state_dict(state.checkpoint_data.model_state_dict)
    optimizer.load_state_dict(state.checkpoint_data.optimizer_state_dict)
    set_rng_state(state.checkpoint_data.rng_state)
    step = state.checkpoint_data.global_step
    print(f"going on at step {step}")

while step < STEPS:
    inputs = torch.randn(64, 4)
    loss = torch.nn.functional.mse_loss(model(inputs), inputs.sum(dim=1, keepdim=True))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    step += 1
    if step % EVERY == 0:
        # Returns after a copy in memory; writing, syncing and committing happen behind it.
        manager.save_training_state(model, optimizer, None, None, step, 0, 0)
manager.close()

with torch.no_grad():
    inputs = torch.randn(256, 4, generator=torch.Generator().manual_seed(2))
    loss = torch.nn.functional.mse_loss(model(inputs), inputs.sum(dim=1, keepdim=True))
print(f"step {step}, loss {loss.item():.4f}")
