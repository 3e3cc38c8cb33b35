"""A small AlphaZero for OpenSpiel's connect_four: its game and search, rows of one's own.

    python openspiel_alphazero.py runs_folder 60

In every step each game makes a move, then the network learns from what ended games have added to
the replay. Games in flight are saved as their moves and what the search said of each: positions
follow from them. OpenSpiel's search keeps nothing from one move to the next but its generator.

Killed at any moment, it goes on with the games where they were, and plays and learns the same.
"""

import sys
from typing import Any

import numpy as np
import pyspiel
import torch
from open_spiel.python.algorithms import mcts
from torch import nn

from alphatriangle.data import Ring, Saver

GAMES = 4
SIMULATIONS = 12


class Network(nn.Module):
    def __init__(self, inputs: int, actions: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(inputs, 64), nn.ReLU())
        self.policy = nn.Linear(64, actions)
        self.value = nn.Sequential(nn.Linear(64, 1), nn.Tanh())

    def forward(self, observations: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        body = self.body(observations)
        return self.policy(body), self.value(body)[:, 0]


class Evaluator(mcts.Evaluator):
    """What the search asks the network."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def _ask(self, state: pyspiel.State) -> tuple[torch.Tensor, float]:
        with torch.no_grad():
            logits, value = self._network(torch.tensor([state.observation_tensor()]))
        return logits[0], value.item()

    def evaluate(self, state: pyspiel.State) -> list[float]:
        # The value is that of the player to move.
        value = self._ask(state)[1]
        return [value, -value] if state.current_player() == 0 else [-value, value]

    def prior(self, state: pyspiel.State) -> list[tuple[int, float]]:
        legal = state.legal_actions()
        chances = self._ask(state)[0][legal].softmax(dim=0)
        return list(zip(legal, chances.tolist(), strict=True))


def main(folder: str, steps: int) -> None:
    torch.manual_seed(1)
    np.random.seed(1)
    game = pyspiel.load_game("connect_four")
    inputs, actions = int(np.prod(game.observation_tensor_shape())), game.num_distinct_actions()
    network = Network(inputs, actions)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    rng = np.random.RandomState(1)
    bot = mcts.MCTSBot(
        game,
        uct_c=1.5,
        max_simulations=SIMULATIONS,
        evaluator=Evaluator(network),
        random_state=rng,
        child_selection_fn=mcts.SearchNode.puct_value,
        dirichlet_noise=(0.25, 1.0),
    )
    observation, policy = ("float32", (inputs,)), ("float32", (actions,))
    ring = Ring(400, {"observation": observation, "policy": policy, "value": "float32"})
    flying: dict[str, Any] = {"games": [{"moves": [], "policies": []} for _ in range(GAMES)]}

    def add(moves: list[int], policies: list[Any]) -> None:
        """A game has ended: its positions become rows."""
        state = game.new_initial_state()
        observations, players = [], []
        for move in moves:
            observations.append(state.observation_tensor())
            players.append(state.current_player())
            state.apply_action(move)
        values = [state.returns()[player] for player in players]
        ring.add({"observation": observations, "policy": policies, "value": values})

    with Saver(folder, "connect-four", replay=ring, every=5) as saver:
        parts = {"network": network, "optimizer": optimizer, "rng": rng, "flying": flying}
        start = saver.restore(parts)
        if start > 0:
            print(f"going on at step {start}")
        for step in range(start, steps):
            for played in flying["games"]:
                state = game.new_initial_state()
                for move in played["moves"]:
                    state.apply_action(move)
                visits = np.zeros(actions)
                for child in bot.mcts_search(state).children:
                    visits[child.action] = child.explore_count
                played["policies"].append(visits / visits.sum())
                played["moves"].append(int(rng.choice(actions, p=played["policies"][-1])))
                state.apply_action(played["moves"][-1])
                if state.is_terminal():
                    add(**played)
                    played.update(moves=[], policies=[])

            if len(ring) > 0:
                rows = ring.positions()[rng.randint(len(ring), size=64)]
                batch = {n: torch.from_numpy(ring[n][rows]) for n in ("observation", "policy")}
                logits, value = network(batch["observation"])
                loss = nn.functional.cross_entropy(logits, batch["policy"])
                loss += nn.functional.mse_loss(value, torch.from_numpy(ring["value"][rows]))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            print(f"step {step + 1}: {ring.total_added} positions of games that have ended")
            saver.save(step + 1)
    print("stopped; the same command goes on" if saver.stopping else f"complete at step {steps}")


if __name__ == "__main__":
    folder, steps = sys.argv[1:] or ("runs_folder", "60")
    main(folder, int(steps))
