"""Train in a few lines. Run it again, or kill it and run it again: it goes on where it was."""

import alphatriangle

# A few steps in this process, so that the example takes seconds; leave the settings away for more.
settings = {"train": {"num_workers": 0}, "stats": {"evaluation_games": 0, "gate_games": 0}}
outcome = alphatriangle.train("example", preset="quick", max_steps=4, settings=settings)
print(f"step {outcome.global_step} of {outcome.target_steps}, state {outcome.state_digest}")

# The same call with more steps goes on from the newest commit, exactly.
outcome = alphatriangle.train("example", max_steps=8, settings=settings)
assert outcome.complete
