"""Game positions to what the network sees, and back."""

from alphatriangle.features.encoder import OTHER_FEATURES, PLANES, decode, encode
from alphatriangle.features.experience import experiences_from_rows, rows_from_experiences

__all__ = [
    "OTHER_FEATURES",
    "PLANES",
    "decode",
    "encode",
    "experiences_from_rows",
    "rows_from_experiences",
]
