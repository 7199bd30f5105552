"""What an evaluation found, with the definition of each figure, for people and for programs."""

import csv
import io
import json
import math
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

DEFINITIONS = {
    "fid": "Fréchet distance of Inception features, published protocol",
    "kid": "kernel distance of Inception features, cubic kernel, unbiased, all pairs",
    "inception_score": "mean over 10 parts, published protocol",
    "inception_score_std": "standard deviation over these parts",
    "fd": "Fréchet distance of features; comparable only within this extractor",
    "kd": "kernel distance of features, cubic kernel, unbiased, all pairs",
    "score": "as the Inception score, by this extractor's classes, 10 parts",
    "precision": "share of generated samples in balls around real ones, k = 3",
    "recall": "share of real samples in balls around generated ones, k = 3",
    "density": "balls around real samples that hold a generated one, over k = 5",
    "coverage": "share of real balls that hold a generated sample, k = 5",
    "memorization": "chance to be nearer to the training set than a held-out sample; 0.5 is right",
    "copies": "share nearer to the training set than 99 % of held-out samples",
    "modes": "classes that occur among the generated samples",
    "mode_kl": "KL(generated || real) of the classes, nats",
    "high_quality": "share of generated samples within 3 standard deviations of a mode",
}

# What a metric takes that not every comparison has.
_NEEDS = {
    "inception_score": "takes an extractor with logits and 10 samples",
    "modes": "takes a classifier of the data's classes",
    "memorization": "takes held-out real samples",
}


@dataclass(frozen=True)
class Report:
    """An evaluation's figures, what they are, and what they say.

    Attributes:
        figures: Values by name.
        protocol: What decides them: numbers of samples, extractor, its digest, resizing, versions.
        verdict: Its name; None without neighbours.
        explanation: The verdict in a sentence, with the figures that it rests on.
        notes: What else a reader must know, such as the floor of a small sample.
        severity: That of the verdict, from 0 to 1.
    """

    figures: dict[str, float]
    protocol: dict[str, str | int]
    verdict: str | None = None
    explanation: str | None = None
    notes: tuple[str, ...] = ()
    severity: float | None = None

    def text(self) -> str:
        """Return a table for people."""
        width = max(map(len, [*self.figures, *self.protocol]))
        lines = [
            f"{name:{width}}  {value:>11.5g}  {definition(name)}"
            for name, value in self.figures.items()
        ]
        lines += ["", *(f"{name:{width}}  {value}" for name, value in self.protocol.items())]
        lines += ["", *self.notes] if self.notes else []
        lines += ["", f"Verdict: {self.explanation}"] if self.explanation else []
        return "\n".join(lines)

    def csv(self) -> str:
        """Return one line for each figure: its name, value and definition."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(["figure", "value", "definition"])
        writer.writerows([name, value, definition(name)] for name, value in self.figures.items())
        writer.writerows([name, value, "protocol"] for name, value in self.protocol.items())
        if self.verdict:
            writer.writerow(["verdict", self.verdict, self.explanation])
        writer.writerows(["note", "", note] for note in self.notes)
        return buffer.getvalue()

    def json(self) -> str:
        """Return all of it for programs; a figure that is no finite number is null."""
        content = asdict(self) | {
            "figures": {n: v if math.isfinite(v) else None for n, v in self.figures.items()},
            "definitions": {name: definition(name) for name in self.figures},
        }
        return json.dumps(content, indent=2, ensure_ascii=False)

    def write(
        self, folder: Path, name: str = "evaluation", kinds: Sequence[str] = ("txt", "csv", "json")
    ) -> Path:
        """Write ``<name>.txt``, ``<name>.csv`` and ``<name>.json``, or some of them.

        Returns:
            The folder.
        """
        contents = {"txt": self.text, "csv": self.csv, "json": self.json}
        folder.mkdir(parents=True, exist_ok=True)
        for kind in kinds:
            path = folder / f"{name}.{kind}"
            path.write_text(contents[kind]().rstrip("\n") + "\n", encoding="utf-8")
        return folder


def definition(figure: str) -> str:
    """Say what a figure is, in words."""
    kind, _, extractor = figure.partition("/")
    if kind == "score" and extractor.endswith("_std"):
        kind = "inception_score_std"
    return DEFINITIONS.get(kind, "")


def note_of_floor(distance: float, floor: float, real: int, fake: int, width: int) -> str:
    """Say below which Fréchet distance nothing can get with so few samples.

    Args:
        distance: The one that was measured.
        floor: See :func:`~lightning_gan.functional.frechet_distance_floor`.
        real: Number of real samples.
        fake: Number of generated samples.
        width: Number of features.
    """
    if floor < distance:
        share = f"{100 * floor / distance:.2g} % of the measured {distance:.4g}"
    else:
        share = f"no less than the measured {distance:.4g}"
    note = (
        f"Even a perfect generator's {fake:,} samples would be at a Fréchet distance of about "
        f"{floor:.4g} from {real:,} real ones, {share}; this floor falls as the numbers grow. "
        "Compare only distances of equally many samples; the kernel distance has no floor."
    )
    if min(real, fake) > width:
        return note
    return f"{note} With no more samples than the {width:,} features neither says much."


def note_of_absence(metrics: Collection[str], figures: Collection[str]) -> str | None:
    """Say which metrics were asked for in vain, and why; None if there are none."""
    shown = {name.partition("/")[0].removeprefix("inception_") for name in figures}
    absent = [
        f"{metric} {needs}"
        for metric, needs in _NEEDS.items()
        if metric in metrics and metric.removeprefix("inception_") not in shown
    ]
    return f"Left out: {'; '.join(absent)}." if absent else None
