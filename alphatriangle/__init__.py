"""AlphaTriangle: an AlphaZero-style trainer whose training state is never lost."""

from alphatriangle.utils.environment import prepare_environment

__version__ = "0.1.0"

prepare_environment()
