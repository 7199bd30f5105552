"""A few samples that a training does not see."""

from lightning import Trainer

from lightning_gan.callbacks.run import first_of
from lightning_gan.metrics.real_samples import SampleSet, SetOfSamples, own_part, replayed, some_of
from lightning_gan.training.batch import Batch, unpack


def held_out_samples(trainer: Trainer, count: int) -> Batch | None:
    """Return this process's share of some samples that the training does not see, on the CPU.

    They are drawn at random, as a file of samples may well be sorted by class, but the same each
    time: from the test set of our data modules, or from what the first of the validation's loaders
    delivers, if it is torch's and can be asked for any of its samples. Of another loader they are
    the first ones.

    Args:
        trainer: The run's, with its data set up.
        count: How many at most, for each process.

    Returns:
        The samples; None if the run has none.
    """
    held_out = getattr(getattr(trainer, "datamodule", None), "test_set", None)
    if isinstance(held_out, SampleSet):
        ranks = (trainer.world_size, trainer.global_rank)
        samples = SetOfSamples(held_out, count * trainer.world_size, count, ranks)
        return Batch(*held_out[own_part(samples.index, *ranks)])
    loader = first_of(trainer.val_dataloaders)
    if loader is None:
        return None
    with replayed(loader):
        batch = next(iter(some_of(loader, count, count)), None)
    return None if batch is None else unpack(batch).rows(slice(count))
