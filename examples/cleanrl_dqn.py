"""A DQN in one file, in the style of CleanRL: NumPy arrays for replay, sampled by priority.

    python cleanrl_dqn.py runs_folder 2000

The arrays stay the script's own: a ``Ring`` over them knows which rows are new, and that priorities
change, so these are saved whole each time. Killed at any moment, it goes on exactly.

The environment is saved without looking into it: as the number of its episode, which seeds it, and
the actions since. That works for every environment that only its seed and actions decide. Where
episodes are long, its state is shorter: see ``sb3_dqn.py``.
"""

import random
import sys
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from alphatriangle.data import Ring, Saver


@dataclass
class Args:
    folder: str
    total_timesteps: int
    seed: int = 1
    env_id: str = "CartPole-v1"
    learning_rate: float = 1e-3
    buffer_size: int = 1500
    gamma: float = 0.99
    batch_size: int = 64
    learning_starts: int = 200
    train_frequency: int = 2
    target_frequency: int = 200
    exploration_steps: int = 1500
    alpha: float = 0.6
    beta: float = 0.4
    save_every: int = 250


def q_network(env: gym.Env[Any, Any]) -> nn.Module:
    inputs, actions = env.observation_space.shape, env.action_space
    assert inputs is not None
    assert isinstance(actions, gym.spaces.Discrete)
    return nn.Sequential(nn.Linear(inputs[0], 64), nn.ReLU(), nn.Linear(64, int(actions.n)))


def main(args: Args) -> None:
    # All three are saved and compared, drawn from or not.
    random.seed(args.seed)
    np.random.seed(args.seed)
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    env, steps = gym.make(args.env_id), args.total_timesteps
    q, target = q_network(env), q_network(env)
    target.load_state_dict(q.state_dict())
    optimizer = torch.optim.Adam(q.parameters(), lr=args.learning_rate)
    shape = (args.buffer_size, *(env.observation_space.shape or ()))
    rb: dict[str, npt.NDArray[Any]] = {
        "obs": np.zeros(shape, np.float32),
        "next_obs": np.zeros(shape, np.float32),
        "action": np.zeros(args.buffer_size, np.int64),
        "reward": np.zeros(args.buffer_size, np.float32),
        "terminated": np.zeros(args.buffer_size, np.float32),
        "priority": np.zeros(args.buffer_size),
    }
    ring = Ring.over(rb, mutable=["priority"])
    played: dict[str, Any] = {"episode": 0, "actions": []}

    with Saver(args.folder, "cleanrl-dqn", replay=ring, every=args.save_every) as saver:
        parts = {"q": q, "target": target, "optimizer": optimizer, "rng": rng, "played": played}
        start = saver.restore(parts)
        if start > 0:
            print(f"going on at step {start}")
        # A new run and one that goes on begin alike: the episode as far as it has been played.
        obs, _ = env.reset(seed=args.seed + played["episode"])
        for action in played["actions"]:
            obs, *_ = env.step(action)

        for global_step in range(start, steps):
            epsilon = max(0.05, 1 - global_step / args.exploration_steps)
            if rng.random() < epsilon:
                action = int(rng.integers(2))
            else:
                with torch.no_grad():
                    action = int(q(torch.from_numpy(obs)).argmax())
            next_obs, reward, terminated, truncated, _ = env.step(action)
            played["actions"].append(action)

            at = ring.total_added % args.buffer_size
            rb["obs"][at], rb["next_obs"][at], rb["action"][at] = obs, next_obs, action
            rb["reward"][at], rb["terminated"][at] = float(reward), terminated
            rb["priority"][at] = rb["priority"].max(initial=1.0)
            ring.advance(1)  # written: it is a row from now on

            obs = next_obs
            if terminated or truncated:
                print(f"global_step={global_step}, episodic_length={len(played['actions'])}")
                played.update(episode=played["episode"] + 1, actions=[])
                obs, _ = env.reset(seed=args.seed + played["episode"])

            if global_step >= args.learning_starts and global_step % args.train_frequency == 0:
                p = rb["priority"][: len(ring)] ** args.alpha
                p /= p.sum()
                rows = rng.choice(len(ring), args.batch_size, p=p)
                data = {n: torch.from_numpy(a[rows]) for n, a in rb.items() if n != "priority"}
                weights = torch.from_numpy((len(ring) * p[rows]) ** -args.beta).float()
                with torch.no_grad():
                    best = target(data["next_obs"]).max(dim=1).values
                    td_target = data["reward"] + args.gamma * best * (1 - data["terminated"])
                old = q(data["obs"]).gather(1, data["action"][:, None])[:, 0]
                loss = (
                    weights * nn.functional.smooth_l1_loss(old, td_target, reduction="none")
                ).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                rb["priority"][rows] = (td_target - old.detach()).abs().numpy() + 1e-3
            if global_step % args.target_frequency == 0:
                target.load_state_dict(q.state_dict())
            saver.save(global_step + 1)
    print("stopped; the same command goes on" if saver.stopping else f"complete at step {steps}")


if __name__ == "__main__":
    folder, steps = sys.argv[1:] or ("runs_folder", "2000")
    main(Args(folder, int(steps)))
