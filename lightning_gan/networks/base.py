"""What every generator and every discriminator of ours shares: shapes, labels, their checks.

Any ``nn.Module`` can take the place of either. A generator of the user's own maps latents
(N, ``latent_dim``) to samples, a discriminator samples to logits; a network that has an attribute
``num_classes`` is also given the labels, as a second argument.
"""

from torch import Tensor, nn

from lightning_gan.layers import append_labels


class Generator(nn.Module):
    """Map latents to samples. A subclass builds ``layers``; conditioning and checks are here.

    Args:
        latent_dim: Length of a latent.
        sample_shape: Shape of one sample: (C, H, W) for images, (D,) for points.
        num_classes: Number of classes of a conditional generator; its ``layers`` take latents with
            that many channels more.

    Attributes:
        latent_channels: Length of what ``layers`` takes, the labels included.
    """

    layers: nn.Module

    def __init__(
        self, latent_dim: int, sample_shape: tuple[int, ...], num_classes: int | None = None
    ) -> None:
        super().__init__()
        check_positive("latent_dim", latent_dim)
        self.latent_dim = latent_dim
        self.sample_shape = _checked_shape(sample_shape)
        self.num_classes = _checked_classes(num_classes)
        self.latent_channels = latent_dim + (num_classes or 0)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Generate samples.

        Args:
            z: Latents, (N, ``latent_dim``).
            labels: Classes, (N,) int64; needed if ``num_classes`` is given, else ignored.

        Returns:
            Samples (N, ``*sample_shape``); images lie in [-1, 1].
        """
        if self.num_classes is not None:
            z = append_labels(z, _given(labels, self), self.num_classes)
        return self.layers(z)  # type: ignore[no-any-return]


class Discriminator(nn.Module):
    """Map samples to logits. A subclass builds ``layers``; conditioning and checks are here.

    Args:
        sample_shape: Shape of one sample: (C, H, W) for images, (D,) for points.
        num_classes: Number of classes of a conditional discriminator; its ``layers`` take samples
            with that many channels more.

    Attributes:
        channels: Channels of what ``layers`` takes, the labels included.
    """

    layers: nn.Module

    def __init__(self, sample_shape: tuple[int, ...], num_classes: int | None = None) -> None:
        super().__init__()
        self.sample_shape = _checked_shape(sample_shape)
        self.num_classes = _checked_classes(num_classes)
        self.channels = sample_shape[0] + (num_classes or 0)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Tell real samples (large) from generated ones (small).

        Args:
            x: Samples, (N, ``*sample_shape``).
            labels: Classes, (N,) int64; needed if ``num_classes`` is given, else ignored.

        Returns:
            Logits (N,), never passed through a sigmoid.

        Raises:
            ValueError: If the samples have another shape than the network was built for.
        """
        if x.shape[1:] != self.sample_shape:
            raise ValueError(
                f"Expected samples of the shape {self.sample_shape} for which this "
                f"{type(self).__name__} was built, got {tuple(x.shape[1:])}."
            )
        if self.num_classes is not None:
            x = append_labels(x, _given(labels, self), self.num_classes)
        return self.layers(x).flatten()  # type: ignore[no-any-return]


def image_shape(image_size: int | tuple[int, int], image_channels: int) -> tuple[int, int, int]:
    """Return (C, H, W) of an image whose size is given as one side or as (H, W)."""
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    return image_channels, height, width


def _given(labels: Tensor | None, network: nn.Module) -> Tensor:
    if labels is None:
        raise ValueError(
            f"Expected 'labels' for this {type(network).__name__}, which was built with "
            f"num_classes={network.num_classes}, got None."
        )
    return labels


def _checked_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(shape) not in (1, 3) or min(shape) < 1:
        raise ValueError(
            f"Expected 'sample_shape' to be (C, H, W) or (D,) with positive sides, got {shape}."
        )
    return tuple(shape)


def _checked_classes(num_classes: int | None) -> int | None:
    if num_classes is not None:
        check_positive("num_classes", num_classes)
    return num_classes


def check_positive(name: str, value: int) -> None:
    """Refuse sizes below 1.

    Raises:
        ValueError: Naming the argument.
    """
    if value < 1:
        raise ValueError(f"Expected '{name}' to be at least 1, got {value}.")
