"""How good an agent is: games on the same deals, and the gate for the best checkpoint."""
