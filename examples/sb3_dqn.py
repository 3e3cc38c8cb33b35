"""DQN of stable-baselines3 on CartPole, with its replay buffer, going on exactly.

    python sb3_dqn.py runs_folder 1500

``DQN.save`` keeps neither the environment nor the generators, and writes the whole replay buffer
each time. Here one commit has all that decides what comes next, and new transitions only.

Three things are as they are for exactness:

- The environment is no ``Monitor``, which notes the time of day; nothing else in SB3 looks at a
  clock but its log.
- It is saved in ``on_rollout_start``, where SB3 is between two iterations: in ``on_step`` the
  transition has been made, but is neither stored nor learned from.
- The exploration schedule spans all steps: a run goes on exactly with the number it began with.
"""

import sys
from typing import Any

from gymnasium.envs.classic_control import CartPoleEnv
from gymnasium.wrappers import TimeLimit
from stable_baselines3 import DQN
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv

from alphatriangle.data import Ring, Saver

COLUMNS = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")
# What an algorithm without a schedule of its own keeps beside networks, optimizer and replay.
COUNTERS = (
    "num_timesteps",
    "exploration_rate",
    "_current_progress_remaining",
    "_episode_num",
    "_n_calls",
    "_n_updates",
    "_last_obs",
    "_last_episode_starts",
)


class RingBuffer(ReplayBuffer):
    """SB3's buffer, with a ring over its arrays that knows which rows are new."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.ring = Ring.over({name: getattr(self, name) for name in COLUMNS})

    def add(self, *args: Any, **kwargs: Any) -> None:
        super().add(*args, **kwargs)
        self.ring.advance(1)


class Rest:
    """What SB3 and gymnasium keep in attributes."""

    def __init__(self, model: DQN, limit: TimeLimit) -> None:
        self._model, self._limit = model, limit
        self._cart: Any = limit.unwrapped

    def state_dict(self) -> dict[str, Any]:
        return {
            "counters": {name: getattr(self._model, name) for name in COUNTERS},
            "cart": self._cart.state,
            "elapsed": self._limit._elapsed_steps,
            "resets": self._cart.np_random.bit_generator.state,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, value in state["counters"].items():
            setattr(self._model, name, value)
        # A ring is at its position for good; the buffer counts by itself.
        buffer: Any = self._model.replay_buffer
        buffer.pos = buffer.ring.total_added % buffer.buffer_size
        buffer.full = buffer.ring.total_added >= buffer.buffer_size
        self._cart.state = state["cart"]
        self._cart.steps_beyond_terminated = None  # SB3 has reset it, if it had terminated
        self._limit._elapsed_steps = state["elapsed"]
        self._cart.np_random.bit_generator.state = state["resets"]


class SaveBetweenIterations(BaseCallback):
    def __init__(self, saver: Saver) -> None:
        super().__init__()
        self._saver = saver

    def _on_rollout_start(self) -> None:
        if self.num_timesteps > 0:
            self._saver.save(self.num_timesteps)

    def _on_step(self) -> bool:
        if self.locals["dones"][0]:
            print(f"step {self.num_timesteps}: an episode has ended")
        return True


def main(folder: str, steps: int) -> None:
    limit = TimeLimit(CartPoleEnv(), max_episode_steps=500)
    model = DQN(
        "MlpPolicy",
        DummyVecEnv([lambda: limit]),
        learning_rate=1e-3,
        buffer_size=400,
        learning_starts=100,
        target_update_interval=200,
        exploration_fraction=0.5,
        replay_buffer_class=RingBuffer,
        policy_kwargs={"net_arch": [32]},
        seed=1,
        device="cpu",
    )
    buffer = model.replay_buffer
    assert isinstance(buffer, RingBuffer)
    with Saver(folder, "sb3-dqn", replay=buffer.ring, every=100) as saver:
        # ``policy`` has both networks. Exploration draws from the action space's generator and
        # from NumPy's global one, sampling from that as well.
        parts = {
            "policy": model.policy,
            "optimizer": model.policy.optimizer,
            "actions": model.action_space.np_random,
            "rest": Rest(model, limit),
        }
        start = saver.restore(parts)
        if start > 0:
            print(f"going on at step {start}")
        if start < steps:
            model.learn(
                steps - start,
                callback=SaveBetweenIterations(saver),
                reset_num_timesteps=False,
            )
            saver.save(model.num_timesteps)
    print("stopped; the same command goes on" if saver.stopping else f"complete at step {steps}")


if __name__ == "__main__":
    folder, steps = sys.argv[1:] or ("runs_folder", "1500")
    main(folder, int(steps))
