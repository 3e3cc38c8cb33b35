"""The networks, of both kinds."""

from alphatriangle.nn.convolutional import ConvolutionalNetwork
from alphatriangle.nn.model import AlphaTriangleNet
from alphatriangle.nn.network import NeuralNetwork, WeightsMismatchError
from alphatriangle.nn.ntuple import NTupleNetwork

__all__ = [
    "AlphaTriangleNet",
    "ConvolutionalNetwork",
    "NTupleNetwork",
    "NeuralNetwork",
    "WeightsMismatchError",
]
