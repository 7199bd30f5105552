"""Three MNIST digits in one colour image: a thousand modes that can be counted."""

from pathlib import Path

import torch
from torch import Tensor

from lightning_gan.data.base import Samples, TensorSamples, content_digest
from lightning_gan.data.torchvision_sets import MNIST

NUM_TEST_SAMPLES = 10_000


class StackedSamples(TensorSamples):
    """Triples of digits, of which only the numbers are held; images are stacked as they are read.

    Args:
        digits: The digits, of one channel, with labels from 0 to 9.
        triples: Number of the digit in each channel, (N, 3) int64.
    """

    def __init__(self, digits: TensorSamples, triples: Tensor) -> None:
        super().__init__(triples, digits.labels[triples] @ torch.tensor([100, 10, 1]))
        self.digits = digits

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one image."""
        return (3, *self.digits.sample_shape[1:])

    def fingerprint(self) -> str:
        """Return the SHA-256 of the triples and of the digits that they are made of."""
        return content_digest(self.samples, self.digits.samples)

    def resized(self, side: int) -> "StackedSamples":
        """Return the same triples of smaller digits."""
        digits = self.digits.resized(side)
        return self if digits is self.digits else StackedSamples(digits, self.samples)

    def __getitem__(self, index: Tensor) -> Samples:
        """Return the images and labels at the indices (B,)."""
        triples, labels = super().__getitem__(index)
        channels, _ = self.digits[triples.flatten()]
        return channels.view(-1, *self.sample_shape), labels


class StackedMNIST(MNIST):
    """Colour images of three digits, drawn independently for red, green and blue.

    The label 100 a + 10 b + c of the digits a, b and c is the mode. The triples are drawn once: the
    same set in every run, process and resume. Those of the 10,000 held-out images are drawn from
    MNIST's held-out digits.

    MNIST's digits are not equally frequent, hence neither are the modes: KL(data || uniform) is
    0.004, which the chance of 26,000 draws raises to 0.024.

    Args:
        root: Folder of MNIST's files, in torchvision's layout.
        download: Whether missing files are downloaded. Without a connection, put them there.
        image_size: Side of the images. 28 is the native one, 32 adds a black border, others are
            resized to.
        num_samples: Size of the training set.
        batch_size: See :class:`~lightning_gan.data.base.GANDataModule`.
        num_workers: Likewise.
        seed: Likewise.

    Raises:
        ValueError: If ``image_size`` is below 4 or ``num_samples`` below 1.

    Reference:
        Metz et al., "Unrolled Generative Adversarial Networks", ICLR 2017,
        https://arxiv.org/abs/1611.02163, section 3.3.1; Lin et al., "PacGAN: The power of two
        samples in generative adversarial networks", NeurIPS 2018,
        https://arxiv.org/abs/1712.04086, section 4.2 (128,000 images).

    Note:
        By convention a classifier of single digits reads each channel of 26,000 generated images
        (VEEGAN, table 2 of PacGAN), or of 25,600 (Unrolled GAN, table 3 of PacGAN); reported are
        the number of modes hit at least once, and KL(generated || uniform) in nats.
    """

    num_classes = 1000

    def __init__(
        self,
        root: str | Path = "data",
        download: bool = True,
        image_size: int = 32,
        num_samples: int = 128_000,
        batch_size: int = 64,
        num_workers: int = 0,
        seed: int | None = None,
    ) -> None:
        if num_samples < 1:
            raise ValueError(f"Expected 'num_samples' to be at least 1, got {num_samples}.")
        super().__init__(root, download, image_size, batch_size, num_workers, seed)
        self.num_samples = num_samples

    def load(self) -> None:
        """Read the digits of both splits into memory, and draw the triples."""
        train, test = self.splits()
        self.train_set = _stack(train, self.num_samples, seed=0)
        self.test_set = _stack(test, NUM_TEST_SAMPLES, seed=1)


def _stack(digits: TensorSamples, n: int, seed: int) -> StackedSamples:
    generator = torch.Generator().manual_seed(seed)
    return StackedSamples(digits, torch.randint(len(digits), (n, 3), generator=generator))
