"""What the latent space of a trained model holds: directions, edits along them, and the latents of given pictures."""

from __future__ import annotations

from ganforge.latent.editing import between_classes, edit, judged_as, read_latents
from ganforge.latent.encoding import Encoder, encoder_of, learn_encoder
from ganforge.latent.inversion import Projection, project
from ganforge.latent.mixing import layers_of, mix
from ganforge.latent.pictures import read_pictures
from ganforge.latent.spaces import Space, inputs_of, vector_layers
from ganforge.latent.walk import POINTS, PROBES, Direction, Kind, Traversal, directions, draw, slopes, traverse

__all__ = [
    "POINTS",
    "PROBES",
    "Direction",
    "Encoder",
    "Kind",
    "Projection",
    "Space",
    "Traversal",
    "between_classes",
    "directions",
    "draw",
    "edit",
    "encoder_of",
    "inputs_of",
    "judged_as",
    "layers_of",
    "learn_encoder",
    "mix",
    "project",
    "read_latents",
    "read_pictures",
    "slopes",
    "traverse",
    "vector_layers",
]
