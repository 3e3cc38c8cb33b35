"""A game as one self-contained page with a scrubber."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from importlib import resources

from alphatriangle.game.geometry import COLS, ROWS, SHAPES, is_playable, is_up
from alphatriangle.viewer.frames import Frame
from alphatriangle.viewer.terminal import thoughts_lines


def game_page(frames: Sequence[Frame], title: str) -> str:
    """The page as HTML; it needs nothing beside itself."""
    game = {
        "cells": [
            (row, col, is_up(row, col))
            for row in range(ROWS)
            for col in range(COLS)
            if is_playable(row, col)
        ],
        "shapes": SHAPES,
        "frames": [
            {
                "filled": sorted(frame.filled),
                "placed": sorted(frame.placed),
                "cleared": sorted(frame.cleared),
                "slots": frame.slots,
                "slot": frame.slot,
                "reward": round(frame.reward, 6),
                "score": round(frame.score, 6),
                "thoughts": thoughts_lines(frame.thoughts) if frame.thoughts else [],
            }
            for frame in frames
        ],
    }
    template = resources.files("alphatriangle.viewer").joinpath("page.html").read_text("utf-8")
    # Within a script element only "</" could end it early.
    data = json.dumps(game, separators=(",", ":")).replace("</", "<\\/")
    return template.replace("__TITLE__", html.escape(title)).replace("__GAME__", data)
