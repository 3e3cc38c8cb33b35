"""A state that is not finite never becomes a commit."""

from __future__ import annotations

import pytest
import torch

from alphatriangle.config import Config
from alphatriangle.data.errors import SaveFailedError, StateNotFiniteError
from tests.data.helpers import Training, reload, started


@torch.no_grad()
def spoil(training: Training, part: str, number: float) -> str:
    """Make one number of it not finite; returns how it is named."""
    network = training.network
    if part == "weight":
        network.flat_parameters[5] = number
        return "model_state_dict['stem.weight'] (1 of 648 numbers)"
    if part == "statistics":
        norm = network.model.stem_norm
        assert norm.running_var is not None
        norm.running_var[1] = number
        return "model_state_dict['stem_norm.running_var'] (1 of 8 numbers)"
    training.trainer.optimizer.numbers()[-1][0] = number
    return "optimizer_state_dict['state'][0]['exp_avg_sq'] (1 of 648 numbers)"


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("part", ["weight", "statistics", "optimizer"])
def test_it_is_refused_by_name(config: Config, part: str, number: float) -> None:
    training = started(config)
    training.commit()
    training.step += 1
    named = spoil(training, part, number)
    training.save()
    with pytest.raises(StateNotFiniteError) as raised:
        training.manager.flush()
    assert f"state of step 2 was not saved in {config.persistence.root_data_dir}" in str(
        raised.value
    )
    assert f"{named} is not finite; the commits before it are intact" in str(raised.value)
    assert training.manager.last_save_failed
    training.save()
    with pytest.raises(SaveFailedError):
        training.manager.close()
    state = reload(config)
    assert state.rejected == []
    assert state.commit is not None
    assert state.commit.global_step == 1


def test_who_keeps_infinities_on_purpose_says_so(config: Config) -> None:
    training = started(config)
    spoil(training, "weight", float("-inf"))
    training.save(allow_not_finite=True)
    training.manager.close()
    state = reload(config)
    assert state.checkpoint_data is not None
    saved = state.checkpoint_data.model_state_dict["stem.weight"]
    assert torch.equal(saved, training.network.model.stem.weight)
