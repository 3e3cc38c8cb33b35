"""The networks, of both kinds."""

from alphatriangle.nn.convolutional import ConvolutionalNetwork
from alphatriangle.nn.model import AlphaTriangleNet
from alphatriangle.nn.network import NeuralNetwork, WeightsMismatchError

__all__ = ["AlphaTriangleNet", "ConvolutionalNetwork", "NeuralNetwork", "WeightsMismatchError"]
