"""What is done where a training turns ill: it stops, or goes back and on with lower rates."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn

from lightning_gan.callbacks.diagnostics import Diagnostics
from lightning_gan.callbacks.evaluation import Evaluation
from lightning_gan.callbacks.healthy_points import HealthyPoints, Point
from lightning_gan.callbacks.lookahead import LookaheadMinimax
from lightning_gan.callbacks.models import expect_model
from lightning_gan.diagnostics.signs import NAMES
from lightning_gan.gans.base import AdversarialModule
from lightning_gan.metrics import SEVERE, VERDICTS
from lightning_gan.training.arguments import check_choice
from lightning_gan.training.optimizers import scale_learning_rates

Action = Literal["stop", "roll_back"]
_ACTIONS = ("stop", "roll_back")


class _Illness(NamedTuple):
    """Why something is to be done.

    Attributes:
        what: Its name.
        since: Generator iterations at the first sign.
        patience: For how many iterations there must be signs of it.
    """

    what: str
    since: int
    patience: int


class CollapseGuard(Callback):
    """Stop a training on chosen alarms, or take it back to where it was healthy.

    ``roll_back`` loads the networks, the averaged generator, the optimisers' moments, the state of
    penalties and of the augmentation, the replay memory and the weights of
    :class:`~lightning_gan.callbacks.LookaheadMinimax` as they were, and multiplies both learning
    rates, whatever sets them, by ``factor`` from then on. Time does not go back: iterations, images
    seen, schedules and the data go on, so that ``max_steps`` bounds the work and other samples and
    latents follow than those that led to the illness. All alarms begin anew, with their grace.
    After ``most`` times the next alarm stops the training. Networks that grow do not go back to a
    lower resolution.

    The points to go back to are ordinary checkpoints in ``guard`` in the run's folder: the start of
    the training, and from then on one every so often, as long as there is no sign of a chosen
    alarm. Taken is the newest one from which on the training was healthy for as many measurements
    as the alarm has patience; the start of a training needs none. Older ones are deleted. A run
    that resumes knows those that are still there; if none is, its own start is the first.

    List it behind :class:`~lightning_gan.callbacks.Diagnostics`, whose alarms it heeds, and
    :class:`~lightning_gan.callbacks.Evaluation`, whose verdicts count where they are severe, after
    its ``grace`` evaluations and ``patience`` times in succession. A value that is not finite ends
    a training before any alarm. An alarm that was raised before this callback joined, in a resume,
    counts once it is raised anew, of which a warning tells, as it does of alarms that this training
    cannot raise. With ``fast_dev_run`` nothing is done.

    Args:
        on: Alarms, such as ``samples collapse``, and verdicts, such as ``mode dropping``; with none
            nothing is done. See :data:`~lightning_gan.diagnostics.NAMES`.
        action: What is done.
        factor: By which the rates are multiplied each time.
        most: How often the training goes back.
        every_n_steps: Generator iterations between two points, at least.

    Attributes:
        rate_factor: By which the rates are multiplied by now.

    Raises:
        ValueError: If a name is unknown or a number out of range; before the training, if what it
            heeds does not run before it.
    """

    def __init__(
        self,
        on: Sequence[str] = (),
        action: Action = "stop",
        factor: float = 0.5,
        most: int = 3,
        every_n_steps: int = 500,
    ) -> None:
        for name in on:
            check_choice("on", name, (*NAMES, *VERDICTS[1:]))
        check_choice("action", action, _ACTIONS)
        if not 0 < factor <= 1:
            raise ValueError(f"Expected 'factor' to be in (0, 1], got {factor}.")
        for argument, value in {"most": most, "every_n_steps": every_n_steps}.items():
            if value < 1:
                raise ValueError(f"Expected '{argument}' to be at least 1, got {value}.")
        self.on = tuple(on)
        self.action = action
        self.factor = factor
        self.most = most
        self.every_n_steps = every_n_steps
        self._diagnostics: Diagnostics | None = None
        self._evaluation: Evaluation | None = None
        self._handles: list[Any] = []
        self._forget()

    def _forget(self) -> None:
        self.rate_factor = 1.0
        self._times = 0  # that the training went back
        self._points = HealthyPoints()
        self._evaluated = (0, -1, 0)  # how many were looked at, the last's step, the gap before it
        self._severe: list[int] = []  # steps of those that were severe in succession

    @property
    def _alarms(self) -> list[str]:
        return [name for name in self.on if name in NAMES]

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find what is heeded.

        Raises:
            ValueError: If it is not there, not active, or works after this callback.
        """
        if stage != "fit" or not self._at_work(trainer):
            return
        self._model(pl_module)
        before: list[Any] = trainer.callbacks[: trainer.callbacks.index(self)]  # type: ignore[attr-defined]
        heeded: list[Any] = [
            next((one for one in before if isinstance(one, kind) and one.active), None)
            for kind in (Diagnostics, Evaluation)
        ]
        self._diagnostics, self._evaluation = heeded
        for kind, found, wanted in (
            ("Diagnostics", heeded[0], self._alarms),
            ("Evaluation", heeded[1], [name for name in self.on if name in VERDICTS]),
        ):
            if wanted and found is None:
                raise ValueError(
                    f"Expected an active '{kind}' before CollapseGuard among the callbacks, which "
                    f"heeds {wanted}, got none."
                )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the start to go back to, where nothing else is kept, and scale the rates."""
        if not self._at_work(trainer):
            return
        if trainer.global_step == 0:
            self._forget()
        self._warn_of_idle(self._model(pl_module))
        if self.action != "roll_back":
            return
        self._points.open(trainer, pl_module)
        self._handles = [
            handle
            for optimizer in trainer.optimizers
            for handle in scale_learning_rates(optimizer, lambda: self.rate_factor)
        ]
        if not self._points.steps() and not self._suspects():
            self._points.keep(trainer, self._delay(trainer))

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Have the factor logged once it is not 1."""
        if self.rate_factor != 1:
            self._model(pl_module).note("rate_factor", self.rate_factor)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any
    ) -> None:
        """Act on an illness, or keep a healthy point."""
        if not self._at_work(trainer):
            return
        self._points.follow_growth(trainer)
        illnesses = [*self._from_alarms(trainer), *self._from_verdict(trainer)]
        if illnesses:
            self._act(trainer, self._model(pl_module), illnesses)
        elif self.action == "roll_back" and self._is_due(trainer):
            self._points.keep(trainer, self._delay(trainer))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the optimisers as they were."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def state_dict(self) -> dict[str, Any]:
        """Return what was done, and what there is to go back to."""
        return {
            "rate_factor": self.rate_factor,
            "times": self._times,
            "points": self._points.state(),
            "evaluated": self._evaluated,
            "severe": list(self._severe),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what was done."""
        self.rate_factor = state_dict["rate_factor"]
        self._times = state_dict["times"]
        self._points = HealthyPoints(Point(*point) for point in state_dict["points"])
        self._evaluated = tuple(state_dict["evaluated"])
        self._severe = list(state_dict["severe"])

    def _at_work(self, trainer: Trainer) -> bool:
        dry: bool = trainer.fast_dev_run  # type: ignore[attr-defined]
        return bool(self.on) and not dry

    def _warn_of_idle(self, model: AdversarialModule) -> None:
        """Tell of alarms that are raised already, and thus not raised now, or that cannot be."""
        found = self._diagnostics
        if found is None:
            return
        raised = [name for name in self._alarms if found.alarms.active[name]]
        if raised:
            rank_zero_warn(
                f"{raised} of 'on' of CollapseGuard were raised before this start. It acts if they "
                "are raised anew; resume from an earlier checkpoint to have the illness avoided."
            )
        silent = [name for name in self._alarms if name in found.silent(model)]
        if silent:
            rank_zero_warn(
                f"Expected 'on' of CollapseGuard to hold alarms that this training can raise, got "
                f"{silent}, whose figures are not measured: they need held-out samples, clipped "
                "weights or an interval of Diagnostics."
            )

    def _model(self, pl_module: LightningModule) -> AdversarialModule:
        return expect_model(pl_module, AdversarialModule, self)  # type: ignore[type-abstract]

    def _from_alarms(self, trainer: Trainer) -> list[_Illness]:
        """Return the chosen alarms that were raised after this iteration."""
        found, step = self._diagnostics, trainer.global_step
        if found is None or found.last_step != step:
            return []
        mine = [one for one in found.raised if one.name in self.on]
        return [_Illness(one.name, one.since, found.patience_of(one.name)) for one in mine]

    def _from_verdict(self, trainer: Trainer) -> list[_Illness]:
        """Return the verdict, where the last evaluation is new and the last few were severe."""
        count, last, _ = self._evaluated
        found = self._evaluation
        if found is None or found.last_step <= last or found.report is None:
            return []
        step, report = found.last_step, found.report
        self._evaluated = (count + 1, step, step - last if last >= 0 else 0)
        severe = report.verdict in self.on and (report.severity or 0.0) >= SEVERE
        # One decision for all processes, whose figures may differ in their last digits.
        severe = trainer.strategy.reduce_boolean_decision(severe, all=False)
        self._severe = [*self._severe, step] if severe and count >= found.grace else []
        if len(self._severe) < found.patience:
            return []
        since, self._severe = self._severe[0], []
        return [_Illness(str(report.verdict), since, found.patience * (step - last))]

    def _suspects(self) -> bool:
        """Tell whether there is a sign of what is heeded."""
        found = self._diagnostics
        return bool(self._severe) or (found is not None and found.alarms.suspects(self._alarms))

    def _delay(self, trainer: Trainer) -> int:
        """Return how many iterations an illness can go on before it is known.

        Before two evaluations it may go on since the start.
        """
        alarms, evaluation = self._diagnostics, self._evaluation
        delays = [0]
        if alarms is not None:
            delays += [alarms.patience_of(name) for name in self._alarms]
        if evaluation is not None and self._alarms != [*self.on]:  # some are verdicts
            delays.append(evaluation.patience * self._evaluated[2] or trainer.global_step)
        return max(delays)

    def _is_due(self, trainer: Trainer) -> bool:
        """Tell whether this is a healthy point that is worth to be kept."""
        step, found = trainer.global_step, self._diagnostics
        measured = found is None or (found.last_step == step and found.alarms.settled)
        steps = self._points.steps()
        waited = not steps or step - steps[-1] >= max(self.every_n_steps, self._delay(trainer))
        return measured and waited and not self._suspects()

    def _act(self, trainer: Trainer, model: AdversarialModule, illnesses: list[_Illness]) -> None:
        """Go back, or stop where that is asked for or of no use."""
        names = ", ".join(illness.what for illness in illnesses)
        said = f"After {trainer.global_step:,} generator iterations ({names}) the training"
        limit = min(max(illness.since - illness.patience, 0) for illness in illnesses)
        point = self._points.until(limit)
        if self.action == "roll_back" and point is not None and self._times < self.most:
            self._go_back(trainer, model, point)
            rank_zero_warn(
                f"{said} goes back to the weights of iteration {point.step:,}, and on with "
                f"{self.rate_factor:g} of both learning rates."
            )
            return
        reason = ""
        if self.action == "roll_back":
            reason = f": it has gone back {self._times} times" if point is not None else ""
            reason = reason or ": there is no healthy point to go back to"
        rank_zero_warn(f"{said} stops{reason}.")
        trainer.should_stop = True

    def _go_back(self, trainer: Trainer, model: AdversarialModule, point: Point) -> None:
        """Load all that is trained or learnt, and leave the time as it is."""
        checkpoint = trainer.strategy.load_checkpoint(point.path)
        images = model.images_seen
        model.on_load_checkpoint(checkpoint)
        model.images_seen = images
        trainer.strategy.load_model_state_dict(checkpoint)
        pairs = zip(checkpoint["optimizer_states"], trainer.optimizers, strict=True)
        # The groups hold what schedules have set.
        states = [old | {"param_groups": new.state_dict()["param_groups"]} for old, new in pairs]
        trainer.strategy.load_optimizer_state_dict({"optimizer_states": states})
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        for callback in callbacks:
            if isinstance(callback, LookaheadMinimax):
                kept = checkpoint["callbacks"].get(callback.state_key)
                if kept is None:  # it joined in a resume: from these weights on
                    callback.setup(trainer, model, "fit")
                else:
                    callback.load_state_dict(kept)
                callback.on_train_start(trainer, model)
        if self._diagnostics is not None:
            self._diagnostics.forget_signs()
        if self._evaluation is not None:
            self._evaluation.withdraw(trainer.global_step)
        self._severe = []
        self._times += 1
        self.rate_factor *= self.factor
        self._points.forget_after(trainer, point.step)
