"""What every extractor has in common: bytes in, features out, and an identity of its weights."""

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from typing_extensions import Self


class Description(NamedTuple):
    """What an extractor says of images.

    Attributes:
        features: By which images are compared, (N, d) float32.
        logits: Those of a classifier, (N, K) float32, or None.
    """

    features: Tensor
    logits: Tensor | None = None


class Extractor(nn.Module, ABC):
    """Describe images by features, always in the same way.

    It stays in evaluation mode and in float32 whatever is done to the module that holds it, whose
    ``state_dict`` it never enters, and no gradient flows. A subclass builds its networks after this
    constructor and ends with ``self.requires_grad_(False)``.

    Args:
        name: Under which figures are reported: ``fd/<name>``.
        resize: How images come to the size of the network, in words, for the report.
        layer: Which of the network's outputs the features are, for the report; "" if it has one.

    Attributes:
        published: Whether published figures were computed with these very weights, so that the
            names FID, KID and Inception Score are right.
        num_classes: Number of the data's classes that the logits tell apart; None where there are
            no logits or they are of other classes.
        least_logit: A sample none of whose logits is above it belongs to no class.
    """

    published = False
    num_classes: int | None = None
    least_logit = -math.inf

    def __init__(self, name: str, resize: str = "none", layer: str = "") -> None:
        super().__init__()
        self.name = name
        self.resize = resize
        self.layer = layer

    @abstractmethod
    def describe(self, images: Tensor) -> Description:
        """Describe images.

        Args:
            images: (N, C, H, W) uint8.
        """

    @torch.no_grad()
    def forward(self, images: Tensor) -> Description:
        """Describe images, without gradient and in full precision.

        Args:
            images: (N, C, H, W) uint8 in [0, 255].

        Raises:
            TypeError: If the images are no bytes.
            ValueError: If they are of another shape, or what the network returns is not of shape
                (N, d) and (N, K) and finite.
        """
        self._check_input(images)
        self.train()  # parts that a constructor added were still in training mode
        with torch.autocast(images.device.type, enabled=False):
            features, logits = self.describe(images)
        self._check_output("features", features, len(images))
        if logits is None:
            return Description(features.float())
        self._check_output("logits", logits, len(images))
        return Description(features.float(), logits.float())

    def _check_input(self, images: Tensor) -> None:
        if images.dtype != torch.uint8:
            raise TypeError(
                f"Expected 'images' to be uint8 in [0, 255], got {images.dtype}. Images in [-1, 1] "
                "become such by lightning_gan.functional.to_uint8."
            )
        if images.dim() != 4 or not images.numel():
            raise ValueError(
                f"Expected 'images' to have shape (N, C, H, W), got {tuple(images.shape)}."
            )

    def _check_output(self, kind: str, output: Tensor, size: int) -> None:
        if output.dim() != 2 or len(output) != size:
            raise ValueError(
                f"Expected the extractor '{self.name}' to return {kind} ({size}, d), got "
                f"{tuple(output.shape)}."
            )
        if not bool(output.isfinite().all()):
            raise ValueError(
                f"Expected finite {kind} of the extractor '{self.name}', got NaN or infinity."
            )

    def digest(self) -> str:
        """Return the SHA-256 of what decides its answers: layers, resizing and weights."""
        digest = hashlib.sha256(f"{self.resize}|{self.layer}".encode())
        for name, module in self.named_modules():
            digest.update(f"|{name} {type(module).__qualname__}".encode())
        for name, tensor in [*self.named_parameters(), *self.named_buffers()]:
            digest.update(f"|{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            flat = tensor.detach().cpu().contiguous().view(-1)
            digest.update(flat.view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode."""
        return super().train(False)

    def state_dict(self, *, destination: Any = None, **_: Any) -> Any:
        """Return nothing: weights of extractors belong into no checkpoint."""
        return {} if destination is None else destination

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Keep the own weights, so that a module that holds this one can load its checkpoint."""
        _, _, _, unexpected, _ = args
        foreign = [key for key in state_dict if key.startswith(prefix)]
        unexpected.extend(foreign)
        for key in foreign:
            del state_dict[key]
        # Found by the parts of this module, which are asked after it.
        state_dict.update(super().state_dict(prefix=prefix))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Follow to another device, but not to another type."""

        def moved(tensor: Tensor) -> Tensor:
            result = fn(tensor)
            return result if result.dtype == tensor.dtype else tensor.to(result.device)

        return super()._apply(moved, recurse)  # type: ignore[no-untyped-call, no-any-return]
