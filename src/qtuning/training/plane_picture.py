"""The plane at the end of a run as a picture, for the trackers that show the run's metrics."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from accelerate.logging import get_logger
from transformers import Trainer, TrainerCallback
from transformers.integrations import TensorBoardCallback, TrackioCallback, WandbCallback

from ..errors import UsageError
from ..run.card import PLANE_FILE
from ..run.eu_plane import plot_eu_plane
from ..run.record import RunRecord

logger = get_logger(__name__)

NAME = "pruning/plane"
"""The name of the picture in a tracker."""
_MOST = 4096
_TRACKERS: tuple[type[TrainerCallback], ...] = (
    TensorBoardCallback,
    TrackioCallback,
    WandbCallback,
)


def log_plane(trainer: Trainer, record: RunRecord) -> None:
    """Draw the run's last decisions on the plane, and show them in its trackers.

    The picture is also in the output folder. There is none without a tracker that shows pictures,
    without matplotlib, or where no candidate was scored.

    Args:
        trainer: The trainer, whose trackers are open; every process may call this.
        record: The record of its run.
    """
    trackers = [one for one in trainer.callback_handler.callbacks if isinstance(one, _TRACKERS)]
    if not trackers or not trainer.is_world_process_zero() or find_spec("matplotlib") is None:
        return
    path = Path(vars(trainer.args)["output_dir"]) / PLANE_FILE
    try:
        plot_eu_plane(record.last_decisions(_MOST), path, "The plane at the end of the run")
    except UsageError as why:  # a run without scores has no plane
        logger.debug(f"no picture of the plane: {why}")
        return
    for tracker in trackers:
        _show(tracker, path, trainer.state.global_step)


def _show(tracker: Any, path: Path, step: int) -> None:
    """Give a picture to a tracker, whose package transformers has imported."""
    place = {"train/global_step": step}  # as transformers gives it with every metric
    if isinstance(tracker, TensorBoardCallback):
        from matplotlib.image import imread

        if tracker.tb_writer is not None:
            pixels = imread(path)[..., :3]
            tracker.tb_writer.add_image(NAME, pixels, step, dataformats="HWC")
    elif isinstance(tracker, TrackioCallback):
        import trackio

        trackio.log({NAME: trackio.Image(str(path)), **place})
    else:
        import wandb

        wandb.log({NAME: wandb.Image(str(path)), **place})
