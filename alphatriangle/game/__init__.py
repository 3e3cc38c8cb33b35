"""The rules of the triangle puzzle on bitboards. No learning in here."""

from alphatriangle.game.state import GameState, IllegalActionError

__all__ = ["GameState", "IllegalActionError"]
