"""Training: plan a run, build its parts, run the loop."""
