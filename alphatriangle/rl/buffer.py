"""The replay buffer: a ring of compact rows with uniform or prioritised sampling."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from alphatriangle.config import TrainConfig
from alphatriangle.features.encoder import encode, legal_and_policy_into
from alphatriangle.features.experience import experiences_from_rows, rows_from_experiences
from alphatriangle.features.symmetry import draw_views
from alphatriangle.game.geometry import ACTIONS
from alphatriangle.rl import schedule
from alphatriangle.utils.columns import joined
from alphatriangle.utils.errors import TrainingDivergedError
from alphatriangle.utils.ring import Ring
from alphatriangle.utils.seeding import derive_key, draw_shares
from alphatriangle.utils.streams import STREAM_SAMPLE, STREAM_VIEW
from alphatriangle.utils.sum_tree import SumTree
from alphatriangle.utils.types import Batch, Experience, Rows


class ExperienceBuffer:
    """The newest rows of experience: a :class:`Ring`, from which batches are drawn.

    Sampling depends on the seed and on how many batches were sampled before, nothing else.
    """

    codec_name = "alphatriangle"

    def __init__(self, config: TrainConfig) -> None:
        self.capacity = config.buffer_capacity
        self._config = config
        self._columns = Rows.zeros(self.capacity)
        self._ring = Ring.over(self._columns.columns())
        self._priorities = SumTree(self.capacity) if config.use_per else None
        self.max_priority = 1.0
        self.batches_sampled = 0
        self.beta = schedule.beta(config)
        """Exponent of the importance weights, by training step."""

    def __len__(self) -> int:
        return len(self._ring)

    @property
    def total_added(self) -> int:
        """Rows ever added: the number of the next one."""
        return self._ring.total_added

    @property
    def oldest(self) -> int:
        """The number of the oldest row still here."""
        return self._ring.oldest

    @property
    def lineage(self) -> str:
        """Whose row numbers these are: in one run, rows of one lineage and number are the same."""
        return self._ring.lineage

    def add(self, experience: Experience) -> None:
        """Add one experience; see :func:`rows_from_experiences` for what is refused."""
        self.add_rows(rows_from_experiences([experience]))

    def add_batch(self, experiences: Iterable[Experience]) -> None:
        """Add experiences in order, all or none."""
        self.add_rows(rows_from_experiences(experiences))

    def add_rows(self, rows: Rows) -> None:
        """Add rows in order, with the highest priority seen, so that each is sampled soon."""
        positions = self._ring.add(rows.columns())
        if self._priorities is not None:
            values = np.full(len(positions), self.max_priority, np.float32)
            self._priorities.set(positions, values)

    def row_views(self, first: int, end: int) -> list[dict[str, npt.NDArray[Any]]]:
        """See :meth:`Ring.row_views`."""
        return self._ring.row_views(first, end)

    def rows(self, first: int, end: int) -> Rows:
        """A copy of the rows numbered [first, end).

        Raises:
            IndexError: some of them are not in the buffer (any more).
        """
        return Rows(**joined(self.row_views(first, end)))

    def experiences(self) -> Iterable[Experience]:
        """All rows as ``Experience`` tuples, oldest first, decoded one by one."""
        return experiences_from_rows(self.rows(self.oldest, self.total_added))

    def draw(
        self, batch_size: int, step: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Positions in the buffer and importance weights [B] of the next batch, with replacement.

        Uniform, or proportional to priority with one draw from each of ``batch_size`` equal shares
        of the total (Schaul et al., 2016, appendix B.2.1), with importance weights
        (N P(i))^-beta / max (section 3.4).

        Raises:
            ValueError: the buffer is empty.
        """
        n = len(self)
        if n == 0:
            raise ValueError("the buffer is empty: there is nothing to sample")
        uniform = self._uniform(batch_size)
        if self._priorities is None:
            chosen = np.minimum((uniform * n).astype(np.int64), n - 1)
            return self._ring.places(chosen), np.ones(batch_size, np.float32)
        total = self._priorities.total
        masses = (np.arange(batch_size) + uniform) / batch_size * total
        indices = self._priorities.find(masses, self.capacity)
        probabilities = self._priorities.leaves[indices].astype(np.float64) / total
        raw = (n * probabilities) ** -self.beta.at(step)
        return indices, (raw / raw.max()).astype(np.float32)

    def gather(self, indices: npt.NDArray[np.int64]) -> Rows:
        """The rows at these positions, copied."""
        return self._columns[indices]

    def sample(self, batch_size: int, step: int) -> Batch:
        """The next batch as tensors; see :meth:`draw`."""
        return self._batch(*self.draw(batch_size, step))

    def _uniform(self, count: int) -> npt.NDArray[np.float64]:
        """The next ``count`` uniform numbers in [0, 1)."""
        key = np.uint64(derive_key(self._config.seed, STREAM_SAMPLE, self.batches_sampled))
        self.batches_sampled += 1
        shares: npt.NDArray[np.float64] = draw_shares(key, count)
        return shares

    def _batch(self, indices: npt.NDArray[np.int64], weights: npt.NDArray[np.float32]) -> Batch:
        rows = self.gather(indices)
        boards, slots = rows.boards, rows.slots
        if self._config.augment_symmetry:
            key = np.uint64(derive_key(self._config.seed, STREAM_VIEW, self.batches_sampled))
            boards, slots, legal, policy = draw_views(key, boards, slots, rows.policies)
        else:
            legal = np.empty((len(rows), ACTIONS), np.bool_)
            policy = np.empty((len(rows), ACTIONS), np.float32)
            legal_and_policy_into(boards, slots, rows.policies, legal, policy)
        grid, other = encode(boards, slots)
        return Batch(
            grid=torch.from_numpy(grid),
            other_features=torch.from_numpy(other),
            legal=torch.from_numpy(legal),
            policy=torch.from_numpy(policy),
            returns=torch.from_numpy(rows.returns),
            weights=torch.from_numpy(weights),
            indices=indices,
        )

    def update_priorities(
        self, indices: npt.NDArray[np.int64], td_errors: npt.NDArray[np.float32]
    ) -> None:
        """Set priorities to (\\|TD error\\| + epsilon)^alpha (section 3.3); uniform ignores them.

        Raises:
            TrainingDivergedError: a TD error is not finite; no priority has changed.
        """
        if not np.isfinite(td_errors).all():
            bad = int((~np.isfinite(td_errors)).sum())
            raise TrainingDivergedError(
                f"{bad} of {len(td_errors)} TD errors are not finite: lower train.learning_rate"
            )
        if self._priorities is None:
            return
        magnitude = np.abs(td_errors.astype(np.float64)) + self._config.per_epsilon
        values = (magnitude**self._config.per_alpha).astype(np.float32)
        self._priorities.set(indices, values)
        self.max_priority = max(self.max_priority, float(values.max()))

    def counters(self) -> dict[str, Any]:
        """Everything but the rows and their priorities."""
        return self._ring.counters() | {
            "max_priority": self.max_priority,
            "batches_sampled": self.batches_sampled,
        }

    def mutable_views(self) -> dict[str, list[npt.NDArray[np.float32]]]:
        """Priorities, oldest row first, in pieces that alias the ring; none when uniform."""
        if self._priorities is None:
            return {}
        leaves = self._priorities.leaves
        places = self._ring.stretches(self.oldest, self.total_added)
        return {"priorities": [leaves[place] for place in places]}

    def state_dict(self) -> dict[str, Any]:
        """A copy of everything but the rows."""
        views = self.mutable_views().get("priorities")
        return self.counters() | {"priorities": None if views is None else np.concatenate(views)}

    def load_state_dict(self, state: dict[str, Any], rows: Rows | Iterable[Rows]) -> None:
        """Become the buffer that :meth:`state_dict` and its rows [oldest, total_added) came from.

        Rows may come in pieces, so that they need not all be in memory twice. With another capacity
        the newest rows that fit are kept, and there is room for more. Rows that were saved without
        priorities get the highest one.

        Raises:
            ValueError: the number of rows is not what the state says.
        """
        pieces = [rows] if isinstance(rows, Rows) else rows
        self._ring.load_state_dict({**state, "mutable": {}}, (p.columns() for p in pieces))
        self.max_priority = float(state["max_priority"])
        self.batches_sampled = int(state["batches_sampled"])
        if self._priorities is not None:
            leaves = np.zeros(self.capacity, np.float32)
            saved = state["priorities"]
            skipped = self.oldest - int(state["oldest"])
            leaves[self._ring.positions()] = self.max_priority if saved is None else saved[skipped:]
            self._priorities.set_all(leaves)
