"""Copies outside this disk."""
