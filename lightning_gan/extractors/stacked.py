"""A classifier of single channels, for images that are stacks of them."""

import torch
from torch import Tensor

from lightning_gan.extractors.base import Description, Extractor


class StackedClassifier(Extractor):
    r"""Let a classifier of one channel read each channel of an image.

    The classes of the whole are the combinations, numbered as
    :class:`~lightning_gan.data.stacked_mnist.StackedMNIST` does, the first channel the most
    significant: 100 a + 10 b + c. As channels are read independently,

    .. math:: \log p(abc \mid x) = \log p(a \mid x_1) + \log p(b \mid x_2) + \log p(c \mid x_3).

    Args:
        digit: A classifier of images with one channel; any extractor with logits of the data's
            classes.
        channels: Number of channels, C.
        name: Under which figures are reported: ``fd/<name>``.

    Raises:
        ValueError: If ``digit`` has no classes or ``channels`` is below 1.

    Reference:
        Metz et al., "Unrolled Generative Adversarial Networks", ICLR 2017,
        https://arxiv.org/abs/1611.02163, section 3.3.1.
    """

    def __init__(self, digit: Extractor, channels: int = 3, name: str = "stacked") -> None:
        super().__init__(name, digit.resize)
        if digit.num_classes is None:
            raise ValueError(
                f"Expected 'digit' to be a classifier, got the extractor '{digit.name}' without "
                "classes of the data."
            )
        if channels < 1:
            raise ValueError(f"Expected 'channels' to be at least 1, got {channels}.")
        self.digit = digit
        self.channels = channels
        self.num_classes = digit.num_classes**channels
        self.requires_grad_(False)

    def describe(self, images: Tensor) -> Description:
        """Map (N, C, H, W) uint8 to features (N, C d), channel by channel, and logits (N, K^C).

        The logits are log-probabilities.

        Raises:
            ValueError: If the images have another number of channels, or ``digit`` returns no
                logits.
        """
        if images.shape[1] != self.channels:
            raise ValueError(
                f"Expected 'images' to have {self.channels} channels, got {images.shape[1]}."
            )
        features, logits = self.digit(images.flatten(0, 1).unsqueeze(1))
        if logits is None:
            raise ValueError(f"Expected logits of the extractor '{self.digit.name}', got none.")
        per_channel = logits.log_softmax(dim=1).unflatten(0, (len(images), self.channels))
        first, *others = per_channel.unbind(dim=1)
        joint: Tensor = first
        for other in others:
            joint = torch.flatten(joint.unsqueeze(2) + other.unsqueeze(1), start_dim=1)
        return Description(features.reshape(len(images), -1), joint)
