"""Self-play as the training loop sees it."""
