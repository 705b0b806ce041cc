#!/usr/bin/env python3
"""The workloads of a tilewise record, with PyTorch: the same shapes, and a record of the same JSON.

    tilewise bench --quick -o ours.json
    python benches/peers/torch_bench.py ours.json -o torch.json
    tilewise report ours.json torch.json -o report.html

Runs on CUDA, MPS or the CPU. Samples of each answer, and of its gradients, are checked against a loop or a formula in
f64 before it is timed. Every operation is written in the best way that PyTorch has without a kernel of one's own and without
compiling; the record's plans name it. What has no such way is recorded as refused. TF32 is off: f32 means f32. PyTorch 2.5
or later is needed.

The record is written anew after every workload. Ctrl-C stops after the workload under way, and a second one at once; what
was measured is kept.
"""

import time

# The limit counts from here: importing PyTorch takes seconds.
STARTED = time.perf_counter()

import argparse
import datetime
import json
import math
import os
import platform
import signal
import sys
import warnings

import torch
from torch_ops import DTYPES, operation
from torch_timing import EFFORTS, Device, better, ceilings, clock, counted, timing

SCHEMA, VERSION = "tilewise-benchmark", 2
# How PyTorch says that memory is out where it has no exception of its own for that.
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "ALLOC_FAILED", "not enough memory")


class Foreign(Exception):
    """A file that is no record which this script reads."""


class DeviceLost(Exception):
    """After it no call of the device succeeds."""


# Reading.


def read(path):
    """A record, or what the file is instead and what was expected."""
    try:
        with open(path, encoding="utf-8") as file:
            record = json.load(file)
    except OSError as error:
        raise Foreign(error.strerror) from error
    except ValueError as error:
        raise Foreign(f"it is no JSON: {error}") from error
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        holds = f"an object with {', '.join(list(record)[:6]) or 'no keys'}" if isinstance(record, dict) else "no object"
        raise Foreign(f'it holds {holds}, expected a record as `tilewise bench -o` writes it, with "schema": "{SCHEMA}"')
    if record.get("version") != VERSION:
        newer = isinstance(record.get("version"), int) and record["version"] > VERSION
        advice = "take the script of the tilewise that wrote it" if newer else "measure it again"
        raise Foreign(f"it is a record of version {record.get('version')}, and version {VERSION} is read: {advice}")
    if not isinstance(record.get("suite"), dict) or record["suite"].get("depth") not in EFFORTS:
        raise Foreign("it does not say how thoroughly its suite was measured: measure it again")
    return record


def chosen(reports, words):
    """Those whose names hold all of the words."""
    holds = lambda report: all(word in report["workload"].lower() for word in words.lower().split())
    return [report for report in reports if holds(report)]


# Checks and times.


def is_out_of_memory(error):
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in OUT_OF_MEMORY)


def first_line(error):
    return (str(error).splitlines() or [type(error).__name__])[0]


class Contest:
    """A workload's inputs and its right answer, which all its implementations share."""

    def __init__(self, op, report, device):
        self.op, self.report, self.device = op, report, device
        self.back = report["pass"] == "backward"
        # The output's gradient, and the answer for the sample.
        self.seed, self.answer = None, None

    def work(self, run):
        """A call that computes results, or the gradients alone: the forward pass is done once."""
        if not self.back:
            return lambda: run(*self.op.inputs)
        leaves = [x.detach().requires_grad_() for x in self.op.inputs]
        with torch.enable_grad():
            out = run(*leaves)
        if self.seed is None:
            self.seed = self.device.normal(out.shape, out.dtype)
        return lambda: torch.autograd.grad(out, leaves, self.seed, retain_graph=True, allow_unused=True)

    def run_once(self, run):
        """Work that ran, what it found, and the most memory that it took beyond inputs and, going back, the forward
        pass's result. What that keeps for the gradients counts."""
        live = self.device.live_bytes()
        seeded = self.seed is not None
        work = self.work(run)
        given = 0
        if self.back:
            bytes_of = self.seed.numel() * self.seed.element_size()
            given = bytes_of if seeded else 2 * bytes_of
        self.device.reset_peak()
        found = work()
        self.device.wait()
        return work, found, max(self.device.peak_bytes() - live - given, 0)

    def sample(self, found):
        """Of each result, or of each gradient that is the sample's own, what there is an answer for."""
        if not self.back:
            return [self.op.part(found)]
        cut = self.op.cut(*(x if gradient is None else gradient for x, gradient in zip(self.op.inputs, found)))
        return [None if gradient is None else part for gradient, part in zip(found, cut)][: self.op.own]

    def exact(self):
        # To the processor first: Apple's GPUs have no f64.
        wide = lambda x: x.detach().cpu().double()
        given = [wide(x).requires_grad_(self.back) for x in self.op.cut(*self.op.inputs)]
        with torch.set_grad_enabled(self.back):
            out = self.op.exact(*given)
            if not self.back:
                return [out]
            return torch.autograd.grad(out, given[: self.op.own], wide(self.op.part(self.seed)), allow_unused=True)

    def check(self, found):
        """Compares samples with f64, and looks for NaN everywhere."""
        if self.answer is None:
            self.answer = self.exact()
        if any(x is not None and x.isnan().any() for x in (found if self.back else [found])):
            raise ArithmeticError("NaN among the results")
        for at, (ours, exact) in enumerate(zip(self.sample(found), self.answer)):
            if (ours is None) != (exact is None):
                raise ArithmeticError(f"gradient {at} is missing")
            if exact is None:
                continue
            error = (ours.cpu().double() - exact).abs().max().item()
            share = max(16 * torch.finfo(DTYPES[self.report["dtype"]]).eps, 1e-4)
            allowed = share * exact.abs().max().item()
            if not error <= allowed:
                raise ArithmeticError(f"result {at} is wrong by {error:.3g}, where {allowed:.3g} is allowed")

    def figures(self, way, effort, until):
        """Checks and times one implementation. What is said of ceilings follows when they are known."""
        with torch.no_grad(), way.context():
            work, found, peak = self.run_once(way.run)
            self.check(found)
            del found
            timed = timing(work, self.device, effort, until)
        seconds = counted(timed)
        return {
            "plan": way.plan,
            "timing": timed,
            "peak_bytes": peak,
            "flops_per_second": self.report["flops"] / seconds,
            "bytes_per_second": self.report["least_bytes"] / seconds,
        }

    def yardstick(self, way, effort, until):
        """Figures, or why there are none: what goes wrong here is no fault of the best way, whose figures stand."""
        if clock() >= until:
            return {"refused": "the workload's time was up"}
        try:
            return {"figures": self.figures(way, effort, until)}
        except (ArithmeticError, RuntimeError) as error:
            if self.device.is_lost():
                raise
            return {"refused": first_line(error)}


def measure(report, device, effort, until):
    """A workload's report. The best way gets twice the time of any other, of what is left."""
    op = operation(report, device)
    contest, (best, *others) = Contest(op, report, device), op.ways
    part = lambda more: clock() + (until - clock()) / (1 + more)
    fused = contest.figures(best, effort, part(len(others) / 2))
    yardsticks = [
        {"name": way.name, "measured": contest.yardstick(way, effort, part(len(others) - 1 - at))}
        for at, way in enumerate(others)
    ]
    same = {key: report[key] for key in report if key not in ("fused", "yardsticks")}
    return same | {"fused": fused, "yardsticks": yardsticks}


# The record.


class Stop:
    """Whether somebody or the time asks for an end."""

    def __init__(self, limit):
        self.at = math.inf if limit is None else STARTED + limit
        # What must be done after the workloads, in seconds.
        self.reserve = 0
        self.asked = False
        signal.signal(signal.SIGINT, self.ask)
        # Who stops a batch job will not ask twice.
        signal.signal(signal.SIGTERM, self.end)

    def ask(self, *_):
        if self.asked:
            self.end()
        self.asked = True
        tell("\nstopping after this workload; Ctrl-C again stops at once")

    def end(self, *_):
        raise KeyboardInterrupt

    def is_due(self):
        return self.asked or clock() >= self.at

    def share(self, workloads, budget):
        """Until when the next of so many workloads may run: an even part of the time that is left, or its budget."""
        now = clock()
        return now + min(budget, (self.at - self.reserve - now) / workloads)


class Recorder:
    """A record that grows, written whole each time."""

    def __init__(self, path, ours, device, note, roofs):
        self.path, self.ours, self.device, self.note, self.roofs = path, ours, device, note, roofs
        self.reports, self.refused, self.failed = [], [], []

    def unmeasured(self, report, error):
        return {"workload": report["workload"], "case": report["case"], "reason": first_line(error)}

    def hold_against(self, figures, report):
        """As `Ceilings::floor` has it: matrix units are for f16."""
        matrix = self.roofs["matrix_flops_per_second"] if report["dtype"] == "f16" else None
        flops, copy = max(matrix or 0, self.roofs["fma_flops_per_second"]), self.roofs["copy_bytes_per_second"]
        floor = max(report["flops"] / flops, report["least_bytes"] / copy)
        figures["copy_fraction"] = figures["bytes_per_second"] / copy
        figures["ceiling_fraction"] = floor / counted(figures["timing"])

    def record(self, complete):
        for report in self.reports:
            measured = [yardstick["measured"].get("figures") for yardstick in report["yardsticks"]]
            for figures in [report["fused"], *filter(None, measured)]:
                self.hold_against(figures, report)
        return {
            "schema": SCHEMA,
            "version": VERSION,
            "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "note": self.note,
            "engine": {"name": "PyTorch", "version": torch.__version__, "on": f"Python {platform.python_version()}"},
            "adapter": self.device.adapter,
            "caps": None,
            "shader_checks": False,
            "suite": self.ours["suite"] | {"memory_bytes": self.device.memory_bytes, "complete": complete},
            "ceilings": self.roofs,
            "reports": self.reports,
            "refused": self.refused,
            "failed": self.failed,
        }

    def write(self, complete=False):
        """Beside it first and then in its place: who ends this program finds one whole record or the other."""
        beside = f"{self.path}.part"
        with open(beside, "w", encoding="utf-8") as file:
            json.dump(self.record(complete), file, indent=2, ensure_ascii=False)
            file.write("\n")
        os.replace(beside, self.path)

    def add(self, report, effort, until):
        """Measures a workload, and says in a few words how it went."""
        try:
            found = measure(report, self.device, effort, until)
            self.reports.append(found)
            doubts = "".join(f", {doubt}" for doubt in found["fused"]["timing"]["doubts"])
            return f"{1e3 * counted(found['fused']['timing']):.3g} ms{doubts}, {found['fused']['plan']}"
        except NotImplementedError as error:
            self.refused.append(self.unmeasured(report, error))
            return f"refused: {error}"
        except ArithmeticError as error:
            self.failed.append(self.unmeasured(report, error))
            return f"WRONG: {error}"
        except RuntimeError as error:
            words = self.unmeasured(report, error)
            if is_out_of_memory(error):
                self.refused.append(words)
                return f"refused: {words['reason']}"
            self.failed.append(words)
            if self.device.is_lost():
                raise DeviceLost(words["reason"]) from error
            return f"failed: {words['reason']}"


def tell(words, end="\n"):
    print(words, end=end, file=sys.stderr, flush=True)


def left(done, of, since):
    """About how many seconds more, from what it took so far."""
    return (clock() - since) / done * (of - done)


def run_suite(recorder, reports, stop, effort, budget):
    """All of them, or until somebody or something stops it. Says whether all were tried."""
    since = clock()
    for at, report in enumerate(reports):
        if stop.is_due():
            return False
        tell(f"{at + 1} of {len(reports)}: {report['workload']}: ", end="")
        tell(recorder.add(report, effort, stop.share(len(reports) - at, budget)), end="")
        tell(f" ({clock() - since:.0f} s, about {left(at + 1, len(reports), since):.0f} s left)")
        # Here, where no exception holds tensors any more.
        recorder.device.release()
        recorder.write()
    return True


def measure_all(given, ours, stop):
    """Everything, and says whether all of the record's workloads were tried."""
    reports = chosen(ours["reports"], given.only)
    device, effort = Device(given.device), EFFORTS[ours["suite"]["depth"]]
    tell("ceilings: ", end="")
    begun = clock()
    recorder = Recorder(given.output, ours, device, given.note, ceilings(device, effort))
    stop.reserve = clock() - begun
    copy, flops = (recorder.roofs[key] / 1e9 for key in ("copy_bytes_per_second", "fma_flops_per_second"))
    tell(f"copy {copy:.4g} GB/s, f32 products {flops:.4g} GFLOP/s ({clock() - STARTED:.0f} s since the start)")
    recorder.write()
    complete = False
    try:
        everything = len(reports) == len(ours["reports"]) and ours["suite"]["complete"]
        tried = run_suite(recorder, reports, stop, effort, given.budget)
        if tried and not stop.is_due():
            recorder.roofs = better(recorder.roofs, ceilings(device, effort))
        complete = tried and everything
    except KeyboardInterrupt:
        tell("\nstopped")
    except DeviceLost as error:
        tell(f"\nthe device is lost: {error}")
    recorder.write(complete)
    return recorder, len(reports)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("record", help="a record that tilewise bench -o wrote")
    parser.add_argument("-o", "--output", required=True, metavar="FILE.json")
    parser.add_argument("--device", choices=["cuda", "mps", "cpu"])
    parser.add_argument("--only", default="", metavar="WORDS", help='workloads with all of these words: "scan f16"')
    parser.add_argument("--budget", type=seconds, default=math.inf, metavar="SECONDS", help="for each workload at most")
    parser.add_argument(
        "--limit",
        type=seconds,
        metavar="SECONDS",
        help="for all of it: each workload gets an even part of what is left, and none begins later",
    )
    parser.add_argument("--note", help="what readers of the record should know")
    given = parser.parse_args()
    try:
        ours = read(given.record)
    except Foreign as error:
        parser.error(f"{given.record}: {error}")
    if not chosen(ours["reports"], given.only):
        parser.error(f"no workload of {given.record} has the words {given.only!r} in its name")
    folder = os.path.dirname(os.path.abspath(given.output))
    if not os.path.isdir(folder):
        parser.error(f"{folder} is no folder")
    return given, ours


def seconds(text):
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text} is no time to measure in, expected seconds above 0")
    return value


def main():
    given, ours = arguments()
    # PyTorch has new names for these two, and warns of the old ones, which all its versions know.
    warnings.filterwarnings("ignore", message=".*TF32")
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    try:
        recorder, wanted = measure_all(given, ours, Stop(given.limit))
    except KeyboardInterrupt:
        tell("\nstopped before anything was measured")
        raise SystemExit(130) from None
    measured, refused, failed = (len(found) for found in (recorder.reports, recorder.refused, recorder.failed))
    unmeasured = wanted - measured - refused - failed
    counts = f"{measured} measured, {refused} refused, {failed} failed, {unmeasured} not begun or not finished"
    tell(f"{given.output}: {counts}")
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
