"""Which classes a generator makes, without any real samples."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lightning_gan.extractors import Extractor
from lightning_gan.functional import class_coverage
from lightning_gan.metrics.base import SampleMetric


class ClassCoverage(SampleMetric):
    """Count the classes of generated samples and compare their shares with those of real data.

    Samples that the extractor gives no class, such as points far from all modes, do not count.

    Its state is one count for each class, whatever the number of samples. The usual test of
    dropped modes are the 1000 classes of stacked digits among 26,000 samples.

    ``compute`` returns the scalars ``modes``, the number of classes that occur, and ``mode_kl``,
    KL(generated || real) of their shares in nats; see
    :func:`~lightning_gan.functional.class_coverage`.

    Args:
        extractor: A classifier of the data's classes, such as ``digits``, a
            :class:`~lightning_gan.extractors.StackedClassifier`, or a
            :class:`~lightning_gan.extractors.ModuleExtractor` with ``num_classes``.
        real_shares: Shares or counts of the classes among real samples, (K,); equal by default.
        **kwargs: See torchmetrics' ``Metric``.

    Raises:
        ValueError: If the extractor is no classifier of the data's classes; in ``compute``, if
            there are no samples, or ``real_shares`` are no K shares.

    Example:
        >>> import torch
        >>> from lightning_gan.extractors import Points
        >>> coverage = ClassCoverage(Points([[0.0], [5.0], [10.0], [15.0]]))
        >>> coverage.update(torch.tensor([[0.1], [-0.2], [9.0], [11.0]]))
        >>> {name: round(value.item(), 4) for name, value in coverage.compute().items()}
        {'modes': 2.0, 'mode_kl': 0.6931}

    Reference:
        Srivastava et al., "VEEGAN: Reducing Mode Collapse in GANs using Implicit Variational
        Learning", NeurIPS 2017, https://arxiv.org/abs/1705.07761, section 5; Lin et al., "PacGAN:
        The power of two samples in generative adversarial networks", NeurIPS 2018,
        https://arxiv.org/abs/1712.04086, section 4.
    """

    counts: Tensor

    def __init__(
        self,
        extractor: str | Path | nn.Module | Extractor,
        real_shares: Tensor | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(extractor, **kwargs)
        self.num_classes = self.extractor.num_classes
        if self.num_classes is None:
            raise ValueError(
                "Expected 'extractor' to be a classifier of the data's classes, got "
                f"'{self.extractor.name}', which has none."
            )
        self.real_shares = real_shares
        counts = torch.zeros(self.num_classes, dtype=torch.int64)
        self.add_state("counts", counts, dist_reduce_fx="sum")

    def update(self, samples: Tensor) -> None:
        """Take in generated samples.

        Args:
            samples: Images (N, C, H, W), uint8 in [0, 255] or floating point in [-1, 1], in which
                what lies outside is clamped; or points (N, d).
        """
        logits = self.describe(samples).logits
        if logits is None:
            raise ValueError(f"Expected logits of the extractor '{self.extractor.name}', got none.")
        best, classes = logits.max(dim=1)
        known = classes[best > self.extractor.least_logit]
        self.counts += known.bincount(minlength=len(self.counts))

    def compute(self) -> dict[str, Tensor]:
        """Compare; see the class."""
        if not self.counts.any():
            raise ValueError("Expected generated samples of some class before 'compute', got none.")
        number = len(self.counts)
        classes = torch.arange(number, device=self.counts.device).repeat_interleave(self.counts)
        shares = None if self.real_shares is None else self.real_shares.to(classes.device)
        found = class_coverage(classes, number, shares)
        return {"modes": found.modes.double(), "mode_kl": found.kl}
