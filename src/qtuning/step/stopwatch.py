"""The time of work on a device, which the host does not wait for while it is under way."""

import time

import torch


class Stopwatch:
    """Runs from its construction to ``stop``: on CUDA by events in the stream of work."""

    def __init__(self, device: torch.device) -> None:
        """Start, once the work given to the device so far is done."""
        self._on_cuda = device.type == "cuda"
        self._started = self._now()
        self._stopped: float | torch.cuda.Event | None = None
        self._left_out = 0.0

    def leave_out(self, seconds: float) -> None:
        """Do not count some of the time."""
        self._left_out += seconds

    def stop(self) -> None:
        """Stop, once the work given to the device so far is done."""
        self._stopped = self._now()

    def seconds(self) -> float:
        """The time between start and stop, for which the host waits; 0 if it was never stopped."""
        started, stopped = self._started, self._stopped
        if isinstance(started, float):
            return stopped - started - self._left_out if isinstance(stopped, float) else 0.0
        if not isinstance(stopped, torch.cuda.Event):
            return 0.0
        stopped.synchronize()
        return float(started.elapsed_time(stopped)) / 1000 - self._left_out

    def _now(self) -> "float | torch.cuda.Event":
        if not self._on_cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event
