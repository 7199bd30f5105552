"""The network of FID, KID and Inception Score: TensorFlow's Inception of 2015."""

import io
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch_fidelity.feature_extractor_inceptionv3 import (
    URL_INCEPTION_V3,
    FeatureExtractorInceptionV3,
)

from lightning_gan.extractors.base import Description, Extractor
from lightning_gan.extractors.color import as_rgb
from lightning_gan.extractors.files import check_fit, existing, file_digest, read_weights

InceptionLayer = Literal["64", "192", "768", "2048"]

# Torch hub's convention: a file's name ends with the start of its SHA-256.
_PUBLISHED_DIGEST = Path(URL_INCEPTION_V3).stem.rpartition("-")[2]


class Inception(Extractor):
    """Describe images as published figures do: features and logits of TensorFlow's Inception.

    The network, its weights and its resizing are those of torch-fidelity, which agree with
    TensorFlow's to the last bits. Images with one channel become grey ones with three.

    Args:
        weights: Local file of the weights. None takes torch hub's copy, which is downloaded once.
        layer: Which features: "2048" for the last ones, those of published figures and the only
            ones that come with logits, or the means over the maps of an earlier layer. Figures of
            another layer are named by it, ``fd/inception-768``.

    Attributes:
        published: Whether the weights and the layer are the published ones. With other weights,
            the name ends with the start of their file's SHA-256, ``inception-1a2b3c4d``.

    Raises:
        FileNotFoundError: If there is no such file, or no internet to download it from.
        ValueError: If the file holds no weights or those of another network, or ``layer`` is
            unknown.

    Reference:
        Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", CVPR 2016,
        https://arxiv.org/abs/1512.00567; Heusel et al., "GANs Trained by a Two Time-Scale Update
        Rule Converge to a Local Nash Equilibrium", NeurIPS 2017,
        https://arxiv.org/abs/1706.08500; Parmar et al., "On Aliased Resizing and Surprising
        Subtleties in GAN Evaluation", CVPR 2022, https://arxiv.org/abs/2104.11222 (why the
        resizing matters).

    Note:
        The logits are those without the last layer's bias, of 1008 classes of ImageNet, by which
        the Inception Score is computed.
    """

    def __init__(self, weights: Path | str | None = None, layer: InceptionLayer = "2048") -> None:
        if layer not in get_args(InceptionLayer):
            raise ValueError(
                f"Expected 'layer' to be one of {get_args(InceptionLayer)}, got {layer!r}."
            )
        path = _hub_copy() if weights is None else existing(weights, "weights")
        digest = file_digest(path)
        genuine = digest.startswith(_PUBLISHED_DIGEST)
        if weights is None and not genuine:
            raise ValueError(
                f"Expected torch hub's copy of the weights to have a SHA-256 that starts with "
                f"{_PUBLISHED_DIGEST}, got {digest[:8]}. Delete {path} to download it anew."
            )
        parts = ["inception", *([] if genuine else [digest[:8]])]
        parts += [] if layer == "2048" else [layer]
        side = FeatureExtractorInceptionV3.INPUT_IMAGE_SIZE
        super().__init__("-".join(parts), f"bilinear of TensorFlow 1 to {side}", layer)
        self.published = genuine and layer == "2048"
        self.network = _network(
            ["2048", "logits_unbiased"] if layer == "2048" else [layer],
            read_weights(path, "weights"),
            path,
        )
        self.requires_grad_(False)

    def describe(self, images: Tensor) -> Description:
        """Describe images.

        Args:
            images: (N, 1 or 3, H, W) uint8.

        Returns:
            Features (N, d) and, for the last layer, logits (N, 1008).

        Raises:
            ValueError: If the images have another number of channels.
        """
        return Description(*self.network(as_rgb(images, self.name)))


class _Network(FeatureExtractorInceptionV3):  # type: ignore[misc]
    """Torch-fidelity's network, whose constructor insists on weights, and would unpickle them."""

    def load_state_dict(self, state_dict: Any, *args: Any, **kwargs: Any) -> Any:
        return super().load_state_dict(state_dict, *args, **kwargs) if state_dict else None


def _network(layers: list[str], state: dict[str, Tensor], path: Path) -> _Network:
    nothing = io.BytesIO()
    torch.save({}, nothing)
    nothing.seek(0)
    # Without memory, so that no weights are drawn: training would go another way for it.
    with torch.device("meta"):
        network = _Network("inception-v3-compat", layers, feature_extractor_weights_path=nothing)
    check_fit(network, state, path, "weights")
    network.load_state_dict(state, assign=True)
    network.float()
    return network


def _hub_copy() -> Path:
    """Return torch hub's copy of the published weights, which is downloaded if there is none."""
    path = Path(torch.hub.get_dir(), "checkpoints", Path(URL_INCEPTION_V3).name)
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(URL_INCEPTION_V3, str(path), _PUBLISHED_DIGEST)
        except (OSError, RuntimeError) as error:  # no connection; another content
            raise FileNotFoundError(
                f"Expected to download the weights of Inception, got {error}. Fetch "
                f"{URL_INCEPTION_V3} on a machine with internet and give its path as "
                "'weights' (the 'extractor_weights' of Evaluation and of lightning-gan evaluate), "
                f"or put it at {path}; or choose another 'extractor', such as a file of "
                "lightning-gan fit-extractor."
            ) from error
    return path
