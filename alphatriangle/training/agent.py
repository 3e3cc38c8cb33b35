"""What a run has learned, ready to play."""

from __future__ import annotations

from alphatriangle.config import Config, PersistenceConfig, build
from alphatriangle.data.commits.files import best_commit, list_commits, verify_file
from alphatriangle.data.commits.loading import load_for_reading
from alphatriangle.data.errors import CommitNotFoundError, RunNotFoundError, StateMismatchError
from alphatriangle.data.path_manager import existing_run
from alphatriangle.data.runs.summary import latest_run
from alphatriangle.data.schemas import CheckpointData
from alphatriangle.data.serializer import Serializer
from alphatriangle.game import GameState
from alphatriangle.nn import NeuralNetwork, WeightsMismatchError
from alphatriangle.training.players import RankedMove, make_player
from alphatriangle.utils.invocation import command


class Agent:
    """A network with the settings it was trained with."""

    def __init__(self, run: str, step: int, config: Config, network: NeuralNetwork) -> None:
        self.run = run
        self.step = step
        self.config = config
        self.network = network

    def rank(
        self, game: GameState, simulations: int | None = None
    ) -> tuple[list[RankedMove], float]:
        """All legal moves, the one to play first, then by probability; and the position's value.

        Without noise. ``simulations``: by default as many as in training.

        Raises:
            ValueError: the game is over.
        """
        return make_player(self.network, self.config, simulations).rank(game)

    def choose(self, game: GameState, simulations: int | None = None) -> int:
        """The action to play; see :meth:`rank`."""
        return self.rank(game, simulations)[0][0].action


def load_agent(
    persistence: PersistenceConfig,
    run: str | None = None,
    checkpoint: str = "latest",
    device: str = "auto",
) -> Agent:
    """The agent of a run: ``latest`` is its newest sound commit, ``best`` what the gate holds best,
    a number the newest commit of that step. Without a run, of the one committed to last.

    The run may be training meanwhile; nothing is locked or changed.

    Raises:
        RunNotFoundError: there is no such run.
        CommitNotFoundError: it has no such commit.
        DataError: what it has is damaged.
        StateMismatchError: the weights do not fit the network that the settings describe.
    """
    if run is None:
        found = latest_run(persistence)
        if found is None:
            raise RunNotFoundError(
                f"{persistence.root_data_dir} has no run with a commit; "
                f"{command('train', '--preset', 'quick')} makes one"
            )
        run = found.name
    data, source = _checkpoint(persistence, run, checkpoint)
    config = build(data.config)
    network = NeuralNetwork(config.model, device)
    try:
        network.set_weights(data.model_state_dict)
    except WeightsMismatchError as e:
        raise StateMismatchError(f"{source}: {e}") from e
    return Agent(run, data.global_step, config, network)


def _checkpoint(
    persistence: PersistenceConfig, run: str, wanted: str
) -> tuple[CheckpointData, str | None]:
    paths = existing_run(persistence, run)
    if wanted == "best":
        best = best_commit(list_commits(paths).commits)
        if best is None:
            raise CommitNotFoundError(
                f"run {run!r} has no best checkpoint yet: none has played the gate's games; "
                "take the latest"
            )
        file = best.commit.of_kind("checkpoint")[0]
        verify_file(paths.run, file)
        path = paths.run / file.path
        return Serializer(persistence.allowed_globals).load_checkpoint(path), str(path)
    if wanted != "latest" and not wanted.isdigit():
        raise CommitNotFoundError(f"{wanted!r} is no checkpoint; there are latest, best, and steps")
    state = load_for_reading(persistence, run, None if wanted == "latest" else int(wanted))
    assert state.checkpoint_data is not None
    return state.checkpoint_data, state.source
