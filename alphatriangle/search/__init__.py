"""Gumbel search over many games in lockstep."""

from alphatriangle.search.search import Evaluator, SearchResult, search

__all__ = ["Evaluator", "SearchResult", "search"]
