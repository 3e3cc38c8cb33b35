"""Replay rows on disk."""
