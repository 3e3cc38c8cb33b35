"""Real servers and what can go wrong on the way to them."""
