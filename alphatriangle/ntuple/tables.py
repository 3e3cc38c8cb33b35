"""The weights, what their rates are made of, and the average that is played."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from alphatriangle.ntuple.layout import SIZE

FloatArray = npt.NDArray[np.float32]


@dataclass
class Tables:
    """Everything that is learned; each array [SIZE] float32.

    No array is ever written to once it is in here: a round of learning ends with new ones. So a
    reference to an array is as good as a copy, and saving needs none.
    """

    weights: FloatArray
    errors: FloatArray
    """Sums of the errors that changed a weight, for temporal coherence."""
    absolute: FloatArray
    """Sums of their absolute values."""
    average: FloatArray
    """Of the weights over the newer part of all rounds (Polyak and Juditsky, 1992): is played."""

    @classmethod
    def zeros(cls) -> Tables:
        """Of a learner that knows nothing."""
        return cls(*(np.zeros(SIZE, np.float32) for _ in fields(cls)))

    def state_dict(self) -> dict[str, FloatArray]:
        """The arrays by name, not copied."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over the arrays of ``state``, which nobody may write to from now on.

        Raises:
            ValueError: a name, a shape or a type is not that of these tables.
        """
        names = [field.name for field in fields(self)]
        if sorted(state) != sorted(names):
            raise ValueError(f"tables have {sorted(names)}, these are {sorted(state)}")
        for name in names:
            array = state[name]
            if not isinstance(array, np.ndarray) or array.dtype != np.float32:
                raise ValueError(f"the table {name} is not an array of float32")
            if array.shape != (SIZE,):
                raise ValueError(f"the table {name} has shape {array.shape}, not ({SIZE},)")
        for name in names:
            setattr(self, name, np.ascontiguousarray(state[name]))
