"""`c2o doctor`: every absent thing is named with what to do; only what the main job needs makes it fail."""

import json
import os
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from c2o_evidence import doctor
from c2o_evidence.doctor import datasets, gpus, machine, optional, versions
from c2o_evidence.doctor.probe import probe_torch
from c2o_evidence.doctor.report import Check, Report, render
from c2o_evidence.errors import ClusterError
from c2o_evidence.slots import acquire, machine_devices

CPU_ANSWER = {
    "torch": "2.12.1+cu130",
    "torchvision": "0.27.1",
    "cuda_build": "13.0",
    "devices": [],
    "cpu_capability": "AVX2",
    "detectron2": "0.7.2",
    "detectron2_compiled_error": "ImportError: no _C",
    "flex": True,
    "pins": {"OMP_NUM_THREADS": "1", "ATEN_CPU_CAPABILITY": "avx2"},
}
GPU_ANSWER = CPU_ANSWER | {"devices": ["A GPU"], "detectron2_compiled": True}


def by_name(checks: list[Check] | tuple[Check, ...]) -> dict[str, Check]:
    return {check.name: check for check in checks}


class TestReport:
    OK = Check("one", "there", True, "1.0", needed=True)
    ABSENT = Check("two", "absent", False, "no", "get it")
    NEEDED = Check("two", "missing", False, "no", "install it", needed=True)

    def test_ready(self) -> None:
        text, status = render(Report((self.OK, self.ABSENT)))
        assert status == 0
        assert text == (
            "one\n  + there   1.0\n\ntwo\n  - absent  no\n            -> get it\n\n"
            "ready: `make step1_5seed` can run here"
        )

    def test_not_ready(self) -> None:
        text, status = render(Report((self.OK, self.ABSENT, self.NEEDED)))
        assert status == 1
        assert "  ! missing  no\n             -> install it\n" in text
        assert text.endswith("not ready: see missing above")

    def test_json(self) -> None:
        text, status = render(Report((self.OK, self.NEEDED)), as_json=True)
        document = json.loads(text)
        assert status == 1 and document["ready"] is False
        assert document["checks"][1] == {
            "section": "two",
            "name": "missing",
            "ok": False,
            "detail": "no",
            "advice": "install it",
            "needed": True,
        }


class TestVersions:
    def test_lock_is_read(self, tmp_path: Path) -> None:
        lock = tmp_path / "lock.txt"
        lock.write_text("# made by\nTorch==2.12.1 \\\n    --hash=sha256:ab\n    # via x\nrich==15.0.0 ; a == 'b'\n")
        assert versions.locked_versions(lock) == {"torch": "2.12.1", "rich": "15.0.0"}
        assert versions.locked_versions(tmp_path / "none.txt") == {}

    @pytest.mark.parametrize("installed", ["2.12.1", "2.12.1+cu130"])
    def test_version_of_the_lock(self, installed: str) -> None:
        assert versions.package_check("torch", installed, "2.12.1") == Check(
            "versions", "torch", True, installed, "", needed=True
        )

    def test_other_version_runs_but_is_said(self) -> None:
        check = versions.package_check("torch", "2.11.0", "2.12.1")
        assert check.ok and "the lock has 2.12.1" in check.detail and "make setup" in check.advice

    def test_missing_package(self) -> None:
        check = versions.package_check("torch", None, "2.12.1")
        assert (check.ok, check.needed, check.advice) == (False, True, "run `make setup`")

    @pytest.mark.parametrize(
        ("version", "ok"), [((3, 10, 9), False), ((3, 11, 0), True), ((3, 13, 5), True), ((3, 14, 0), False)]
    )
    def test_python(self, version: tuple[int, ...], ok: bool) -> None:
        check = versions.python_check(version)
        assert check.ok is ok and check.needed and bool(check.advice) is not ok

    def test_broken_imports_are_quoted(self, tmp_path: Path) -> None:
        answer = {
            "torch": "2.12.1",
            "torchvision_error": "RuntimeError: nms does not exist",
            "detectron2_error": "E: x",
        }
        checks = by_name(versions.version_checks(tmp_path, answer))
        assert checks["torchvision works"].detail == "RuntimeError: nms does not exist"
        assert checks["detectron2"].detail == "E: x" and "requirements/detectron2.txt" in checks["detectron2"].advice
        assert not checks["detectron2"].ok and checks["detectron2"].needed


class TestMachine:
    def test_pinned_instruction_set(self) -> None:
        pins = {"ATEN_CPU_CAPABILITY": "avx2"}
        there = machine.instruction_check(["avx", "avx2"], pins, "AVX2")
        assert there.ok and there.detail == "avx avx2; pinned to avx2, torch uses AVX2"
        assert machine.instruction_check(["avx2", "avx512f"], {"ATEN_CPU_CAPABILITY": "avx512"}, "AVX512").ok
        assert not machine.instruction_check(["avx2"], {"ATEN_CPU_CAPABILITY": "avx512"}, "AVX2").ok
        absent = machine.instruction_check(["asimd"], pins, None)
        assert not absent.ok and not absent.needed
        assert absent.advice == "nothing to do; bits will differ from those of machines with avx2"

    @pytest.mark.parametrize(("free", "ok"), [(2 * 10**9, True), (2 * 10**9 - 1, False)])
    def test_disk(self, free: int, ok: bool) -> None:
        check = machine.disk_check(free)
        assert check.ok is ok and check.needed and ("free 2 GB" in check.advice) is not ok

    def test_device(self, tmp_path: Path) -> None:
        assert by_name(machine.machine_checks(tmp_path, CPU_ANSWER))["device"].detail == "CPU"
        assert by_name(machine.machine_checks(tmp_path, GPU_ANSWER))["device"].detail == "CUDA: A GPU"


class TestGpus:
    def test_none(self) -> None:
        none = Check("machine", "GPU slots", True, "none (listed by C2O_GPUS)")
        assert gpus.gpu_checks({"C2O_GPUS": ""}) == [none]

    def test_who_holds_them(self, tmp_path: Path) -> None:
        environ = {"C2O_GPUS": "fake-0,fake-1", "C2O_GPU_LEASES": str(tmp_path / "leases")}
        free = gpus.gpu_checks(environ)
        place = f"listed by C2O_GPUS, leases in {tmp_path}/leases"
        assert [check.detail for check in free] == [f"2 of 2 free, {place}", "fake-0: free", "fake-1: free"]
        assert not (tmp_path / "leases").exists(), "looking makes nothing"
        with acquire(1, machine_devices(environ), tmp_path / "leases", "train tiny x 0"):
            total, first, second = gpus.gpu_checks(environ)
        assert total.detail == f"1 of 2 free, {place}"
        assert first.name == "GPU 0" and first.detail.startswith(
            f"fake-0: held by process {os.getpid()} (train tiny x 0) since 20"
        )
        assert second.detail == "fake-1: free"

    def test_a_wrong_list(self) -> None:
        (check,) = gpus.gpu_checks({"C2O_GPUS": "a,a"})
        assert (check.ok, check.detail) == (False, "C2O_GPUS: a is listed twice; list each device once")


class TestDatasets:
    def test_nothing_there(self, tmp_path: Path) -> None:
        checks = datasets.dataset_checks(tmp_path, {})
        names = ["digits", "coco", "lvis_v1", "voc_2007", "voc_2012", "crowdhuman", "objects365", "repro10k"]
        assert [check.name for check in checks] == names
        assert not any(check.ok or check.needed for check in checks)
        assert all(check.advice for check in checks)
        advice = by_name(checks)["coco"].advice
        assert advice == (
            "set DETECTRON2_DATASETS to the directory of your data sets;"
            " `c2o data plan coco` says what to get and where to put it"
        )

    def test_generated_digits(self, tmp_path: Path) -> None:
        manifest = tmp_path / "data" / "digits" / "manifest.json"
        manifest.parent.mkdir(parents=True)
        manifest.write_text("{}")
        assert datasets.digits_check(tmp_path).ok

    def test_whole_and_incomplete_sets(self, tmp_path: Path) -> None:
        for path in (
            "VOC2007/Annotations",
            *(f"VOC2007/ImageSets/Main/{name}.txt" for name in ("train", "val", "trainval", "test")),
            "VOC2007/JPEGImages",
            *(f"VOC2012/ImageSets/Main/{name}.txt" for name in ("train", "val")),
            "VOC2012/JPEGImages",
        ):
            (tmp_path / path).mkdir(parents=True)  # a directory is as good as a file here
        checks = by_name(datasets.dataset_checks(tmp_path / "root", {"DETECTRON2_DATASETS": str(tmp_path)}))
        assert checks["voc_2007"].ok
        assert checks["voc_2007"].detail == f"in {tmp_path}; `c2o data check voc_2007` looks closer"
        assert (checks["voc_2012"].ok, checks["voc_2012"].detail) == (False, "incomplete")
        assert checks["voc_2012"].advice == (
            f"put what is missing into {tmp_path}: VOC2012/ImageSets/Main/trainval.txt, VOC2012/Annotations"
        )
        assert checks["coco"].advice == "`c2o data plan coco` says what to get and where to put it"

    def test_extra_sets(self, tmp_path: Path) -> None:
        (tmp_path / "a.json").write_text("{}")
        (tmp_path / "images").mkdir()
        good, missing, malformed = datasets.extra_checks(tmp_path, "mine:a.json:images; b:b.json:images ;c:c.json;")
        assert (good.name, good.ok, good.detail) == ("mine", True, "a.json, images in images")
        assert (missing.name, missing.ok, missing.detail) == ("b", False, "no b.json")
        assert "EXTRA_COCO_DATASETS" in missing.advice
        assert malformed.detail == "'c:c.json' has not three fields"
        assert malformed.advice == "write name:json:image_root, entries separated by `;`"


class TestOptional:
    def test_cpu_machine(self) -> None:
        checks = by_name(optional.optional_checks(CPU_ANSWER))
        assert not any(check.needed for check in checks.values())
        assert checks["CUDA"].detail == "torch is built for CUDA 13.0, no GPU is visible"
        assert checks["flex attention"].detail == "inference only"
        assert "SELF_ATTN_IMPL torch or sdpa" in checks["flex attention"].advice
        assert checks["detectron2._C"].advice.startswith("nothing to do")

    def test_gpu_machine(self) -> None:
        checks = by_name(optional.optional_checks(GPU_ANSWER))
        for name in ("CUDA", "flex attention", "detectron2._C"):
            assert checks[name].ok and not checks[name].advice, name

    def test_cluster(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(optional.shutil, "which", lambda name: None if name == "sinfo" else f"/usr/bin/{name}")
        monkeypatch.setattr(optional, "installed_version", lambda name: "2.8.0")
        assert optional.slurm_check().detail == "no sinfo"
        monkeypatch.setattr(optional.shutil, "which", lambda name: f"/usr/bin/{name}")
        monkeypatch.setattr(optional, "ask", lambda *command: "batch*\ngpu\n")
        found = "executor plugin 2.8.0, partitions batch*, gpu"
        assert optional.slurm_check() == Check("optional", "SLURM", True, found)

        def away(*command: str) -> str:
            raise ClusterError("sinfo: no; look with `scontrol ping`")

        monkeypatch.setattr(optional, "ask", away)
        advice = "sinfo: no; look with `scontrol ping`"
        assert optional.slurm_check() == Check("optional", "SLURM", False, "its controller does not answer", advice)
        monkeypatch.setattr(optional, "installed_version", lambda name: None)
        assert optional.slurm_check().advice == "run `make setup`"

    def test_other_stacks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        there = {"mmdet": "3.3.0", "mmengine": "0.10.7", "mmcv": "2.1.0"}
        monkeypatch.setattr(optional, "installed_version", there.get)
        checks = by_name(optional.optional_checks(CPU_ANSWER))
        assert checks["MMDetection 3"] == Check(
            "optional", "MMDetection 3", True, "mmcv 2.1.0, mmdet 3.3.0, mmengine 0.10.7"
        )
        assert checks["Diffusers"] == Check(
            "optional", "Diffusers", False, "no diffusers", "for rows with `stack: diffusers`: run `make extras`"
        )
        del there["mmcv"], there["mmengine"]
        lacking = by_name(optional.optional_checks(CPU_ANSWER))["MMDetection 3"]
        assert (lacking.ok, lacking.needed, lacking.detail) == (False, False, "no mmcv, mmengine")
        assert lacking.advice == "for rows with `stack: mmdet`: run `make mmdet`"


class TestProbe:
    def test_a_crash_of_the_process_is_told(self) -> None:
        answer = probe_torch("import sys; sys.exit('cannot open shared object file')")
        assert answer == {"torch_error": "the import of torch ended the process: cannot open shared object file"}

    def test_a_hang_is_ended(self) -> None:
        answer = probe_torch("import time; time.sleep(60)", seconds=0.2)
        assert answer == {"torch_error": "the import of torch did not end within 0.2 s"}

    def test_this_environment(self) -> None:
        from c2o_model.determinism import pinned_env

        answer = probe_torch()
        assert {"torch", "torchvision", "detectron2", "devices", "cpu_capability"} <= set(answer)
        assert answer["pins"] == pinned_env()


def test_collect_puts_the_sections_in_order_and_the_verdict_follows(tmp_path: Path) -> None:
    report = doctor.collect(tmp_path, {}, probe=lambda: CPU_ANSWER)
    order = list(dict.fromkeys(check.section for check in report.checks))
    assert order == ["versions", "machine", "data sets", "optional"]
    broken = doctor.collect(tmp_path, {}, probe=lambda: {"torch_error": "no torch"})
    assert {"torch works", "detectron2"} <= set(broken.missing)
    assert render(broken)[1] == 1


def test_full_disk_is_not_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _path: usage(10, 10, 0))
    assert doctor.collect(tmp_path, {}, probe=lambda: CPU_ANSWER).missing == ("disk",)


def test_everything_absent_comes_with_advice(tmp_path: Path) -> None:
    report = doctor.collect(tmp_path, {}, probe=lambda: {"torch_error": "no torch"})
    assert [check.name for check in report.checks if not check.ok and not check.advice] == []


def test_the_doctor_itself_loads_no_torch() -> None:
    program = "import sys; from c2o_evidence import doctor; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
