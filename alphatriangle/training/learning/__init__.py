"""How a run learns: what the training loop asks of a learner, and the two kinds there are."""
