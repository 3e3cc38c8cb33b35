"""What a person asks after a night of training, as one page."""
