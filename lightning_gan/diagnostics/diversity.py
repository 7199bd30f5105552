"""How much generated samples differ from each other."""

import torch
from torch import Tensor

from lightning_gan.diagnostics.precision import widest
from lightning_gan.training.distributed import average

_NEAR = 0.1  # of the typical distance to the nearest real sample


def diversity(real: Tensor, fake: Tensor) -> dict[str, float]:
    r"""Compare distances within a batch of generated samples with those among real ones.

    - ``diversity``: mean Euclidean distance of two generated samples over that of two real ones:
      1 where they vary alike, 0 where all generated samples are the same. It sees a collapse to one
      mode, not one to a few that are far apart.
    - ``duplicates``: share of the generated samples that have a twin, another one nearer than a
      tenth of what is typical, the median distance of a real sample to its nearest other one, in
      excess of the share of real samples that have one. It sees samples that repeat, in however
      many modes; where real ones repeat as much, as blank images do, it is 0. Samples that fill d
      dimensions evenly, so that the distance r to the nearest has
      :math:`P(r < t m) = 1 - 2^{-t^d}` with the median m, have twins in :math:`1 - 2^{-0.1^d}` of
      the cases: 0.07 on a line, 0.007 in the plane, and next to none for images.

    Each is left out where the real samples are all the same by its measure. Under ddp the distances
    are averaged over the processes, each of its own samples.

    Args:
        real: Real samples, (N, ...), at least 2.
        fake: Generated ones, (M, ...), at least 2, of the same shape.

    Returns:
        Figures by name.

    Raises:
        ValueError: If there are fewer than 2 samples of a kind.

    Example:
        >>> real = torch.tensor([[0.0], [1.0], [2.0]])
        >>> diversity(real, torch.tensor([[0.0], [0.0625], [2.0]]))
        {'diversity': 1.0, 'duplicates': 0.6666666666666666}
    """
    (real_mean, real_nearest), (fake_mean, fake_nearest) = _distances(real), _distances(fake)
    typical, among_real, among_fake = average(
        torch.stack([real_nearest.median(), real_mean, fake_mean])
    )
    figures = {}
    if among_real > 0:
        figures["diversity"] = float(among_fake / among_real)
    if typical > 0:
        twins = [(x < _NEAR * typical).to(x.dtype).mean() for x in (real_nearest, fake_nearest)]
        of_real, of_fake = average(torch.stack(twins)).tolist()
        figures["duplicates"] = max(0.0, of_fake - of_real)
    return figures


def _distances(samples: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean distance of two samples, and that of each to its nearest other one."""
    if len(samples) < 2:
        raise ValueError(f"Expected at least 2 samples of each kind, got {len(samples)}.")
    rows = samples.detach().flatten(start_dim=1)
    rows = rows.to(torch.promote_types(rows.dtype, torch.float32))
    # Not from products, which round the distance of copies to something else than 0.
    distances = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")
    distances = distances.to(widest(rows.device))
    mean = distances.sum() / (len(rows) * (len(rows) - 1))
    return mean, distances.fill_diagonal_(torch.inf).min(dim=1).values
