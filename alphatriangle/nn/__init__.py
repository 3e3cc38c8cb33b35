"""The network: its module, and the object the rest of the system talks to."""

from alphatriangle.nn.model import AlphaTriangleNet
from alphatriangle.nn.network import NeuralNetwork, WeightsMismatchError

__all__ = ["AlphaTriangleNet", "NeuralNetwork", "WeightsMismatchError"]
