"""What turns a discriminator's features into logits."""

from typing import Literal

from torch import Tensor, nn

from lightning_gan.layers import MinibatchDiscrimination, MinibatchStdDev

Minibatch = Literal["none", "stddev", "discrimination"]


class Head(nn.Module):
    r"""Map features to logits by a linear layer, and by a product with the class's embedding.

    .. math:: D(x, y) = l(\phi(x)) + \langle e(y), \phi(x) \rangle

    Args:
        in_features: Length F of a sample's features.
        num_outputs: Logits per sample.
        num_classes: Number of classes with an embedding; None leaves out the second term.
        minibatch: Layer that shows the features of the whole batch to both terms; see
            :class:`~lightning_gan.layers.MinibatchStdDev` and
            :class:`~lightning_gan.layers.MinibatchDiscrimination`.

    Attributes:
        num_classes: Number of classes; if it is not None, the labels are the second argument.

    Raises:
        ValueError: If ``minibatch`` is none of the names.

    Reference:
        Miyato and Koyama, "cGANs with Projection Discriminator", ICLR 2018,
        https://arxiv.org/abs/1802.05637, eq. (5). The embedding starts as in the authors' code,
        unless its network draws it otherwise.
    """

    chain = ("minibatch", "linear")  # for `lipschitz_bound`; a projection needs labels, unlike it

    def __init__(
        self,
        in_features: int,
        num_outputs: int = 1,
        num_classes: int | None = None,
        minibatch: Minibatch = "none",
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.minibatch, in_features = _minibatch(minibatch, in_features)
        self.linear = nn.Linear(in_features, num_outputs)
        self.embedding: nn.Embedding | None = None
        if num_classes is not None:
            self.embedding = nn.Embedding(num_classes, in_features)
            nn.init.xavier_uniform_(self.embedding.weight)

    def forward(self, features: Tensor, labels: Tensor | None = None) -> Tensor:
        """Map features (N, F), and labels (N,) int64 where there are classes, to (N, K) logits."""
        features = self.minibatch(features)
        logits: Tensor = self.linear(features)
        if self.embedding is not None:
            logits = logits + (self.embedding(labels) * features).sum(dim=1, keepdim=True)
        return logits


def _minibatch(kind: Minibatch, features: int) -> tuple[nn.Module, int]:
    """Return a layer and the length of the features that it returns."""
    match kind:
        case "none":
            return nn.Identity(), features
        case "stddev":
            return MinibatchStdDev(), features + 1
        case "discrimination":
            layer = MinibatchDiscrimination(features)
            return layer, layer.out_features
    raise ValueError(
        f"Expected 'minibatch' to be 'none', 'stddev' or 'discrimination', got '{kind}'."
    )
