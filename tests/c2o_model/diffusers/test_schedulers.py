"""What Diffusers asks of every scheduler: configuration, files, timesteps, shapes, noise, the full loop."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import ConfigMixin, SchedulerMixin
from torch import Tensor
from torch.nn import functional as F

from c2o_model.diffusers import D3PMLabelScheduler, DDIMBoxScheduler, GaussianLabelScheduler

B, N, K = 2, 5, 3


def vectors(width: int) -> Callable[[torch.Generator], Tensor]:
    return lambda generator: torch.randn(B, N, width, generator=generator)


def categorical(generator: torch.Generator) -> Tensor:
    return torch.randn(B, N, K + 1, generator=generator).softmax(-1)


def hard(generator: torch.Generator) -> Tensor:
    return torch.randint(0, K + 1, (B, N), generator=generator)


@dataclass(frozen=True)
class Case:
    """A scheduler, another configuration of it, and how its tensors are drawn."""

    kind: type[Any]
    config: dict[str, Any]
    change: dict[str, Any]
    clean: Callable[[torch.Generator], Tensor]  # original samples of add_noise
    noise: Callable[[torch.Generator], Tensor]
    sample: Callable[[torch.Generator], Tensor]
    output: Callable[[torch.Generator], Tensor]  # of the model
    random: bool  # a step draws

    def make(self, **changes: Any) -> Any:
        return self.kind(**{**self.config, **changes})


def uniform(generator: torch.Generator) -> Tensor:
    return torch.rand(B, N, generator=generator)


LABELS = {"num_classes": K}
CASES = {
    "boxes": Case(DDIMBoxScheduler, {}, {"snr_scale": 1.5}, vectors(4), vectors(4), vectors(4), vectors(4), True),
    "boxes, eta 0, sigmas": Case(
        DDIMBoxScheduler,
        {"eta": 0.0, "noise_sigmas": [1.0, 1.0, 0.5, 2.0]},
        {"noise_sigmas": None},
        *(vectors(4), vectors(4), vectors(4), vectors(4), False),
    ),
    "distribution": Case(
        D3PMLabelScheduler, LABELS, {"keep_power": 2.0}, hard, uniform, categorical, categorical, False
    ),
    "hard": Case(
        D3PMLabelScheduler,
        {**LABELS, "use_distribution": False, "kernel": "uniform"},
        {"keep_schedule": "linear"},
        *(hard, uniform, hard, categorical, True),
    ),
    "gaussian": Case(
        GaussianLabelScheduler, LABELS, {"snr_scale": 1.0}, hard, vectors(K + 1), vectors(K + 1), categorical, True
    ),
}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


class TestEveryScheduler:
    def test_it_is_a_scheduler_of_diffusers(self, case: Case) -> None:
        scheduler = case.make()
        assert isinstance(scheduler, SchedulerMixin) and isinstance(scheduler, ConfigMixin)
        assert scheduler.order == 1 and scheduler.init_noise_sigma == 1.0 and len(scheduler) == 1000
        sample = case.sample(seeded())
        assert scheduler.scale_model_input(sample, 999) is sample

    def test_the_configuration_comes_back(self, case: Case, tmp_path: Path) -> None:
        scheduler = case.make(**case.change)
        again = case.kind.from_config(scheduler.config)
        scheduler.save_config(tmp_path)
        loaded = case.kind.from_config(case.kind.load_config(tmp_path))
        assert {name: again.config[name] for name in scheduler.config if name[0] != "_"} == {
            name: value for name, value in scheduler.config.items() if name[0] != "_"
        }
        for name, value in {**case.config, **case.change}.items():
            assert loaded.config[name] == value
        written = json.loads((tmp_path / "scheduler_config.json").read_text())
        assert written["_class_name"] == case.kind.__name__

    def test_a_saved_one_takes_the_same_step(self, case: Case, tmp_path: Path) -> None:
        scheduler = case.make(**case.change)
        scheduler.save_pretrained(tmp_path)
        loaded, other = case.kind.from_pretrained(tmp_path), case.make()
        found = []
        for one in (scheduler, loaded, other):
            one.set_timesteps(10)
            draw = seeded(4)
            sample, output = case.sample(draw), case.output(draw)
            found.append(one.step(output, one.timesteps[3], sample, generator=seeded(5)).prev_sample)
        assert torch.equal(found[0], found[1])
        if case.sample is not hard:  # the same few states may well be drawn
            assert case.change.keys() == {"noise_sigmas"} or not torch.equal(found[0], found[2])

    def test_timesteps(self, case: Case) -> None:
        scheduler = case.make()
        assert scheduler.timesteps.tolist() == list(range(999, -1, -1)) and scheduler.num_inference_steps is None
        for steps, expected in ((1, [999]), (4, [999, 749, 499, 249]), (3, [999, 665, 332])):
            scheduler.set_timesteps(steps, device="cpu")
            assert scheduler.timesteps.dtype == torch.int64 and scheduler.num_inference_steps == steps
            assert scheduler.timesteps.tolist() == expected
            follow = [scheduler.previous_timestep(t) for t in scheduler.timesteps]
            assert follow == list(zip(expected, [*expected[1:], -1], strict=True))
        small = case.make(num_train_timesteps=7)
        small.set_timesteps(7)
        assert small.timesteps.tolist() == [6, 5, 4, 3, 2, 1, 0] and len(small) == 7
        for steps in (0, 1001):
            with pytest.raises(ValueError, match=f"{steps} steps do not fit 1000 noise levels"):
                scheduler.set_timesteps(steps)
        with pytest.raises(ValueError, match="timestep 998 is none of the 3 that set_timesteps has chosen"):
            scheduler.step(case.output(seeded()), 998, case.sample(seeded()))

    def test_a_step_keeps_shape_and_dtype_and_gives_both_outputs(self, case: Case) -> None:
        scheduler = case.make()
        scheduler.set_timesteps(5)
        for t in scheduler.timesteps:
            draw = seeded(int(t))
            sample, output = case.sample(draw), case.output(draw)
            found = scheduler.step(output, t, sample, generator=seeded(1))
            assert found.prev_sample.shape == sample.shape and found.prev_sample.dtype == sample.dtype
            assert found.pred_original_sample.shape == output.shape
            before, clean = scheduler.step(output, int(t), sample, generator=seeded(1), return_dict=False)
            assert torch.equal(before, found.prev_sample) and torch.equal(clean, found.pred_original_sample)
            assert torch.equal(found[0], before) and found.to_tuple()[1] is found.pred_original_sample

    def test_noise_comes_from_the_generator_or_the_caller(self, case: Case) -> None:
        scheduler = case.make()
        scheduler.set_timesteps(5)
        draw = seeded()
        sample, output, t = case.sample(draw), case.output(draw), scheduler.timesteps[1]

        def step(**how: Any) -> Tensor:
            return scheduler.step(output, t, sample, **how).prev_sample

        assert torch.equal(step(generator=seeded(3)), step(generator=seeded(3)))
        assert torch.equal(step(generator=seeded(3)), step(generator=seeded(8))) is not case.random
        noise = torch.rand(B, N, generator=seeded(3)) if case.kind is D3PMLabelScheduler else None
        noise = torch.randn(sample.shape, generator=seeded(3)) if noise is None else noise
        assert torch.equal(step(generator=seeded(3)), step(variance_noise=noise))
        torch.manual_seed(3)  # torch's own generator, where none is given
        assert torch.equal(step(), step(generator=seeded(3)))

    def test_add_noise(self, case: Case) -> None:
        scheduler = case.make()
        draw = seeded()
        clean, noise = case.clean(draw), case.noise(draw)
        both = scheduler.add_noise(clean, noise, torch.tensor([0, 999]))
        for row, t in enumerate((0, 999)):  # a level an image
            alone = scheduler.add_noise(clean[row : row + 1], noise[row : row + 1], torch.tensor([t]))
            assert torch.equal(both[row : row + 1], alone)
        if case.clean is hard and case.noise is uniform:
            assert both.dtype == torch.int64 and both.shape == clean.shape
        else:
            assert both.dtype == noise.dtype and both.shape == noise.shape

    @pytest.mark.parametrize("steps", [1, 10])
    @pytest.mark.parametrize("noisy", [False, True])
    def test_the_full_loop_ends_at_what_the_model_predicts(self, case: Case, steps: int, noisy: bool) -> None:
        """A model that knows the clean data: whatever the noise on the way, the last step gives it."""
        scheduler = case.make()
        scheduler.set_timesteps(steps)
        draw = seeded()
        state = case.sample(draw)
        truth = torch.randint(0, K, (B, N), generator=draw)
        output = F.one_hot(truth, K + 1).float()
        if case.kind is DDIMBoxScheduler:
            output = torch.rand(B, N, 4, generator=draw) * 2 - 1
        if case.sample in (hard, categorical):  # a label stays; from unk everything is to be found
            unk = torch.full((B, N), K)
            state = unk if case.sample is hard else F.one_hot(unk, K + 1).float()
        for index, t in enumerate(scheduler.timesteps):
            if noisy and index == steps // 2:
                noise = case.noise(draw)
                clean = truth if case.clean is hard else output
                state = scheduler.add_noise(clean, noise, t.repeat(B))
                if case.sample is categorical:
                    state = F.one_hot(state, K + 1).float()
            state = scheduler.step(output, t, state, generator=draw).prev_sample
        expected = {DDIMBoxScheduler: output, GaussianLabelScheduler: (output * 2 - 1) * 2}.get(case.kind, output)
        if case.sample is hard:
            expected = truth
        torch.testing.assert_close(state, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_boxes_keep_their_dtype(dtype: torch.dtype) -> None:
    scheduler = DDIMBoxScheduler()
    scheduler.set_timesteps(4)
    boxes, noise = torch.randn(2, B, N, 4, generator=seeded()).to(dtype)
    assert scheduler.add_noise(boxes, noise, torch.tensor([3, 700])).dtype == dtype
    found = scheduler.step(boxes, 499, noise, generator=seeded())
    assert found.prev_sample.dtype == found.pred_original_sample.dtype == dtype


def test_tables_follow_the_sample_to_its_device() -> None:
    """Seen on the device without numbers: there is one everywhere."""
    boxes, labels = DDIMBoxScheduler(), GaussianLabelScheduler(K)
    on_meta = torch.zeros(B, N, 4, device="meta")
    for scheduler, output in ((boxes, on_meta), (labels, on_meta)):
        scheduler.set_timesteps(4, device="meta")
        assert scheduler.timesteps.device.type == "meta"
        scheduler.set_timesteps(4)
        assert scheduler.step(output, 499, on_meta, variance_noise=on_meta).prev_sample.device.type == "meta"
    assert boxes.add_noise(on_meta, torch.zeros(B, N, 4), torch.tensor([3, 4])).device.type == "meta"


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (
            lambda: DDIMBoxScheduler(prediction_type="epsilon"),
            "prediction_type: 'epsilon', but the head predicts clean",
        ),
        (
            lambda: DDIMBoxScheduler(noise_sigmas=[1.0]),
            r"noise_sigmas: \[1.0\] are not four; give those of cx, cy, w, h",
        ),
        (lambda: DDIMBoxScheduler(num_train_timesteps=0), "DIFFUSION_TIMESTEPS: 0 is no number of noise levels"),
        (lambda: D3PMLabelScheduler(kernel="gauss"), "LABEL_D3PM_KERNEL: 'gauss' is unknown; choose one of mask, uni"),
        (lambda: D3PMLabelScheduler(keep_schedule="cos"), "KEEP_PROB_SCHEDULE: 'cos' is unknown; choose one of"),
        (
            lambda: D3PMLabelScheduler(3).add_noise(torch.zeros(1, 2).long(), torch.tensor([[-0.1, 0]]), torch.ones(1)),
            r"noise: labels need uniform numbers in \[0, 1\) of shape \[1, 2\], as torch.rand makes them",
        ),
        (
            lambda: D3PMLabelScheduler(3).step(torch.zeros(1, 2, 3), 9, torch.zeros(1, 2).long()),
            r"model_output is \[1, 2, 3\] and sample \[1, 2\]: p\(x_0\) needs \[..., 4\] \(3 classes and background\)",
        ),
        (lambda: DDIMBoxScheduler().step(torch.zeros(2, 4), 9, torch.zeros(3, 4)), "give the clean boxes of the same"),
        (
            lambda: GaussianLabelScheduler(3).step(torch.zeros(1, 2, 3), 9, torch.zeros(1, 2, 4)),
            r"model_output is \[1, 2, 3\], but sample is \[1, 2, 4\]: give p\(x_0\) over the K classes and background",
        ),
    ],
)
def test_what_does_not_fit_is_told(make: Callable[[], Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        make()
