"""What makes a training stop, and what becomes of its SLURM job; squeue and scontrol are stand-ins here."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from c2o_model import stopping
from c2o_model.allocation import Allocation
from c2o_model.config import ConfigError
from c2o_model.stopping import SIGNALS, StopRequest
from tests.c2o_model.slurm_stand_in import Slurm


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Slurm:
    """With a clock that stands still."""
    found = Slurm(tmp_path, monkeypatch)
    found.now = 1000.0
    monkeypatch.setattr(stopping, "time", SimpleNamespace(time=lambda: found.now))
    return found


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("SLURM_JOB_ID", "SLURM_JOB_END_TIME", stopping.MARGIN):
        monkeypatch.delenv(name, raising=False)
    # As in a terminal, also where these tests run in the background.
    usual = {number: signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL for number in SIGNALS}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    assert {number: signal.getsignal(number) for number in SIGNALS} == usual
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_a_reason_from_the_first_question_on(number: signal.Signals) -> None:
    before, armed = signal.getsignal(number), []
    with StopRequest(on_first=lambda: armed.append(signal.getsignal(signal.SIGTERM))) as stop:
        assert signal.getsignal(number) == before  # nothing to save yet: it ends the process
        assert not stop() and not stop() and not stop.reason
        assert len(armed) == 1 and armed[0] != signal.SIG_DFL  # once, and only when signals are caught
        os.kill(os.getpid(), number)
        assert stop() and stop() and stop.reason == f"on {number.name}"
        os.kill(os.getpid(), signal.SIGTERM)  # as SLURM does while the state is being saved
        assert stop.reason == f"on {number.name}"


def test_a_signal_of_the_terminal_that_is_ignored_stays_so() -> None:
    """As in what `nohup` or a script with `&` has started."""
    old = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            stop()
            os.kill(os.getpid(), signal.SIGINT)
            assert not stop()
    finally:
        signal.signal(signal.SIGINT, old)


def test_it_stops_the_margin_before_the_time_is_over(slurm: Slurm) -> None:
    with StopRequest(300) as stop:
        for slurm.now in (1000, 1500, 1699):
            assert not stop()
        assert slurm.asked == ["--noheader --jobs=12 --states=all --format=%T %e %s"]  # once
        slurm.says("RUNNING", 3000)  # somebody has prolonged the job
        for slurm.now in (1700, 1701, 2699):
            assert not stop()
        assert len(slurm.asked) == 2
        slurm.now = 2700
        assert stop() and stop.reason == "300 s before the SLURM job's time is over"
        assert stop() and len(slurm.asked) == 3


def test_a_margin_longer_than_the_job_still_lets_every_run_do_an_iteration(slurm: Slurm) -> None:
    with StopRequest(5000) as stop:
        assert stop()  # asked after the first iteration


def test_where_slurm_does_not_answer_it_is_asked_again_and_what_it_has_said_holds(slurm: Slurm) -> None:
    slurm.answer.unlink()
    with StopRequest(100) as stop:
        for slurm.now in (1000, 1059):
            assert not stop()
        assert len(slurm.asked) == 1
        slurm.says("RUNNING", 2000)
        slurm.now = 1060
        assert not stop() and len(slurm.asked) == 2
        slurm.answer.unlink()
        slurm.now = 1900
        assert stop() and len(slurm.asked) == 3


@pytest.mark.parametrize("end", ["N/A", "NONE", "Unknown"])
def test_a_job_without_limit_is_asked_about_once(slurm: Slurm, end: str) -> None:
    slurm.says("RUNNING", end)
    with StopRequest() as stop:
        for slurm.now in (1000, 1e9):
            assert not stop()
    assert len(slurm.asked) == 1 and Allocation("12").look() == ("RUNNING", math.inf)


def test_a_newer_slurm_says_the_end_in_the_environment(slurm: Slurm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_END_TIME", "2000")
    with StopRequest() as stop:
        slurm.now = 1939
        assert not stop() and not slurm.asked
        slurm.now = 1940
        assert stop() and stop.reason == "60 s before the SLURM job's time is over"


def test_of_several_processes_one_watches_the_time(slurm: Slurm) -> None:
    with StopRequest(5000, timed=False) as stop:
        assert not stop() and not slurm.asked


def test_outside_of_slurm_there_is_no_time_to_watch(slurm: Slurm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID")
    with StopRequest(5000) as stop:
        assert not stop()
        assert not stop.queue_again() and not slurm.asked and not slurm.told


@pytest.mark.parametrize("state", ["RUNNING", "SIGNALING"])
def test_a_job_that_runs_is_put_back_into_the_queue(slurm: Slurm, state: str) -> None:
    slurm.says(state, 2000)
    with StopRequest() as stop:
        stop()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.queue_again() and slurm.told == ["requeue 12"]
        assert (stop.reason, stop.answer) == ("on SIGTERM", "SLURM runs the job again")


@pytest.mark.parametrize("state", ["COMPLETING", "CANCELLED", "TIMEOUT", "PREEMPTED", "PENDING"])
def test_a_job_that_slurm_is_ending_already_is_left_alone(slurm: Slurm, state: str) -> None:
    slurm.says(state, 2000)
    stop = StopRequest()
    assert not stop.queue_again() and not slurm.told and not stop.answer


def test_a_job_that_slurm_does_not_want_to_run_again_just_fails(slurm: Slurm) -> None:
    slurm.status.write_text("1")
    stop = StopRequest()
    assert not stop.queue_again() and slurm.told == ["requeue 12"]
    assert stop.answer == "SLURM does not run the job again (not for job 12): submitted again it goes on"
    assert stop.reason == "on a signal"  # as where one of several processes has got it, and this one has not


def test_what_the_user_stops_is_not_run_again(slurm: Slurm) -> None:
    with StopRequest() as stop:
        stop()
        os.kill(os.getpid(), signal.SIGINT)
        assert stop() and not stop.queue_again() and not slurm.told


@pytest.mark.parametrize("text", ["soon", "-1", "inf", "nan"])
def test_a_margin_that_is_no_number_of_seconds_is_told(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(stopping.MARGIN, text)
    with pytest.raises(ConfigError, match=f"C2O_STOP_MARGIN_S: '{text}' is no number of seconds; set it to one"):
        StopRequest()


def test_the_environment_sets_the_margin(slurm: Slurm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(stopping.MARGIN, "600")
    slurm.now = 1399
    with StopRequest() as stop:
        assert not stop()
        slurm.now = 1400
        assert stop()


def wait_for_a_signal(ready: Any) -> None:
    for number in SIGNALS:
        signal.signal(number, lambda number, _: sys.exit(100 + number))
    ready.set()
    time.sleep(60)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_to_the_process_that_waits_for_others_reaches_them(number: signal.Signals) -> None:
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    with stopping.passed_on():
        others = [context.Process(target=wait_for_a_signal, args=(ready,)) for _ in range(2)]
        for process in others:
            process.start()
            ready.wait()
            ready.clear()
        os.kill(os.getpid(), number)
        for process in others:
            process.join()
    assert [process.exitcode for process in others] == [100 + number] * 2
