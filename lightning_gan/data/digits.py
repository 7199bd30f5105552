"""The handwritten digits that scikit-learn ships."""

import torch
from sklearn.datasets import load_digits
from torchvision.transforms.v2.functional import resize

from lightning_gan.data.base import GANDataModule, TensorSamples


class Digits(GANDataModule):
    """1,797 real digits of 8x8 pixels that need no download. Every tenth of a class is held out.

    Args:
        image_size: Side of the images; above 8 they are enlarged bilinearly.
        batch_size: See :class:`~lightning_gan.data.base.GANDataModule`.
        num_workers: Likewise.
        seed: Likewise.

    Raises:
        ValueError: If ``image_size`` is below 8.

    Reference:
        Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning
        Repository, 1998, https://doi.org/10.24432/C50P49.
    """

    num_classes = 10
    extractor = "digits"

    def __init__(
        self,
        image_size: int = 8,
        batch_size: int = 64,
        num_workers: int = 0,
        seed: int | None = None,
    ) -> None:
        if image_size < 8:
            raise ValueError(f"Expected 'image_size' to be at least 8, got {image_size}.")
        super().__init__(batch_size, num_workers, seed)
        self.image_size = image_size

    def load(self) -> None:
        """Read the digits, whose pixels count from 0 to 16."""
        digits = load_digits()
        images = torch.from_numpy(digits.images * (255 / 16)).round().to(torch.uint8)[:, None]
        if self.image_size != images.shape[-1]:
            images = resize(images, [self.image_size, self.image_size])
        labels = torch.from_numpy(digits.target).long()
        # By class: in the file's order, which begins 0, 1, 2, ..., every fourth held out is a 9.
        held_out = torch.zeros(len(labels), dtype=torch.bool)
        held_out[labels.argsort(stable=True)[9::10]] = True
        self.train_set = TensorSamples(images[~held_out], labels[~held_out])
        self.test_set = TensorSamples(images[held_out], labels[held_out])
