"""When a training has to stop before its end: a signal says so, or the time of its SLURM job runs out.

It then saves its state and ends; started again, it goes on with the next iteration and ends with the same bits. A SLURM
job is put back into the queue for that, under its own number. Nothing here decides a result. Called by ``train_net``
and by the workflow's train and distill rules.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from c2o_model.allocation import Allocation, RequeueRefused
from c2o_model.config import ConfigError

MARGIN = "C2O_STOP_MARGIN_S"
DEFAULT_MARGIN_S = 60.0  # for the iteration that is going on, and to write the state
ASK_AGAIN_S = 60.0
FOR_THE_USER = (signal.SIGINT, signal.SIGHUP)  # of a terminal; ignored where a script starts us in the background
SIGNALS = (*FOR_THE_USER, signal.SIGTERM, signal.SIGUSR1)  # the last as in `sbatch --signal=USR1@120`


class StopRequest:
    """Whether to stop: ask after every iteration. Signals are as ever again behind its `with` block.

    They are caught from the first question on. Before it nothing has been trained that could be saved, so they end the
    process at once; that is also why a job that is put back into the queue has always come further.

    Attributes:
        reason: why to stop; empty as long as there is no reason.
        answer: what SLURM said when it was asked to run the job again; empty where it was not asked.
    """

    def __init__(
        self, margin_s: float | None = None, *, timed: bool = True, on_first: Callable[[], None] = lambda: None
    ) -> None:
        """`margin_s`: stop so long before the SLURM job's time is over (default: `C2O_STOP_MARGIN_S`, else 60 s).

        `timed`: watch the time; one of several processes is enough. `on_first` is called at the first question.
        """
        self.reason = self.answer = ""
        self._by_user = False
        self._on_first = on_first
        self._allocation = Allocation.current() if timed else None
        self._margin_s = margin_seconds() if margin_s is None else margin_s
        self._end = float(os.environ.get("SLURM_JOB_END_TIME", "nan"))
        self._look_at = -math.inf if math.isnan(self._end) else self._end - self._margin_s
        self._old: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _give_back(self._old)
        self._old = {}

    def __call__(self) -> bool:
        if not self._old:
            self._old = _catch(self._note)
            self._on_first()
        if not self.reason and self._time_is_over():
            self.reason = f"{max(0.0, self._end - time.time()):.0f} s before the SLURM job's time is over"
        return bool(self.reason)

    def queue_again(self) -> bool:
        """Once the state is saved: whether SLURM runs this job again, under its number. It then ends this process.

        Not where the user has stopped it.
        """
        allocation = Allocation.current()
        self.reason = self.reason or "on a signal"  # which another one of several processes has got
        try:
            again = allocation is not None and not self._by_user and allocation.requeue()
        except RequeueRefused as error:
            self.answer = f"SLURM does not run the job again ({error}): submitted again it goes on"
            return False
        self.answer = "SLURM runs the job again" if again else ""
        return again

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._by_user |= number in FOR_THE_USER
        self.reason = self.reason or f"on {signal.Signals(number).name}"

    def _time_is_over(self) -> bool:
        """Asks SLURM at the first call and again when the time seems over: somebody may have prolonged it."""
        if self._allocation is None or (now := time.time()) < self._look_at:
            return False
        if seen := self._allocation.look():
            self._end = seen[1]
        if math.isnan(self._end):  # nobody answers
            self._look_at = now + ASK_AGAIN_S
            return False
        self._look_at = self._end - self._margin_s
        return now >= self._look_at


@contextmanager
def passed_on() -> Iterator[None]:
    """Pass the signals on to the processes that multiprocessing has started here, which stop, and wait for them."""

    def pass_on(number: int, frame: FrameType | None) -> None:
        for process in multiprocessing.active_children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid or 0, number)

    old = _catch(pass_on)
    try:
        yield
    finally:
        _give_back(old)


def margin_seconds() -> float:
    """The margin that the environment asks for.

    Raises:
        ConfigError: it is no number of seconds.
    """
    text = os.environ.get(MARGIN, "")
    try:
        margin = float(text or DEFAULT_MARGIN_S)
    except ValueError:
        margin = math.nan
    if not 0 <= margin < math.inf:
        raise ConfigError(f"{MARGIN}: {text!r} is no number of seconds; set it to one, e.g. 120, or unset it")
    return margin


def _catch(handler: Callable[[int, FrameType | None], None]) -> dict[int, Any]:
    """Handle the signals; those that were handled before, with how."""
    ignored = [number for number in FOR_THE_USER if signal.getsignal(number) == signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in SIGNALS if number not in ignored}


def _give_back(old: Mapping[int, Any]) -> None:
    for number, handler in old.items():
        signal.signal(number, handler)
