#!/usr/bin/env python3
"""The workloads of a tilewise record, with PyTorch: the same shapes, and a record of the same JSON.

    tilewise bench --quick -o ours.json
    python benches/peers/torch_bench.py ours.json -o torch.json
    tilewise report ours.json torch.json -o report.html

Runs on CUDA, MPS or the CPU. Each answer is checked against a loop or a formula in f64 before it is timed. Attention is
PyTorch's own, which takes FlashAttention where it can; scans and structured products are what one writes in PyTorch
without a kernel of one's own. What has no such thing is recorded as refused. TF32 is off: f32 means f32.
"""

import argparse
import datetime
import json
import math
import platform
import time
from dataclasses import dataclass
from typing import Callable

import torch
import torch.nn.functional as F

DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
# Warm-up and budget in seconds, least and most runs, and how far the interval may reach: as tilewise has them.
EFFORTS = {"quick": (0.1, 0.7, 7, 50, 0.05), "standard": (0.3, 2, 10, 200, 0.02), "full": (0.5, 6, 20, 1000, 0.01)}


@dataclass
class Op:
    """An operation on given inputs, and how a part of it is checked."""

    name: str
    inputs: list
    run: Callable
    # The same in other words, for a part of the inputs in f64.
    exact: Callable
    # The part of each input that `exact` gets; its result is `part` of the whole one.
    cut: Callable
    part: Callable
    # What a framework would compose, if that is not `run` itself.
    unfused: Callable = None


class Device:
    def __init__(self, name):
        auto = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        self.kind = name or auto
        self.random = torch.Generator().manual_seed(1)

    def normal(self, shape, dtype, scale=1.0):
        return (torch.randn(shape, generator=self.random) * scale).to(dtype).to(self.kind)

    def uniform(self, shape, dtype, low, high):
        return (torch.rand(shape, generator=self.random) * (high - low) + low).to(dtype).to(self.kind)

    def wait(self):
        if self.kind != "cpu":
            getattr(torch, self.kind).synchronize()

    def adapter(self):
        empty = {"vendor": 0, "device": 0, "driver_info": ""}
        if self.kind == "cuda":
            name, driver, kind = torch.cuda.get_device_name(), f"CUDA {torch.version.cuda}", "discrete GPU"
        elif self.kind == "mps":
            name, driver, kind = platform.processor() or "Apple", f"macOS {platform.mac_ver()[0]}", "integrated GPU"
        else:
            name, driver, kind = f"{platform.machine()} processor", torch.backends.cpu.get_cpu_capability(), "processor"
        return {"name": name, "backend": self.kind, "driver": driver, "device_type": kind} | empty

    def memory(self):
        return torch.cuda.mem_get_info()[1] if self.kind == "cuda" else 0


# Operations: each gets the fields of a spec, and makes inputs as tilewise's benchmarks do.


def attention(spec, dtype, device):
    b, h, g = spec["batch"], spec["heads"], spec["heads"] // spec["kv_heads"]
    q, k, v = (
        device.normal((b, heads, length, dim), dtype)
        for heads, length, dim in [
            (h, spec["q_len"], spec["head_dim"]),
            (h // g, spec["k_len"], spec["head_dim"]),
            (h // g, spec["k_len"], spec["value_dim"]),
        ]
    )
    causal = spec["causal"]

    def plain(q, k, v):
        k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        if causal:
            hidden = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device)
            scores = scores.masked_fill(hidden.triu(1 + k.shape[2] - q.shape[2]), -math.inf)
        return scores.softmax(-1) @ v

    return Op(
        "scaled_dot_product_attention",
        [q, k, v],
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=g > 1),
        plain,
        lambda q, k, v: (q[:1, :g], k[:1, :1], v[:1, :1]),
        lambda o: o[:1, :g],
        plain,
    )


def monarch(spec, dtype, device):
    (k, q, p), (l, s, r) = spec["w1"], spec["w2"]
    x = device.normal((spec["batch"], k * p), dtype)
    w1, w2 = device.normal((k, q, p), dtype, p**-0.5), device.normal((l, s, r), dtype, r**-0.5)

    def run(x, w1, w2):
        y = torch.bmm(x.view(-1, k, p).transpose(0, 1), w1.transpose(1, 2))
        y = y.permute(1, 2, 0).reshape(-1, l, r).transpose(0, 1)
        return torch.bmm(y, w2.transpose(1, 2)).permute(1, 2, 0).reshape(-1, s * l)

    def exact(x, w1, w2):
        y = torch.einsum("kqp,bkp->bqk", w1, x.view(-1, k, p)).reshape(-1, l, r)
        return torch.einsum("lsr,blr->bsl", w2, y).reshape(-1, s * l)

    return Op("two bmm", [x, w1, w2], run, exact, lambda x, *w: (x[:4], *w), lambda y: y[:4])


def butterfly(spec, dtype, device):
    n, levels = spec["n"], spec["n"].bit_length() - 1
    if spec["nblocks"] * spec["nstacks"] * spec["entry"] != 1 or spec["complex"] or spec["n_in"] != n:
        raise NotImplementedError("only one real block is written here")
    x, w = device.normal((spec["batch"], n), dtype), device.normal((levels, n // 2, 2, 2), dtype, 0.5**0.5)

    def run(x, w):
        for level in range(levels):
            stride = 1 << level if spec["increasing_stride"] else n >> (level + 1)
            pairs = x.view(x.shape[0], n // 2 // stride, 1, 2, stride)
            twiddle = w[level].view(n // 2 // stride, stride, 2, 2).permute(0, 2, 3, 1)
            x = (twiddle * pairs).sum(3).reshape(x.shape[0], n)
        return x

    def exact(x, w):
        for level in range(levels):
            stride = 1 << level if spec["increasing_stride"] else n >> (level + 1)
            first = torch.arange(n).view(-1, 2, stride)[:, 0].reshape(-1)
            a, b, t = x[:, first], x[:, first + stride], w[level]
            x = x.clone()
            x[:, first], x[:, first + stride] = t[:, 0, 0] * a + t[:, 0, 1] * b, t[:, 1, 0] * a + t[:, 1, 1] * b
        return x

    return Op("a sum a level", [x, w], run, exact, lambda x, w: (x[:4], w), lambda y: y[:4])


def matmul(spec, dtype, device):
    m, n, k = spec["m"], spec["n"], spec["k"]
    a, b = device.normal((m, k), dtype), device.normal((k, n), dtype, k**-0.5)
    return Op("matmul", [a, b], torch.matmul, torch.matmul, lambda a, b: (a[:4], b), lambda c: c[:4])


def doubling(a, b):
    """h_t = a_t h_(t-1) + b_t along the last dimension, in log2(length) passes over everything."""
    step = 1
    while step < a.shape[-1]:
        b = torch.cat([b[..., :step], b[..., step:] + a[..., step:] * b[..., :-step]], -1)
        a = torch.cat([a[..., :step], a[..., step:] * a[..., :-step]], -1)
        step *= 2
    return b


def sequential(a, b):
    h, steps = torch.zeros_like(b[..., 0]), []
    for t in range(a.shape[-1]):
        h = a[..., t] * h + b[..., t]
        steps.append(h)
    return torch.stack(steps, -1)


def linear_scan(spec, dtype, device):
    shape = (spec["batch"], spec["channels"], spec["length"])
    a, b = device.uniform(shape, dtype, 0.9, 1.0), device.normal(shape, dtype)

    def run(a, b):
        return doubling(a.float(), b.float()).to(dtype)

    part = lambda x: x[:1, :4]
    return Op("doubling", [a, b], run, sequential, lambda *x: map(part, x), part)


def selective_scan(spec, dtype, device):
    batch, channels, length, n = (spec[key] for key in ("batch", "channels", "length", "state_dim"))
    if spec["complex"] or spec["gated"] or (spec["b"], spec["c"]) != ("per-step", "per-step"):
        raise NotImplementedError("only real scans with coefficients by step and no gate are written here")
    u = device.normal((batch, channels, length), dtype)
    delta = device.uniform((batch, channels, length), dtype, -4.0, -1.0)
    a = device.uniform((channels, n), torch.float32, -1.5, -0.2)
    b, c = (device.normal((batch, n, length), dtype) for _ in range(2))
    skip, bias = (device.uniform((channels,), torch.float32, 0.0, 0.5) for _ in range(2))

    def of(scan):
        def run(u, delta, a, b, c, skip, bias):
            dt = F.softplus(delta.to(a.dtype) + bias[:, None])
            decay = torch.exp(dt[:, :, None] * a[:, :, None])
            h = scan(decay, (dt * u)[:, :, None] * b[:, None].to(a.dtype))
            return ((h * c[:, None]).sum(2) + skip[:, None] * u).to(u.dtype)

        return run

    part = lambda x: x[:1, :4]
    cut = lambda u, d, a, b, c, s, z: (part(u), part(d), a[:4], b[:1], c[:1], s[:4], z[:4])
    return Op("doubling over all states", [u, delta, a, b, c, skip, bias], of(doubling), of(sequential), cut, part)


def ssd(spec, dtype, device):
    batch, length, heads, dim, n = (spec[key] for key in ("batch", "length", "heads", "head_dim", "state_dim"))
    if spec["gated"] or spec["groups"] != 1 or spec["skip"] != "per-head" or spec["dt_limits"]:
        raise NotImplementedError("only one group with a skip a head and no gate is written here")
    chunk = math.gcd(length, 128)
    x, dt = device.normal((batch, length, heads, dim), dtype), device.uniform((batch, length, heads), dtype, -4.0, -1.0)
    a, skip, bias = (device.uniform((heads,), torch.float32, *ends) for ends in [(-1.5, -0.2), (0.0, 0.5), (0.0, 0.5)])
    b, c = (device.normal((batch, length, n), dtype) for _ in range(2))

    def run(x, dt, a, b, c, skip, bias):
        """In chunks, after the minimal version of Dao and Gu (2024)."""
        dt = F.softplus(dt.float() + bias)
        chunks = lambda x: x.reshape(x.shape[0], -1, chunk, *x.shape[2:])
        xs, bs, cs = chunks(x * dt[..., None].to(dtype)), chunks(b), chunks(c)
        decay = chunks(dt * a).permute(0, 3, 1, 2).cumsum(-1)
        seen = torch.ones(chunk, chunk, dtype=torch.bool, device=x.device).tril()
        within = (decay[..., :, None] - decay[..., None, :]).masked_fill(~seen, -math.inf).exp().to(dtype)
        scores = torch.einsum("zctn,zcsn->zcts", cs, bs)[:, None] * within
        y = torch.einsum("zhcts,zcshp->zcthp", scores, xs)
        to_end = (decay[..., -1:] - decay).exp().to(dtype)
        states = torch.einsum("zcsn,zhcs,zcshp->zhpnc", bs, to_end, xs).float()
        passed = doubling(decay[..., -1][:, :, None, None].exp().expand_as(states), states)
        before = F.pad(passed, (1, 0))[..., :-1].to(dtype)
        y = y + torch.einsum("zctn,zhpnc,zhct->zcthp", cs, before, decay.exp().to(dtype))
        return y.reshape(x.shape) + (skip[:, None] * x).to(dtype)

    def exact(x, dt, a, b, c, skip, bias):
        dt = F.softplus(dt + bias)
        decay = (dt * a).exp().movedim(1, -1)[:, :, None, None]
        h = sequential(decay, torch.einsum("zth,zthp,ztn->zhpnt", dt, x, b))
        return torch.einsum("zhpnt,ztn->zthp", h, c) + skip[:, None] * x

    cut = lambda x, dt, a, b, c, s, z: (x[:1, :, :1, :4], dt[:1, :, :1], a[:1], b[:1], c[:1], s[:1], z[:1])
    return Op("chunks by einsum", [x, dt, a, b, c, skip, bias], run, exact, cut, lambda y: y[:1, :, :1, :4])


def conv1d(spec, dtype, device):
    channels, width = spec["channels"], spec["width"]
    x = device.normal((spec["batch"], channels, spec["length"]), dtype)
    w, bias = device.normal((channels, width), dtype, 0.5), device.normal((channels,), dtype, 0.5)

    def run(x, w, bias):
        return F.silu(F.conv1d(x, w[:, None], bias, padding=width - 1, groups=channels)[..., : x.shape[-1]])

    def exact(x, w, bias):
        taps = F.pad(x, (width - 1, 0)).unfold(-1, width, 1)
        return F.silu((taps * w[:, None]).sum(-1) + bias[:, None])

    return Op("conv1d", [x, w, bias], run, exact, lambda x, w, b: (x[:, :4], w[:4], b[:4]), lambda y: y[:, :4])


def long_convolution(spec, dtype, device):
    shape, taps = (spec["batch"], spec["channels"], spec["length"]), spec["taps"]
    u, pre, post = (device.normal(shape, dtype) for _ in range(3))
    k, skip = device.normal((shape[1], taps), torch.float32, taps**-0.5), device.normal((shape[1],), torch.float32)
    gates = spec["pre_gate"], spec["post_gate"], spec["skip"]

    def of(convolve):
        def run(u, k, pre, post, skip):
            v = (u * pre if gates[0] else u).to(k.dtype)
            y = convolve(v, k)
            y = y + skip[:, None] * v if gates[2] else y
            return (y * post if gates[1] else y).to(u.dtype)

        return run

    def fft(v, k):
        size = v.shape[-1] + k.shape[-1]
        return torch.fft.irfft(torch.fft.rfft(v, n=size) * torch.fft.rfft(k, n=size), n=size)[..., : v.shape[-1]]

    def direct(v, k):
        return F.conv1d(F.pad(v, (k.shape[-1] - 1, 0)).transpose(0, 1), k[:1].flip(-1)[:, None]).transpose(0, 1)

    part = lambda x: x[:1, :1]
    cut = lambda u, k, pre, post, skip: (part(u), k[:1], part(pre), part(post), skip[:1])
    # Beyond this length direct sums take minutes; the transform in f64 is exact enough.
    exact = of(direct if shape[-1] <= 1 << 14 else fft)
    return Op("rfft", [u, k, pre, post, skip], of(fft), exact, cut, part)


OPERATIONS = {
    "attention": attention,
    "monarch": monarch,
    "butterfly": butterfly,
    "matmul": matmul,
    "linear scan": linear_scan,
    "selective scan": selective_scan,
    "ssd": ssd,
    "conv1d": conv1d,
    "long convolution": long_convolution,
}


def operation(report, device):
    """What a report's workload is in PyTorch."""
    kind, spec = report["kind"].split(",")[0], report["spec"]
    if kind not in OPERATIONS or " mod" in report["case"] or "blocks of" in report["case"] or "attention" in spec:
        raise NotImplementedError("PyTorch has no such operation, and none is written here")
    return OPERATIONS[kind](spec, DTYPES[report["dtype"]], device)


# Checks and times.


def backward(run, inputs):
    """A call that computes gradients alone: the forward pass is done once."""
    leaves = [x.detach().requires_grad_() for x in inputs]
    out = run(*leaves)
    seed = torch.ones_like(out)
    return lambda: torch.autograd.grad(out, leaves, seed, retain_graph=True, allow_unused=True)


def check(op, run, dtype, back):
    """Compares a part with f64: the result, and going back the gradient of the first input."""
    exact_in = [x.detach().double().cpu().requires_grad_() for x in op.cut(*op.inputs)]
    exact = op.exact(*exact_in)
    if back:
        ours = next(iter(op.cut(*(g if g is not None else x for g, x in zip(backward(run, op.inputs)(), op.inputs)))))
        (exact,) = torch.autograd.grad(exact, exact_in[:1], torch.ones_like(exact))
    else:
        ours = op.part(run(*op.inputs))
    error = (ours.double().cpu() - exact).abs().max().item()
    allowed = max(16 * torch.finfo(dtype).eps, 1e-4) * exact.abs().max().item()
    if not error <= allowed:
        raise ArithmeticError(f"wrong by {error:.3g}, where {allowed:.3g} is allowed")


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
    ends, median = found["interval_ms"], found["median_ms"]
    return max(median - ends[0], ends[1] - median) / median if ends else math.inf


def timing(work, device, effort):
    warm_up, budget, least, most, within = effort
    start = time.perf_counter()
    while True:
        work()
        device.wait()
        if time.perf_counter() - start >= warm_up:
            break
    cuda = device.kind == "cuda"
    on_device, wall = [], []
    start = time.perf_counter()
    while not wall or time.perf_counter() - start < budget:
        events = [torch.cuda.Event(enable_timing=True) for _ in range(2)] if cuda else []
        before = time.perf_counter()
        for event in events[:1]:
            event.record()
        work()
        for event in events[1:]:
            event.record()
        device.wait()
        wall.append(time.perf_counter() - before)
        if cuda:
            on_device.append(events[0].elapsed_time(events[1]) / 1e3)
        runs = on_device or wall
        if len(runs) >= least and (len(runs) >= most or reach(spread(runs)) <= within):
            break
    runs, found, quarter = on_device or wall, spread(on_device or wall), len(wall) // 4
    apart = (found["upper_ms"] - found["lower_ms"]) / found["median_ms"]
    drift = None
    if quarter >= 3:
        first, last = (spread(part)["median_ms"] for part in (runs[:quarter], runs[-quarter:]))
        drift = (last - first) / found["median_ms"]
    doubts = {
        "noisy": apart > 0.1,
        "drifting": drift is not None and abs(drift) > max(apart, 0.05),
        "unsettled": reach(found) > within,
    }
    device_spread = spread(on_device) if cuda else None
    told = [doubt for doubt, holds in doubts.items() if holds]
    return {"device": device_spread, "wall": spread(wall), "runs": len(runs), "drift": drift, "doubts": told}


def ceilings(device, effort):
    """Copies, and the largest products that the library has: it gives no way to run bare multiply-adds."""
    seconds = lambda work: timing(work, device, effort)["wall"]["median_ms"] / 1e3
    small = device.kind == "cpu"
    a = device.normal((1 << (24 if small else 28),), torch.float32)
    b = torch.empty_like(a)
    n = 1024 if small else 8192

    def product(dtype):
        x = device.normal((n, n), dtype, n**-0.5)
        return 2 * n**3 / seconds(lambda: x @ x)

    one = device.normal((4,), torch.float32)
    once = seconds(lambda: one.add_(1))
    many = seconds(lambda: [one.add_(1) for _ in range(65)])
    return {
        "copy_bytes_per_second": 8 * a.numel() / seconds(lambda: b.copy_(a)),
        "fma_flops_per_second": product(torch.float32),
        "matrix_flops_per_second": None if small else product(torch.float16),
        "submission_seconds": once,
        "dispatch_seconds": max(many - once, 0) / 64,
    }


def figures(name, run, op, report, device, effort, roofs):
    """Checks and times one implementation."""
    back = report["pass"] == "backward"
    check(op, run, DTYPES[report["dtype"]], back)
    work = backward(run, op.inputs) if back else lambda: run(*op.inputs)
    peak = 0
    if device.kind == "cuda":
        torch.cuda.reset_peak_memory_stats()
        live = torch.cuda.memory_allocated()
        work()
        device.wait()
        peak = torch.cuda.max_memory_allocated() - live
    with torch.set_grad_enabled(back):
        timed = timing(work, device, effort)
    seconds = (timed["device"] or timed["wall"])["median_ms"] / 1e3
    flops, moved = report["flops"], report["least_bytes"]
    matrix = roofs["matrix_flops_per_second"] if report["dtype"] == "f16" else None
    floor = max(flops / max(matrix or 0, roofs["fma_flops_per_second"]), moved / roofs["copy_bytes_per_second"])
    return {
        "plan": name,
        "timing": timed,
        "peak_bytes": peak,
        "flops_per_second": flops / seconds,
        "bytes_per_second": moved / seconds,
        "copy_fraction": moved / seconds / roofs["copy_bytes_per_second"],
        "ceiling_fraction": floor / seconds,
    }


def measure(report, device, effort, roofs):
    op = operation(report, device)
    same = {key: report[key] for key in report if key not in ("fused", "yardsticks")}
    fused = figures(op.name, op.run, op, report, device, effort, roofs)
    yardsticks = []
    if op.unfused:
        try:
            found = {"figures": figures("unfused", op.unfused, op, report, device, effort, roofs)}
        except torch.OutOfMemoryError as error:
            found = {"refused": str(error)}
        yardsticks.append({"name": "unfused", "measured": found})
    return same | {"fused": fused, "yardsticks": yardsticks}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("record", help="a record that tilewise bench -o wrote")
    parser.add_argument("-o", "--output", required=True)
    parser.add_argument("--device", choices=["cuda", "mps", "cpu"])
    parser.add_argument("--note")
    given = parser.parse_args()
    with open(given.record, encoding="utf-8") as file:
        ours = json.load(file)
    if ours.get("schema") != "tilewise-benchmark" or ours.get("version") != 2:
        parser.error(f'{given.record} is no record of version 2, with "schema": "tilewise-benchmark"')
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    device, effort = Device(given.device), EFFORTS[ours["suite"]["depth"]]
    roofs = ceilings(device, effort)
    reports, lists = [], {"refused": [], "failed": []}
    try:
        for at, report in enumerate(ours["reports"]):
            print(f"{at + 1} of {len(ours['reports'])}: {report['workload']}", flush=True)
            unmeasured = lambda error: {"workload": report["workload"], "case": report["case"], "reason": str(error)}
            try:
                reports.append(measure(report, device, effort, roofs))
            except (NotImplementedError, torch.OutOfMemoryError) as error:
                lists["refused"].append(unmeasured(error))
            except (ArithmeticError, RuntimeError) as error:
                lists["failed"].append(unmeasured(error))
                print(f"  went wrong: {error}")
        complete = True
    except KeyboardInterrupt:
        complete = False
    record = {
        "schema": "tilewise-benchmark",
        "version": 2,
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "note": given.note,
        "engine": {"name": "PyTorch", "version": torch.__version__, "on": f"Python {platform.python_version()}"},
        "adapter": device.adapter(),
        "caps": None,
        "shader_checks": False,
        "suite": ours["suite"] | {"memory_bytes": device.memory(), "complete": complete},
        "ceilings": roofs,
        "reports": reports,
        **lists,
    }
    with open(given.output, "w", encoding="utf-8") as file:
        json.dump(record, file, indent=2, ensure_ascii=False)
        file.write("\n")
    raise SystemExit(1 if lists["failed"] else 0)


if __name__ == "__main__":
    main()
