"""A discriminator that judges patches of an image rather than the whole."""

from torch import Tensor, nn

from lightning_gan.layers import Normalization, append_labels, normalization
from lightning_gan.networks.base import check_positive, given
from lightning_gan.networks.dcgan import draw_weights, needs_bias


class PatchDiscriminator(nn.Module):
    """Map images of any size to a logit for each of their overlapping patches.

    Args:
        image_channels: Channels of the image.
        base_channels: Channels of the first map. They double with every layer, up to eightfold.
        num_layers: Number of strided convolutions. 1, 2 and 3 see patches of 16, 34 and 70 pixels
            a side.
        norm: Normalisation of all maps but the first. ``"batch"`` as in the paper mixes the samples
            of a batch, ``"instance"`` does not.
        num_classes: Number of classes of a conditional discriminator; the labels enter as that many
            channels more of the images.

    Attributes:
        smallest_side: Shortest side of an image that has a logit.

    Raises:
        ValueError: If a size is below 1.

    Example:
        >>> import torch
        >>> PatchDiscriminator(base_channels=4)(torch.zeros(2, 3, 256, 256)).shape
        torch.Size([2, 30, 30])

    Reference:
        Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks",
        CVPR 2017, https://arxiv.org/abs/1611.07004, appendix 6.1.2.
    """

    chain = ("layers",)  # for `lipschitz_bound`

    def __init__(
        self,
        image_channels: int = 3,
        base_channels: int = 64,
        num_layers: int = 3,
        norm: Normalization = "instance",
        num_classes: int | None = None,
    ) -> None:
        super().__init__()
        check_positive("image_channels", image_channels)
        check_positive("base_channels", base_channels)
        check_positive("num_layers", num_layers)
        if num_classes is not None:
            check_positive("num_classes", num_classes)
        self.image_channels = image_channels
        self.num_layers = num_layers
        self.num_classes = num_classes
        self.conditioning = "concat"
        self.num_outputs = 1  # a map of them
        self.smallest_side = 3 * 2**num_layers  # the two last convolutions take a row each
        width = base_channels
        first = nn.Conv2d(image_channels + (num_classes or 0), width, 4, stride=2, padding=1)
        self.layers = nn.Sequential(first, nn.LeakyReLU(0.2))
        for i in range(1, num_layers + 1):
            narrow, width = width, base_channels * min(2**i, 8)
            stride = 2 if i < num_layers else 1
            self.layers.extend(
                [
                    nn.Conv2d(narrow, width, 4, stride, padding=1, bias=needs_bias(norm)),
                    normalization(norm, width),
                    nn.LeakyReLU(0.2),
                ]
            )
        self.layers.append(nn.Conv2d(width, 1, 4, padding=1))
        self.apply(draw_weights)

    @property
    def receptive_field(self) -> int:
        """Side of the patch that a logit depends on, in pixels."""
        side = 1
        for layer in reversed(self.layers):
            if isinstance(layer, nn.Conv2d):
                side = (side - 1) * layer.stride[0] + layer.kernel_size[0]
        return side

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Tell patches of real images (large) from those of generated ones (small).

        Args:
            x: Images, (N, ``image_channels``, H, W).
            labels: Classes, (N,) int64; needed if ``num_classes`` is given, else ignored.

        Returns:
            Logits (N, H', W') with H' = H // 2**``num_layers`` - 2 and W' likewise, never passed
            through a sigmoid.

        Raises:
            ValueError: If the images have other channels, or a side is too short.
        """
        fits = x.dim() == 4 and x.shape[1] == self.image_channels
        if not fits or min(x.shape[2:]) < self.smallest_side:
            raise ValueError(
                f"Expected images with {self.image_channels} channels and sides of at least "
                f"{self.smallest_side} pixels for num_layers={self.num_layers}, "
                f"got samples of the shape {tuple(x.shape[1:])}."
            )
        if self.num_classes is not None:
            x = append_labels(x, given(labels, self), self.num_classes)
        return self.layers(x).squeeze(1)  # type: ignore[no-any-return]
