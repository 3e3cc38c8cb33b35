"""Load what a run has learned and play a game with it. First: examples/train_and_resume.py"""

import alphatriangle

agent = alphatriangle.load_run("example")  # checkpoint="best" for the one the gate holds best
game = alphatriangle.GameState(seed=1)
while not game.is_over:
    game.step(agent.choose(game, simulations=8))
print(f"{agent.run} at step {agent.step}: {len(game.moves)} placements, score {game.score:.2f}")
