"""What every generator and every discriminator of ours shares: shapes, labels, their checks.

Any ``nn.Module`` can take the place of either. A generator of the user's own maps latents
(N, ``latent_dim``) to samples, a discriminator samples to logits; a network that has an attribute
``num_classes`` is also given the labels, as a second argument.
"""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from lightning_gan.layers import append_labels, apply
from lightning_gan.networks.heads import Head, Minibatch

GeneratorConditioning = Literal["concat", "norm"]
DiscriminatorConditioning = Literal["concat", "projection"]


class Generator(nn.Module):
    """Map latents to samples. A subclass builds ``layers``; conditioning and checks are here.

    Args:
        latent_dim: Length of a latent.
        sample_shape: Shape of one sample: (C, H, W) for images, (D,) for points.
        num_classes: Number of classes of a conditional generator.
        conditioning: How the labels enter: ``"concat"`` as that many channels more of the latents,
            ``"norm"`` as second argument of ``layers``, for its normalisation layers.

    Attributes:
        latent_channels: Length of what ``layers`` takes, concatenated labels included.

    Raises:
        ValueError: If a size is below 1, or ``conditioning`` is ``"norm"`` without classes.
    """

    layers: nn.Module

    def __init__(
        self,
        latent_dim: int,
        sample_shape: tuple[int, ...],
        num_classes: int | None = None,
        conditioning: GeneratorConditioning = "concat",
    ) -> None:
        super().__init__()
        check_positive("latent_dim", latent_dim)
        _check_conditioning(conditioning, "norm", num_classes)
        self.latent_dim = latent_dim
        self.sample_shape = _checked_shape(sample_shape)
        self.num_classes = num_classes
        self.conditioning = conditioning
        concatenated = num_classes if conditioning == "concat" else None
        self.latent_channels = latent_dim + (concatenated or 0)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Generate samples.

        Args:
            z: Latents, (N, ``latent_dim``).
            labels: Classes, (N,) int64; needed if ``num_classes`` is given, else ignored.

        Returns:
            Samples (N, ``*sample_shape``); images lie in [-1, 1].
        """
        if self.num_classes is not None:
            labels = given(labels, self)
            if self.conditioning == "norm":
                return self.layers(z, labels)  # type: ignore[no-any-return]
            z = append_labels(z, labels, self.num_classes)
        return self.layers(z)  # type: ignore[no-any-return]

    def initialize(self, part: nn.Module | None = None) -> None:
        """Draw weights anew, from the distributions that they have at the start.

        A layer that has parameters but no method ``reset_parameters`` keeps them. A subclass whose
        weights do not start as torch's layers do extends this.

        Args:
            part: Layers of this network whose weights are drawn; all of them by default.

        Raises:
            ValueError: If a weight is parametrised, so that drawing it would change a copy.
        """
        for module in (self if part is None else part).modules():
            if is_parametrized(module):
                raise ValueError(
                    "Expected weights to draw anew without parametrisations, got one in "
                    f"{type(module).__name__}. Normalise or scale weights after this."
                )
            if callable(reset := getattr(module, "reset_parameters", None)):
                reset()


class Discriminator(nn.Module):
    """Map samples to logits. A subclass builds ``layers`` and ``head``; the rest is here.

    Args:
        sample_shape: Shape of one sample: (C, H, W) for images, (D,) for points.
        num_classes: Number of classes of a conditional discriminator.
        conditioning: How the labels enter: ``"concat"`` as that many channels more of the samples,
            ``"projection"`` through the head, which then has a vector for each class.
        num_outputs: Logits per sample.
        minibatch: Layer in front of the head that looks across the batch.

    Attributes:
        layers: Maps samples to features (N, F).
        head: Maps features to logits (N, ``num_outputs``); see :meth:`build_head`.
        channels: Channels of what ``layers`` takes, concatenated labels included.

    Raises:
        ValueError: If a size is below 1, or ``conditioning`` is ``"projection"`` without classes
            or with several outputs.
    """

    layers: nn.Module
    head: nn.Module
    chain = ("layers", "head")  # for `lipschitz_bound`

    def __init__(
        self,
        sample_shape: tuple[int, ...],
        num_classes: int | None = None,
        conditioning: DiscriminatorConditioning = "concat",
        num_outputs: int = 1,
        minibatch: Minibatch = "none",
    ) -> None:
        super().__init__()
        check_positive("num_outputs", num_outputs)
        _check_conditioning(conditioning, "projection", num_classes)
        if conditioning == "projection" and num_outputs != 1:
            raise ValueError(
                "Expected 'num_outputs' to be 1 with conditioning='projection', which adds the "
                f"class's term to one logit, got {num_outputs}."
            )
        self.sample_shape = _checked_shape(sample_shape)
        self.num_classes = num_classes
        self.conditioning = conditioning
        self.num_outputs = num_outputs
        self.minibatch = minibatch
        concatenated = num_classes if conditioning == "concat" else None
        self.channels = sample_shape[0] + (concatenated or 0)

    def build_head(self, in_features: int) -> Head:
        """Build the head that the arguments ask for.

        Args:
            in_features: Length F of the features that ``layers`` returns.
        """
        projected = self.num_classes if self.conditioning == "projection" else None
        return Head(in_features, self.num_outputs, projected, self.minibatch)

    def features(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Describe samples as the head sees them.

        Args:
            x: Samples, (N, ``*sample_shape``).
            labels: Classes, (N,) int64; needed if ``num_classes`` is given, else ignored.

        Returns:
            Features (N, F).

        Raises:
            ValueError: If the samples have another shape than the network was built for.
        """
        if x.shape[1:] != self.sample_shape:
            raise ValueError(
                f"Expected samples of the shape {self.sample_shape} for which this "
                f"{type(self).__name__} was built, got {tuple(x.shape[1:])}."
            )
        if self.num_classes is not None:
            labels = given(labels, self)
            if self.conditioning == "concat":
                x = append_labels(x, labels, self.num_classes)
        return self.layers(x)  # type: ignore[no-any-return]

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Tell real samples (large) from generated ones (small).

        Args:
            x: Samples, (N, ``*sample_shape``).
            labels: Classes, (N,) int64; needed if ``num_classes`` is given, else ignored.

        Returns:
            Logits (N,), or (N, ``num_outputs``) for several; never passed through a sigmoid.

        Raises:
            ValueError: If the samples have another shape than the network was built for.
        """
        logits: Tensor = apply(self.head, self.features(x, labels), labels)
        return logits.squeeze(1)


def image_shape(image_size: int | tuple[int, int], image_channels: int) -> tuple[int, int, int]:
    """Return (C, H, W) of an image whose size is given as one side or as (H, W)."""
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    return image_channels, height, width


def given(labels: Tensor | None, network: nn.Module) -> Tensor:
    """Return the labels of a conditional network.

    Raises:
        ValueError: If there are none, naming the network.
    """
    if labels is None:
        raise ValueError(
            f"Expected 'labels' for this {type(network).__name__}, which was built with "
            f"num_classes={network.num_classes}, got None."
        )
    return labels


def check_attention(attention: Sequence[int], sides: Sequence[int]) -> None:
    """Refuse self-attention on maps that a network does not have.

    Args:
        attention: Sides asked for.
        sides: Shorter sides of the network's maps.

    Raises:
        ValueError: Naming the sides there are.
    """
    for side in attention:
        if side not in sides:
            raise ValueError(
                f"Expected 'attention' to hold shorter sides of this network's maps, "
                f"{sorted(set(sides))}, got {side}."
            )


def check_positive(name: str, value: int) -> None:
    """Refuse sizes below 1.

    Raises:
        ValueError: Naming the argument.
    """
    if value < 1:
        raise ValueError(f"Expected '{name}' to be at least 1, got {value}.")


def _checked_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(shape) not in (1, 3) or min(shape) < 1:
        raise ValueError(
            f"Expected 'sample_shape' to be (C, H, W) or (D,) with positive sides, got {shape}."
        )
    return tuple(shape)


def _check_conditioning(kind: str, other: str, num_classes: int | None) -> None:
    """Refuse ways of conditioning that are neither ``"concat"`` nor ``other``, or lack classes."""
    if kind not in ("concat", other):
        raise ValueError(f"Expected 'conditioning' to be 'concat' or '{other}', got '{kind}'.")
    if num_classes is not None:
        check_positive("num_classes", num_classes)
    elif kind == other:
        raise ValueError(f"Expected 'num_classes' with conditioning='{other}', got None.")
