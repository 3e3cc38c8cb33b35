"""The n-tuple kind of network: how it learns and how it plays."""

from __future__ import annotations

from pydantic import Field

from alphatriangle.config.base import Fixed, Live, NTuple, Section


class NTupleConfig(Section):
    """For runs with ``model.kind`` ntuple; others take no notice. A training step of theirs is a
    round of self-play that is learned from deal by deal; ``train.num_workers`` is the number of
    copies of the tables that do so at the same time, each on a core of its own."""

    gamma: Fixed[NTuple[float]] = Field(default=0.98, ge=0.0, lt=1.0)
    """The value of a board is the chance to live on for 1 / (1 - gamma) deals on average."""
    deals_per_step: Live[NTuple[int]] = Field(default=40_000, ge=1, le=100_000_000)
    """Deals that a training step plays and learns from, by all copies together."""
    learning_rate: Live[NTuple[float]] = Field(default=4.0, gt=0.0, le=1000.0)
    """Sum of the rates of all weights that say the value of one board; each weight's own share
    falls by itself, as its errors begin to cancel out (temporal coherence)."""
    learning_width: Live[NTuple[int]] = Field(default=3, ge=1, le=128)
    """Boards that are kept at each placement when a deal is played to learn from it."""
    explore: Live[NTuple[float]] = Field(default=0.3, ge=0.0, le=1.0)
    """Share of the deals learned from at which one of the best four plans is played, not the
    best."""
    restart: Live[NTuple[float]] = Field(default=0.5, ge=0.0, le=1.0)
    """Share of the games learned from that begin shortly before the last one's end."""
    sample_every: Live[NTuple[int]] = Field(default=4000, ge=1)
    """Deals of which one becomes rows of the replay: its positions, and the board it leaves."""
    recorded_games: Live[NTuple[int]] = Field(default=4, ge=0)
    """Games a step that are recorded; there are hundreds."""
    play_width: Live[NTuple[int]] = Field(default=32, ge=1, le=1024)
    """Boards that are kept at each placement when an agent plans a deal."""
    play_leaves: Live[NTuple[int]] = Field(default=0, ge=0, le=1024)
    """Boards after the deal that are judged over the chance of the next one; 0: as many as pay for
    so many simulations."""
    play_simulations: Live[NTuple[int]] = Field(default=128, ge=0, le=10_000_000)
    """Next deals that are tried for that, a deal, for all of these boards together; 0 judges none.
    More is stronger, and takes longer. From 300 on two deals in a row are tried."""
    play_inner_width: Live[NTuple[int]] = Field(default=2, ge=1, le=128)
    """Boards that are kept at each placement of a deal that is tried."""
