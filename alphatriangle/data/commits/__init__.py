"""From a capture to a commit and back."""
