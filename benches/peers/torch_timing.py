"""Devices of PyTorch, and how long work takes on them: by the rules of tilewise's own timing, so that both can be
compared."""

import functools
import math
import platform
import time
from dataclasses import dataclass

import torch

clock = time.perf_counter

# How much work is queued at a time while a device warms up, in seconds.
WARMING = 0.05
# A run that takes less than this share of the fastest so far is faster.
FASTER = 0.98
# How long the clock of a GPU may stay on one step while it rises, in seconds.
STEP = 0.25
# Runs that take longer drown what it takes to launch them, and are timed one by one.
LONG = 0.01
# Shorter ones are timed so many at a time, behind one that keeps the device busy while the host launches them.
AHEAD = 3


@dataclass
class Effort:
    """How often to measure: as tilewise has it, in seconds."""

    warm_up: float
    budget: float
    least: int
    most: int
    within: float

    def wants_more(self, runs, wall, until):
        """Whether to measure more than these, of which the first are on the clock that counts."""
        if not wall:
            return True
        enough = len(wall) >= self.least and (len(runs) >= self.most or reach(spread(runs)) <= self.within)
        return not enough and clock() < until


EFFORTS = {
    "quick": Effort(0.1, 0.7, 7, 50, 0.05),
    "standard": Effort(0.3, 2, 10, 200, 0.02),
    "full": Effort(0.5, 6, 20, 1000, 0.01),
}


class Device:
    """A processor or a GPU, random numbers on it, its memory and its clock."""

    def __init__(self, name):
        auto = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        self.kind = name or auto
        # Numbers are made where they are used: a host takes seconds for what a GPU makes in milliseconds.
        self.random = torch.Generator(self.kind).manual_seed(1)
        self.has_events = self.kind == "cuda"
        # Asked for once: a device that is lost does not tell.
        self.adapter, self.memory_bytes = self.describe(), self.memory()

    def normal(self, shape, dtype, scale=1.0):
        return torch.empty(shape, dtype=dtype, device=self.kind).normal_(0, scale, generator=self.random)

    def uniform(self, shape, dtype, low, high):
        return torch.empty(shape, dtype=dtype, device=self.kind).uniform_(low, high, generator=self.random)

    def wait(self):
        if self.kind != "cpu":
            getattr(torch, self.kind).synchronize()

    def release(self):
        """Gives memory back that nothing uses, so that the next workload finds it in one piece."""
        if self.kind != "cpu":
            getattr(torch, self.kind).empty_cache()

    def live_bytes(self):
        return torch.cuda.memory_allocated() if self.kind == "cuda" else 0

    def reset_peak(self):
        if self.kind == "cuda":
            torch.cuda.reset_peak_memory_stats()

    def peak_bytes(self):
        return torch.cuda.max_memory_allocated() if self.kind == "cuda" else 0

    def memory(self):
        return torch.cuda.mem_get_info()[1] if self.kind == "cuda" else 0

    def is_lost(self):
        """Whether nothing succeeds any more. Errors of libraries may say `CUDA error` too, and pass."""
        try:
            self.wait()
            return torch.ones(1, device=self.kind).item() != 1
        except RuntimeError:
            return True

    def describe(self):
        vendor, info = 0, ""
        if self.kind == "cuda":
            amd = torch.version.hip
            name, kind, vendor = torch.cuda.get_device_name(), "discrete GPU", 0x1002 if amd else 0x10DE
            driver = f"ROCm {amd}" if amd else f"CUDA {torch.version.cuda}"
            info = f"cuDNN {torch.backends.cudnn.version()}"
        elif self.kind == "mps":
            name, driver, kind = platform.processor() or "Apple", f"macOS {platform.mac_ver()[0]}", "integrated GPU"
        else:
            name, driver, kind = f"{platform.machine()} processor", torch.backends.cpu.get_cpu_capability(), "processor"
            info = f"{torch.get_num_threads()} threads"
        return {
            "name": name,
            "backend": self.kind,
            "driver": driver,
            "driver_info": info,
            "device_type": kind,
            "vendor": vendor,
            "device": 0,
        }


@functools.cache
def rank(runs):
    """See `outer_rank` of tilewise's timing: from either end the run that bounds the median with 95 %."""
    below, k = 0, 0
    while runs and (below + math.comb(runs, k)) / 2**runs <= 0.025:
        below, k = below + math.comb(runs, k), k + 1
    return k - 1 if k else None


def spread(seconds):
    runs, ms = len(seconds), sorted(1e3 * s for s in seconds)
    lower, median, upper = (ms[((runs - 1) * quarter + 2) // 4] for quarter in (1, 2, 3))
    ends = None if (at := rank(runs)) is None else [ms[at], ms[runs - 1 - at]]
    return {"lower_ms": lower, "median_ms": median, "upper_ms": upper, "interval_ms": ends}


def reach(found):
    ends, median = found["interval_ms"], max(found["median_ms"], 1e-6)
    return max(median - ends[0], ends[1] - median) / median if ends else math.inf


def counted(timing):
    """The median on the clock that counts, in seconds."""
    return max((timing["device"] or timing["wall"])["median_ms"] / 1e3, 1e-9)


def warm_up(work, device, effort, until):
    """Runs until the device is warm, and says how long a run takes then: until runs have got no faster for as long as
    the effort says, or time is up. All the while there is work in the queue: the clock of a GPU that waits for its host
    half of the time stays where it was when the host prepared the work, and rises by steps that may last a fifth of a
    second."""
    started = since = clock()
    steady = max(effort.warm_up, STEP if device.has_events else 0)
    last = min(started + steady + effort.budget, (started + until) / 2)
    fastest, runs = math.inf, 1
    while True:
        batch = clock()
        for _ in range(runs):
            work()
        device.wait()
        now = clock()
        run = max((now - batch) / runs, 1e-9)
        if run < FASTER * fastest:
            fastest, since = run, batch
        if now - since >= steady or now >= last:
            return run
        runs = int(min(max(WARMING / run, 1), 1000))


def queued(work, device, count):
    """Times of so many runs on the device's clock, each from the end of the one before. Another goes ahead of them: while
    the device has that, the host launches the next, as one has it with work that is recorded before it is submitted."""
    events = [torch.cuda.Event(enable_timing=True) for _ in range(count + 1)]
    work()
    events[0].record()
    for event in events[1:]:
        work()
        event.record()
    device.wait()
    return [first.elapsed_time(last) / 1e3 for first, last in zip(events, events[1:])]


def alone(work, device):
    """The time of one run from launching it to its end, on the host's clock and on the device's if it has one."""
    events = [torch.cuda.Event(enable_timing=True) for _ in range(2)] if device.has_events else []
    before = clock()
    for event in events[:1]:
        event.record()
    work()
    for event in events[1:]:
        event.record()
    device.wait()
    took = clock() - before
    return took, events[0].elapsed_time(events[1]) / 1e3 if events else None


def timing(work, device, effort, until=math.inf):
    """Times work until the effort is met, or until then, once at least."""
    # If time is up already, the run whose answer was checked has warmed it as much as can be.
    run = warm_up(work, device, effort, until) if clock() < until else math.inf
    until = min(until, clock() + effort.budget)
    on_device, wall = [], []
    while effort.wants_more(on_device or wall, wall, until):
        took, on_clock = alone(work, device)
        wall.append(took)
        if device.has_events:
            on_device += [on_clock] if run > LONG else queued(work, device, AHEAD)
    return summary(on_device, wall, effort.within)


def summary(on_device, wall, within):
    runs = on_device or wall
    found, quarter = spread(runs), len(runs) // 4
    median = max(found["median_ms"], 1e-6)
    apart = (found["upper_ms"] - found["lower_ms"]) / median
    drift = None
    if quarter >= 3:
        first, last = (spread(part)["median_ms"] for part in (runs[:quarter], runs[-quarter:]))
        drift = (last - first) / median
    doubts = {
        "noisy": apart > 0.1,
        "drifting": drift is not None and abs(drift) > max(apart, 0.05),
        "unsettled": reach(found) > within,
    }
    return {
        "device": spread(on_device) if on_device else None,
        "wall": spread(wall),
        "runs": len(runs),
        "drift": drift,
        "doubts": [doubt for doubt, holds in doubts.items() if holds],
    }


def ceilings(device, effort):
    """Copies, and the largest products that the library has: it gives no way to run bare multiply-adds."""
    seconds = lambda work: counted(timing(work, device, effort))
    small = device.kind == "cpu"
    n = 1024 if small else 8192

    def copy():
        a = device.normal((1 << (24 if small else 28),), torch.float32)
        b = torch.empty_like(a)
        return 8 * a.numel() / seconds(lambda: b.copy_(a))

    def product(dtype):
        x = device.normal((n, n), dtype, n**-0.5)
        return 2 * n**3 / seconds(lambda: x @ x)

    one = device.normal((4,), torch.float32)
    once = timing(lambda: one.add_(1), device, effort)
    many = seconds(lambda: [one.add_(1) for _ in range(65)])
    found = {
        "copy_bytes_per_second": copy(),
        "fma_flops_per_second": product(torch.float32),
        "matrix_flops_per_second": None if small else product(torch.float16),
        "submission_seconds": once["wall"]["median_ms"] / 1e3,
        "dispatch_seconds": max(many - counted(once), 0) / 64,
    }
    device.release()
    return found


def better(one, other):
    """The better of two measurements in each respect: whatever else keeps a machine busy can only make it slower."""
    best = lambda key: max if key.endswith("_per_second") else min
    return {key: None if one[key] is None else best(key)(one[key], other[key]) for key in one}
