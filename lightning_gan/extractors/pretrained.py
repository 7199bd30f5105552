"""Networks pretrained elsewhere, as torch-fidelity knows them: DINOv2, CLIP, VGG16."""

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.random import fork_rng
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

from lightning_gan.extractors.base import Description, Extractor
from lightning_gan.extractors.color import as_rgb
from lightning_gan.extractors.files import existing, file_digest, file_kind, read_weights


def pretrained_models() -> list[str]:
    """Return the models of :class:`PretrainedExtractor`: all of torch-fidelity's but Inception."""
    return [
        name
        for name, kind in FEATURE_EXTRACTORS_REGISTRY.items()
        if not issubclass(kind, FeatureExtractorInceptionV3)
    ]


class PretrainedExtractor(Extractor):
    """Describe images by a network that torch-fidelity knows, and loads.

    Images with one channel become grey ones with three. There are no logits.

    Args:
        model: Such as "dinov2-vit-b-14", "clip-vit-b-32" or "vgg16"; :func:`pretrained_models`
            lists them, with those that ``torch_fidelity.register_feature_extractor`` added.
        weights: Local file, in the form in which torch-fidelity would download it. None takes
            torch hub's copy, which is downloaded once. Some models, DINOv2 among them, can come
            from torch hub only.
        layer: Which of the model's features; None takes torch-fidelity's choice for FID. Figures
            of another layer are named by it, ``fd/vgg16-fc2``.

    Raises:
        ValueError: If the model or the layer is unknown, or the file holds something else.
        FileNotFoundError: If there is no such file, or the download fails.

    Reference:
        Stein et al., "Exposing flaws of generative model evaluation metrics and their unfair
        treatment of diffusion models", NeurIPS 2023, https://arxiv.org/abs/2306.04675 (DINOv2
        follows human judgement best).

    Note:
        With local weights, the name ends with the start of the SHA-256 of their file: this library
        does not know which ones are the published ones. DINOv2's code comes from its repository
        through torch hub, and CLIP's file is TorchScript, which both run code.
    """

    def __init__(
        self, model: str, weights: Path | str | None = None, layer: str | None = None
    ) -> None:
        if model not in pretrained_models():
            raise ValueError(
                f"Expected 'model' to be one of {pretrained_models()}, got {model!r}. Inception is "
                "an extractor of its own."
            )
        kind: type[FeatureExtractorBase] = FEATURE_EXTRACTORS_REGISTRY[model]
        default = kind.get_default_feature_layer_for_metric("fid")
        layers = kind.get_provided_features_list()
        layer = default if layer is None else layer
        if layer not in layers:
            raise ValueError(
                f"Expected 'layer' of '{model}' to be one of {tuple(layers)}, got {layer!r}."
            )
        path = None if weights is None else existing(weights, "weights")
        parts = [model, *([] if path is None else [file_digest(path)[:8]])]
        parts += [] if layer == default else [layer]
        network = _built(kind, model, layer, path)
        super().__init__("-".join(parts), _resizing(network), layer)
        self.network = network
        self.requires_grad_(False)

    def describe(self, images: Tensor) -> Description:
        """Describe images.

        Args:
            images: (N, 1 or 3, H, W) uint8.

        Raises:
            ValueError: If the images have another number of channels.
        """
        (features,) = self.network(as_rgb(images, self.name))
        return Description(features)


def _built(kind: Any, model: str, layer: str, path: Path | None) -> nn.Module:
    """Build a network; torch-fidelity reads its weights."""
    if path is not None and file_kind(path) != "torchscript":
        read_weights(path, "weights")  # because torch-fidelity would unpickle anything
    try:
        # Weights are drawn only to be replaced, and not at the cost of the run's random numbers.
        with fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of torch.jit.load, for CLIP
            network: nn.Module = kind(
                model, [layer], feature_extractor_weights_path=None if path is None else str(path)
            )
    except NotImplementedError as error:
        raise ValueError(
            f"Expected 'weights' to be None for '{model}', which torch-fidelity loads from torch "
            f"hub only, got {path}. {_elsewhere()}"
        ) from error
    except Exception as error:  # whatever a network's own constructor raises
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        if path is None:
            raise FileNotFoundError(
                f"Expected to load '{model}' from torch hub, got {reason}. {_elsewhere()} Or give "
                "a local file as 'weights', where the model can be loaded from one."
            ) from error
        raise ValueError(
            f"Expected 'weights' to be a file of '{model}', got {path}: {reason}"
        ) from error
    return network


def _elsewhere() -> str:
    return (
        "Without internet, load the same extractor on a machine that has it and copy its folder "
        f"of torch hub, which is {torch.hub.get_dir()} here."
    )


def _resizing(network: nn.Module) -> str:
    side = getattr(network, "resolution", getattr(network, "INPUT_IMAGE_SIZE", None))
    return "the network's own" if side is None else f"bilinear of TensorFlow 1 to {side}"
