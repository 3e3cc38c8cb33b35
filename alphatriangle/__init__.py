"""AlphaTriangle: an AlphaZero-style trainer whose training state is never lost."""

from alphatriangle.utils.numba_cache import use_versioned_cache

__version__ = "0.1.0"

use_versioned_cache()
