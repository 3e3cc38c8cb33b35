"""Training: what is learned from, how, and for how long."""

from __future__ import annotations

from typing import Final, Literal, Self

from pydantic import Field, model_validator

from alphatriangle.config.base import Convolutional, Fixed, Irrelevant, Live, Section

_DEVICES: Final = r"^(auto|cpu|mps|cuda(:\d+)?)$"
Schedule = Literal["StepLR", "CosineAnnealingLR"]


class TrainConfig(Section):
    """The run, self-play, the replay and the optimizer."""

    run_name: Irrelevant[str | None] = None
    """Folder of the run under ``runs/``: begun where it is new, gone on with where it is there.
    None means a new name; on the command line, the latest unfinished run, where there is one."""
    seed: Fixed[int] = Field(default=0, ge=0, lt=2**63)
    """Everything random in the run is derived from it."""
    max_steps: Live[int] = Field(default=1000, ge=1)
    """Training steps in all."""
    device: Live[Convolutional[str]] = Field(default="auto", pattern=_DEVICES)
    """Where the learner computes: auto, cpu, cuda, cuda:N or mps."""
    training_dtype: Live[Convolutional[Literal["auto", "float32", "bfloat16"]]] = "float32"
    """Arithmetic of the learner's forward and backward pass; weights, optimizer and losses stay in
    float32. ``auto`` takes bfloat16 where the hardware has it, once, and it is kept."""
    num_threads: Live[Convolutional[int]] = Field(default=0, ge=0, le=1024)
    """torch threads of the training process; 0 means all cores of its machine that no worker
    uses."""

    auto_resume_latest: Irrelevant[bool] = False
    """For programs that use ``DataManager``: a run name that is new begins with the state of the
    run that was committed to last, and without a name the latest unfinished run is gone on with, in
    place. (The command line has --resume latest for the first, and does the second anyway.)"""
    load_checkpoint_path: Fixed[str | None] = None
    """Begin the run with this checkpoint file; it must load."""
    load_buffer_path: Fixed[str | None] = None
    """Begin it with this buffer file; it must load."""

    num_workers: Live[int] = Field(default=-1, ge=-1, le=10_000)
    """Self-play processes; 0 plays in the training process. -1 (``--workers auto``) means cores - 1
    on one machine, in a cluster all that have a free CPU, between the next two. For an n-tuple
    network: copies of its tables that learn at the same time in the training process, on a core
    each; 0 and -1 mean one for each of two cores. Its runs are exact with any number."""
    min_workers: Live[Convolutional[int]] = Field(default=1, ge=1, le=10_000)
    """The fewest that -1 asks for."""
    max_workers: Live[Convolutional[int]] = Field(default=10_000, ge=1, le=10_000)
    """The most that -1 asks for."""
    worker_device: Live[Convolutional[str]] = Field(default="cpu", pattern=_DEVICES)
    """Where self-play workers compute."""
    worker_gpu_share: Live[Convolutional[float]] = Field(default=0.25, gt=0.0, le=1.0)
    """Of a GPU, for each worker that does not compute on the CPU."""
    package_travels: Irrelevant[Convolutional[bool]] = False
    """In a cluster: bring this package to its nodes, which then need only its dependencies."""
    cluster_patience_seconds: Irrelevant[Convolutional[float]] = Field(default=180.0, ge=0.0)
    """For so long training looks for a cluster that it has lost; then it ends. What it has learned
    is saved before."""
    games_per_worker: Live[Convolutional[int]] = Field(default=128, ge=1, le=65_536)
    """Games that one worker plays in lockstep: the rows of one network call."""
    worker_update_freq_steps: Live[Convolutional[int]] = Field(default=5, ge=1)
    """Training steps between two updates of the weights that self-play uses."""
    replay_ratio: Live[Convolutional[float]] = Field(default=2.0, gt=0.0, le=1000.0)
    """How often a row is sampled on average: it paces training against self-play. Changed on a
    resume, it paces what comes; so do batch_size and min_buffer_size_to_train."""

    buffer_capacity: Live[int] = Field(default=100_000, ge=1)
    """Rows that the replay buffer holds; the oldest go first."""
    min_buffer_size_to_train: Live[Convolutional[int]] = Field(default=4_000, ge=1)
    """Rows before the first training step."""
    batch_size: Live[Convolutional[int]] = Field(default=256, ge=1)
    """Rows of a training step."""
    augment_symmetry: Live[Convolutional[bool]] = False
    """Show every sampled row in a random view: the board turned or mirrored, its slots reordered.
    (The deals are not quite symmetric: see ``features/symmetry.py``.)"""
    use_per: Live[Convolutional[bool]] = False
    """Prioritised replay, proportional variant (Schaul et al., 2016); otherwise uniform."""
    per_alpha: Live[Convolutional[float]] = Field(default=0.6, ge=0.0, le=1.0)
    """Exponent of the priorities."""
    per_beta_initial: Live[Convolutional[float]] = Field(default=0.4, ge=0.0, le=1.0)
    """Exponent of the importance weights at the start."""
    per_beta_final: Live[Convolutional[float]] = Field(default=1.0, ge=0.0, le=1.0)
    """The same at the end of annealing."""
    per_beta_anneal_steps: Live[Convolutional[int | None]] = Field(default=None, ge=1)
    """Steps of annealing; none means until max_steps. It never goes back: not in a run that is made
    longer either."""
    per_epsilon: Live[Convolutional[float]] = Field(default=1e-3, gt=0.0)
    """Added to every |TD error| so that no row is lost from sight."""

    n_step_returns: Live[Convolutional[int]] = Field(default=3, ge=1, le=100)
    """Placements whose rewards a return sums before it bootstraps."""
    gamma: Fixed[Convolutional[float]] = Field(default=0.98, ge=0.0, lt=1.0)
    """Discount per placement."""

    optimizer_type: Fixed[Convolutional[Literal["AdamW", "Adam", "SGD"]]] = "AdamW"
    """The optimizer; SGD uses momentum 0.9."""
    learning_rate: Live[Convolutional[float]] = Field(default=2e-3, gt=0.0)
    """Its rate at the start. Another one on a resume is its rate from there on, where its schedule
    begins anew; otherwise the rate never rises, in a run that is made longer neither."""
    weight_decay: Live[Convolutional[float]] = Field(default=1e-4, ge=0.0)
    """Its weight decay."""
    gradient_clip_value: Live[Convolutional[float | None]] = Field(default=5.0, gt=0.0)
    """Largest norm of the gradient; none means no clipping."""
    lr_scheduler_type: Live[Convolutional[Schedule | None]] = "CosineAnnealingLR"
    """How the rate falls. Changed on a resume, schedules go on from the rate there is."""
    lr_scheduler_step_size: Live[Convolutional[int]] = Field(default=10_000, ge=1)
    """StepLR: steps between two falls."""
    lr_scheduler_gamma: Live[Convolutional[float]] = Field(default=0.3, gt=0.0, le=1.0)
    """StepLR: factor of a fall."""
    lr_scheduler_t_max: Live[Convolutional[int | None]] = Field(default=None, ge=1)
    """Cosine: steps until the lowest rate, which then stays; none means until max_steps."""
    lr_scheduler_eta_min: Live[Convolutional[float]] = Field(default=1e-4, ge=0.0)
    """Cosine: the lowest rate."""
    policy_loss_weight: Live[Convolutional[float]] = Field(default=1.0, ge=0.0)
    """Weight of the policy's cross-entropy."""
    value_loss_weight: Live[Convolutional[float]] = Field(default=1.0, ge=0.0)
    """Weight of the value distribution's cross-entropy."""
    entropy_bonus_weight: Live[Convolutional[float]] = Field(default=0.0, ge=0.0)
    """Weight of the policy's entropy, which the loss rewards."""

    @model_validator(mode="after")
    def _workers_agree(self) -> Self:
        if self.min_workers > self.max_workers:
            raise ValueError(
                f"min_workers {self.min_workers} exceeds max_workers {self.max_workers}"
            )
        return self
