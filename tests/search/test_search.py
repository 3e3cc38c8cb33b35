"""What the search promises: no clairvoyance, distinct leaves, legal moves, and the best move."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from alphatriangle.config import Config, SearchConfig
from alphatriangle.game import GameState, geometry, kernels
from alphatriangle.nn import NeuralNetwork
from alphatriangle.rl import SelfPlay, play_episodes
from alphatriangle.search import search
from alphatriangle.search import tree as tr
from alphatriangle.search.search import SearchResult, apply_evaluations, collect_leaves
from alphatriangle.utils.errors import EvaluationNotFiniteError
from alphatriangle.utils.types import Evaluation
from tests.conftest import make_network, tiny_config

GAMMA = 0.9


class HashedEvaluator:
    """A network whose answers are arbitrary but fixed for each position; it remembers the asked."""

    def __init__(self) -> None:
        self.rounds: list[list[tuple[int, ...]]] = []

    def value(self, board: npt.NDArray[np.uint64], slots: npt.NDArray[np.int8]) -> float:
        seed = [int(board[0]) % 2**32, int(board[0]) >> 32, int(board[1]), *(slots + 1).tolist()]
        return float(np.random.default_rng(seed).uniform(0, 3))

    def evaluate(self, boards: npt.NDArray[np.uint64], slots: npt.NDArray[np.int8]) -> Evaluation:
        self.rounds.append(
            [(*map(int, b), *map(int, s)) for b, s in zip(boards, slots, strict=True)]
        )
        values = [self.value(b, s) for b, s in zip(boards, slots, strict=True)]
        logits = np.zeros((len(boards), geometry.ACTIONS), np.float32)
        return Evaluation(logits, np.array(values, np.float32))


def solve(game: GameState, evaluator: HashedEvaluator) -> tuple[float, dict[int, float]]:
    """(value, Q of each action) of the rest of the deal by brute force over all orders."""
    q: dict[int, float] = {}
    for action in game.legal_actions().tolist():
        slot, anchor = divmod(action, geometry.CELLS)
        shape = int(game.slots[slot])
        lo, hi, cleared = kernels.place(game.board[0], game.board[1], shape, anchor)
        reward = 0.01 * len(geometry.SHAPES[shape]) + 0.5 * cleared
        slots = game.slots.copy()
        slots[slot] = -1
        rest = GameState.from_position(int(lo) | int(hi) << 64, slots)
        if (slots < 0).all():
            q[action] = reward + GAMMA * evaluator.value(rest.board, slots)
        elif rest.is_over:
            q[action] = reward
        else:
            q[action] = reward + 0.005 + GAMMA * solve(rest, evaluator)[0]
    return max(q.values()), q


def crowded_positions(count: int) -> list[GameState]:
    """Positions with two or three shapes left and few legal moves."""
    positions = []
    seed = 0
    while len(positions) < count:
        seed += 1
        chance = np.random.default_rng(seed)
        holes = chance.choice(geometry.CELLS, 30, replace=False).tolist()
        board = geometry.PLAYABLE_MASK & ~geometry.mask_of(holes)
        slots = chance.integers(0, geometry.NUM_SHAPES, 3)
        if seed % 2:
            slots[seed % 3] = -1
        game = GameState.from_position(board, slots)
        if 2 <= game.legal_actions().size <= 14:
            positions.append(game)
    return positions


def test_with_enough_simulations_it_finds_the_best_move() -> None:
    """Against brute force, value included: rewards, discount and survival are in the backup."""
    positions = crowded_positions(24)
    evaluator = HashedEvaluator()
    settings = SearchConfig(num_simulations=1500, max_considered_actions=144)
    results = search(positions, evaluator, settings, GAMMA)
    assert any((p.slots >= 0).sum() == 3 for p in positions)
    for position, result in zip(positions, results, strict=True):
        value, q = solve(position, evaluator)
        assert q[result.action] == pytest.approx(value, abs=1e-5)
        if (position.slots >= 0).sum() == 2:
            # Two shapes are searched to the end here, so the value is exact as well.
            assert result.value == pytest.approx(value, abs=1e-5)


def test_no_clairvoyance() -> None:
    """Positions that differ only in what will be dealt give the same search, bit for bit."""
    network = make_network(tiny_config())
    settings = SearchConfig(num_simulations=64)
    for left in (1, 2, 3):
        slots = [4, 9, 13][:left] + [-1] * (3 - left)
        worlds = [GameState.from_position(0, slots, seed, seed) for seed in range(5)]
        results = [search([world], network, settings, GAMMA)[0] for world in worlds]
        for other in results[1:]:
            assert_same(results[0], other)
        # The worlds do differ: after the same moves their deals do.
        for world in worlds:
            for _ in range(left):
                world.step(int(world.legal_actions()[0]))
        assert len({tuple(world.slots) for world in worlds}) > 1


def assert_same(a: SearchResult, b: SearchResult) -> None:
    assert a.action == b.action
    assert a.value == b.value
    for name in ("actions", "policy", "visits", "q_values"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_every_network_row_is_a_distinct_leaf() -> None:
    """No position of a game is evaluated twice, in a round or over the whole search."""
    positions = [GameState(5, episode) for episode in range(12)]
    evaluator = HashedEvaluator()
    search(positions, evaluator, SearchConfig(num_simulations=40), GAMMA)
    assert len(evaluator.rounds) >= 40
    for row in evaluator.rounds:
        assert len(row) <= len(positions)
    alone = []
    for position in positions:
        own = HashedEvaluator()
        search([position], own, SearchConfig(num_simulations=40), GAMMA)
        rows = [row for round_ in own.rounds for row in round_]
        assert len(rows) == len(set(rows)) == 41
        alone += rows
    # Together the games ask for what they ask for alone: lockstep changes nothing.
    assert Counter(row for round_ in evaluator.rounds for row in round_) == Counter(alone)


def test_orders_of_the_same_placements_are_one_node() -> None:
    """Transpositions merge: two shapes far apart have one afterstate, not one per order."""
    evaluator = HashedEvaluator()
    game = GameState.from_position(0, [4, 0, -1])
    search([game], evaluator, SearchConfig(num_simulations=800), GAMMA)
    rows = [row for round_ in evaluator.rounds for row in round_]
    assert len(rows) == len(set(rows))


def test_illegal_moves_are_never_visited() -> None:
    network = make_network(tiny_config())
    positions = [*crowded_positions(10), *(GameState(1, e) for e in range(10))]
    results = search(positions, network, SearchConfig(num_simulations=50), GAMMA)
    for position, result in zip(positions, results, strict=True):
        legal = position.legal_actions().tolist()
        assert result.actions.tolist() == legal
        assert result.action in legal
        assert result.policy.sum() == pytest.approx(1.0, abs=1e-5)
        assert (result.policy >= 0).all()


def test_equal_shapes_are_searched_once() -> None:
    """The same shape in two slots offers the same moves twice; only the first slot plays them."""
    result = search(
        [GameState.from_position(0, [7, 7, 7])],
        make_network(tiny_config()),
        SearchConfig(num_simulations=64, max_considered_actions=144),
        GAMMA,
    )[0]
    later = result.actions >= geometry.CELLS
    assert later.any()
    assert result.visits[later].sum() == 0
    assert result.policy[later].sum() == 0


def test_simulations_are_counted_and_halved() -> None:
    settings = SearchConfig(num_simulations=16, max_considered_actions=8)
    result = search([GameState(2)], make_network(tiny_config()), settings, GAMMA)[0]
    assert result.visits.sum() == 16
    assert sorted(result.visits[result.visits > 0].tolist()) == [1, 1, 1, 1, 2, 2, 4, 4]


def test_with_one_shape_left_each_candidate_is_looked_at_once() -> None:
    result = search(
        [GameState.from_position(0, [-1, 3, -1])],
        make_network(tiny_config()),
        SearchConfig(num_simulations=16, max_considered_actions=4),
        GAMMA,
    )[0]
    assert sorted(result.visits[result.visits > 0].tolist()) == [1] * 16


def test_the_policy_target_improves_on_the_prior() -> None:
    """Expected Q under the target is at least that under the prior (theorem of section 4)."""
    evaluator = HashedEvaluator()
    for result in search(
        crowded_positions(12),
        evaluator,
        SearchConfig(num_simulations=400, max_considered_actions=144),
        GAMMA,
    ):
        prior = np.full(len(result.actions), 1 / len(result.actions))
        assert result.policy @ result.q_values >= prior @ result.q_values - 1e-9


def dense_value(tree: tr.Tree, node: int, params: tr.SearchParams) -> float:
    """The value of a node by the paper's formulas, action by action (section 4, appendix D)."""
    first, count = tree.node_first[0, node], tree.node_edges[0, node]
    edges = slice(first, first + count)
    playable = tree.edge_logit[0, edges] > tr.NEVER
    logits = tree.edge_logit[0, edges][playable].astype(np.float64)
    prior = np.exp(logits) / np.exp(logits).sum()
    children = tree.edge_child[0, edges][playable]
    seen = (children >= 0) & ((tree.node_flags[0, children] & tr.EVALUATED) != 0)
    visits = tree.edge_visits[0, edges][playable]
    rewards = tree.edge_reward[0, edges][playable]
    q = rewards + params.gamma * tree.node_value[0, children]
    solved = seen & ((tree.node_flags[0, children] & tr.SOLVED) != 0)
    if solved.all():
        return float(q.max())
    mixed = float(tree.node_net[0, node])
    if seen.any():
        average = (prior * q)[seen].sum() / prior[seen].sum()
        mixed = (mixed + visits.sum() * average) / (1 + visits.sum())
    q = np.where(seen, q, mixed)
    spread = max(q.max(), mixed) - min(q.min(), mixed)
    sigma = (params.c_visit + visits.max()) * params.c_scale / max(spread, params.q_range_floor)
    scores = logits + sigma * q
    policy = np.exp(scores - scores.max())
    return float(policy @ q / policy.sum())


@pytest.mark.parametrize(("c_scale", "shapes"), [(0.2, [4, 9, 13]), (50.0, [2, 2, 17])])
def test_values_are_those_of_the_paper(c_scale: float, shapes: list[int]) -> None:
    """After every simulation, at the root and in the node above the leaf."""
    params = tr.params_from_config(
        SearchConfig(num_simulations=200, max_considered_actions=144, c_scale=c_scale), GAMMA
    )
    tree = tr.make_tree(1, params)
    rng = np.random.default_rng(2)
    evaluator = HashedEvaluator()
    holes = sum(1 << cell for cell in rng.choice(geometry.CELLS, 70, replace=False).tolist())
    game = GameState.from_position(geometry.PLAYABLE_MASK & ~holes, shapes)
    tr.reset_root(tree, 0, game.board[0], game.board[1], game.slots)
    boards, slots = np.empty((1, 2), np.uint64), np.empty((1, geometry.SLOTS), np.int8)
    only, key, move = np.zeros(1, np.int64), np.zeros(1, np.uint64), np.zeros(1, np.int64)
    deep = 0
    while collect_leaves(tree, params, boards, slots, only):
        path = tree.path[0, : tree.path_length[0], 0].tolist()
        logits = rng.normal(0, 2, (1, geometry.ACTIONS)).astype(np.float32)
        values = np.array([evaluator.value(boards[0], slots[0])], np.float32)
        apply_evaluations(tree, params, only, logits, values, key, move)
        for node in path:
            assert tree.node_value[0, node] == pytest.approx(dense_value(tree, node, params))
        deep += len(path) > 1
    assert deep > 20


def test_noise_is_keyed_by_seed_and_absent_in_evaluation(network: NeuralNetwork) -> None:
    settings = SearchConfig(num_simulations=8, gumbel_scale=2.0)
    games = [GameState(1, e) for e in range(20)]

    def actions(seed: int, noise: bool) -> list[int]:
        results = search(games, network, settings, GAMMA, seed=seed, noise=noise)
        return [r.action for r in results]

    assert actions(1, True) == actions(1, True)
    assert actions(1, True) != actions(2, True)
    assert actions(1, False) == actions(2, False)


def test_a_finished_game_is_refused(network: NeuralNetwork) -> None:
    over = GameState.from_position(geometry.PLAYABLE_MASK, [0, 1, 2])
    with pytest.raises(ValueError, match="over"):
        search([over], network, SearchConfig(), GAMMA)


def test_nodes_and_edges_never_outgrow_their_arrays(config: Config) -> None:
    params = tr.params_from_config(SearchConfig(num_simulations=5), GAMMA)
    tree = tr.make_tree(2, params)
    assert tree.node_board.shape[1] >= 3 * params.num_simulations + 1
    assert tree.edge_child.shape[1] == tree.node_board.shape[1] * geometry.MAX_LEGAL


class SpoiledEvaluator(HashedEvaluator):
    """One of its numbers is not finite, from some round on."""

    def __init__(self, name: str, number: float, rounds: int) -> None:
        super().__init__()
        self.spoil = (name, number, rounds)

    def evaluate(self, boards: npt.NDArray[np.uint64], slots: npt.NDArray[np.int8]) -> Evaluation:
        evaluation = super().evaluate(boards, slots)
        name, number, rounds = self.spoil
        if len(self.rounds) > rounds:
            getattr(evaluation, name).flat[-1] = number
        return evaluation


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["logits", "values"])
@pytest.mark.parametrize("rounds", [0, 3])
def test_numbers_that_are_not_finite_are_refused(name: str, number: float, rounds: int) -> None:
    """By every search: of single moves, of evaluations, of self-play."""
    config = tiny_config()
    searches: list[Callable[[SpoiledEvaluator], object]] = [
        lambda e: search([GameState(1), GameState(2)], e, config.search, GAMMA),
        lambda e: play_episodes(e, config.search, config.env, episodes=[0, 1], seed=1, gamma=GAMMA),
        lambda e: _self_play(e, config).play(50),
    ]
    for begin in searches:
        with pytest.raises(EvaluationNotFiniteError, match="not finite in 1 of 2 positions"):
            begin(SpoiledEvaluator(name, number, rounds))


def _self_play(evaluator: SpoiledEvaluator, config: Config) -> SelfPlay:
    player = SelfPlay(evaluator, config.search, config.env, games=2, gamma=GAMMA, n_step=2, seed=1)
    player.add_episodes(range(50))
    return player
