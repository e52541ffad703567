"""Small networks of either kind, for tests."""

from ganforge.nn.convnet import ConvDiscriminator, ConvGenerator
from ganforge.nn.mlp import MlpDiscriminator, MlpGenerator

NORMS = ("batch", "none", "spectral", "instance", "layer")
CONDITIONINGS = ("none", "concat", "projection", "auxiliary")


def pair(kind, norm="none", conditioning="none", shape=(3, 16, 12), **more):
    """A small generator and discriminator of either kind, with the same arguments."""
    make = {"conv": (ConvGenerator, ConvDiscriminator), "mlp": (MlpGenerator, MlpDiscriminator)}[kind]
    common = {"width": 8, "norm": norm, "conditioning": conditioning, "classes": 0 if conditioning == "none" else 5}
    return make[0](shape, 7, **common), make[1](shape, **common, **more)
