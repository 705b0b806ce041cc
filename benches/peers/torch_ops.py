"""The operations of the suite in PyTorch, each in the best way that PyTorch has without a kernel of one's own."""

import math
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Callable

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.bias import causal_lower_right

DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}

# What the oracle of a convolution sums term by term, in samples; longer ones are transformed in f64.
DIRECT = 1 << 13
# Scores of a head group that the oracle of attention has at once.
SCORES = 1 << 24
# How PyTorch says that a kernel of attention does not take some inputs.
NO_KERNEL = ("No available kernel", "No viable backend")


@dataclass
class Way:
    """An implementation of an operation."""

    # Which PyTorch expression it is: the plan of the record.
    plan: str
    run: Callable
    # Under what all runs are: entering it takes longer than launching a kernel, and is not timed.
    context: Callable = nullcontext
    # What it is called as a yardstick.
    name: str = "fused"


@dataclass
class Op:
    """An operation on given inputs, and how a sample of it is checked."""

    # The best first; then what a framework would compose, as `unfused`, and what else is of interest.
    ways: list
    inputs: list
    # The same in other words, for a sample of the inputs in f64.
    exact: Callable
    # The sample of each input that `exact` gets; its result is `part` of the whole one.
    cut: Callable
    part: Callable
    # The gradients of so many of the first inputs are those of the sample: no other element has a part in them.
    own: int = 1


def some(total, count=4):
    """Indices spread evenly, the first and the last among them, as tilewise samples."""
    count = min(total, count)
    return [at * (total - 1) // (count - 1) if count > 1 else total - 1 for at in range(count)]


# Attention.


def plain_attention(spec, positions=None):
    """By the formula, for queries at those positions: all if there are none."""

    def run(q, k, v):
        k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        if spec["causal"]:
            at = torch.arange(q.shape[2]) if positions is None else torch.tensor(positions)
            last = at.to(q.device)[:, None] + spec["k_len"] - spec["q_len"]
            scores = scores.masked_fill(torch.arange(spec["k_len"], device=q.device) > last, -math.inf)
        return scores.softmax(-1) @ v

    return run


def attention_by(backend, words, spec, name="fused"):
    """PyTorch's own, by one of its kernels, or by whichever it takes."""
    grouped = spec["heads"] != spec["kv_heads"]
    # `is_causal` aligns the mask to the first key, tilewise to the last; for square scores it is the same, and faster.
    square = spec["q_len"] == spec["k_len"]
    mask = causal_lower_right(spec["q_len"], spec["k_len"]) if spec["causal"] and not square else None
    options = {"attn_mask": mask, "is_causal": spec["causal"] and square}

    def run(q, k, v):
        # The memory-efficient kernel has no groups of heads: keys and values are repeated, and that is timed.
        repeated = grouped and backend == SDPBackend.EFFICIENT_ATTENTION
        if repeated:
            k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
        return F.scaled_dot_product_attention(q, k, v, enable_gqa=grouped and not repeated, **options)

    context = nullcontext if backend is None else lambda: sdpa_kernel(backend)
    return Way(f"scaled_dot_product_attention, {words}", run, context, name)


def attention_ways(spec, device):
    """By the kernels worth trying, the best first."""
    flash = (SDPBackend.FLASH_ATTENTION, "FlashAttention-2" if device.kind == "cuda" else "the processor's flash kernel")
    efficient = (SDPBackend.EFFICIENT_ATTENTION, "memory-efficient")
    composed = (SDPBackend.MATH, "composed")
    if device.kind == "mps":
        backends = [(None, "PyTorch's choice")]
    elif device.kind == "cpu":
        backends = [flash, composed]
    else:
        backends = [efficient, composed] if spec["dtype"] == "f32" else [flash, efficient, composed]
    return [attention_by(backend, words, spec) for backend, words in backends]


def first_that_runs(ways, inputs):
    for way in ways[:-1]:
        try:
            with torch.no_grad(), way.context():
                way.run(*inputs)
            return way
        except RuntimeError as error:
            if not any(words in str(error) for words in NO_KERNEL):
                raise
    return ways[-1]


def attention(spec, dtype, device):
    group = spec["heads"] // spec["kv_heads"]
    q, k, v = (
        device.normal((spec["batch"], heads, length, dim), dtype)
        for heads, length, dim in [
            (spec["heads"], spec["q_len"], spec["head_dim"]),
            (spec["kv_heads"], spec["k_len"], spec["head_dim"]),
            (spec["kv_heads"], spec["k_len"], spec["value_dim"]),
        ]
    )
    # A group of heads whole, if its scores are few; otherwise some of its queries, whose gradients alone are then sure.
    whole = group * spec["q_len"] * spec["k_len"] <= SCORES
    rows = list(range(spec["q_len"])) if whole else some(spec["q_len"], 64)
    ways = [first_that_runs(attention_ways(spec, device), [q, k, v])]
    ways.append(Way("matmul, softmax, matmul", plain_attention(spec), name="unfused"))
    if device.kind == "cuda" and dtype != torch.float32:
        ways.append(attention_by(SDPBackend.CUDNN_ATTENTION, "cuDNN", spec, "cuDNN"))
    return Op(
        ways,
        [q, k, v],
        plain_attention(spec, rows),
        lambda q, k, v: (q[-1:, -group:, rows], k[-1:, -1:], v[-1:, -1:]),
        lambda o: o[-1:, -group:, rows],
        own=3 if whole else 1,
    )


# Structured products.


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

    rows = some(spec["batch"])
    return Op([Way("two torch.bmm", run)], [x, w1, w2], exact, lambda x, *w: (x[rows], *w), lambda y: y[rows])


def butterfly(spec, dtype, device):
    n, levels = spec["n"], spec["n"].bit_length() - 1
    only(spec, nblocks=1, nstacks=1, entry=1, n_in=n)
    x, w = device.normal((spec["batch"], n), dtype), device.normal((levels, n // 2, 2, 2), dtype, 0.5**0.5)
    strides = [1 << level if spec["increasing_stride"] else n >> (level + 1) for level in range(levels)]

    def run(x, w):
        for level, stride in zip(w, strides):
            pairs = x.view(x.shape[0], n // 2 // stride, 1, 2, stride)
            twiddle = level.view(n // 2 // stride, stride, 2, 2).permute(0, 2, 3, 1)
            x = (twiddle * pairs).sum(3).reshape(x.shape[0], n)
        return x

    def exact(x, w):
        for t, stride in zip(w, strides):
            first = torch.arange(n).view(-1, 2, stride)[:, 0].reshape(-1)
            a, b, x = x[:, first], x[:, first + stride], x.clone()
            x[:, first], x[:, first + stride] = t[:, 0, 0] * a + t[:, 0, 1] * b, t[:, 1, 0] * a + t[:, 1, 1] * b
        return x

    rows = some(spec["batch"])
    ways = [Way("multiply and sum, a level at a time", run)]
    return Op(ways, [x, w], exact, lambda x, w: (x[rows], w), lambda y: y[rows])


def matmul(spec, dtype, device):
    only(spec, batch=[1, 1], b_transposed=False, b_share=1, scale=1)
    m, n, k = spec["m"], spec["n"], spec["k"]
    a, b = device.normal((m, k), dtype), device.normal((k, n), dtype, k**-0.5)
    rows = some(m)
    ways = [Way("torch.matmul" + (", cuBLAS" if device.kind == "cuda" else ""), torch.matmul)]
    return Op(ways, [a, b], torch.matmul, lambda a, b: (a[rows], b), lambda c: c[rows])


# Recurrences.


def halving(a, b, back=False):
    """h_t = a_t h_(t-1) + b_t along the last dimension, or h_t = a_t h_(t+1) + b_t from its end.

    Pairs of steps are one step of half as many, whose results are those of every second step; the others follow. All in
    all it reads and writes a few times what it is given, where log2(length) passes over everything would (Blelloch,
    Prefix sums and their applications, 1990).
    """
    length = b.shape[-1]
    if length == 1:
        return b
    # Of each pair the step that comes second, and the one before it.
    second = slice(length % 2, length - 1, 2) if back else slice(1, length, 2)
    first = slice(second.start + 1, length, 2) if back else slice(0, length - 1, 2)
    h = torch.empty_like(b)
    seconds = halving(a[..., first] * a[..., second], torch.addcmul(b[..., second], a[..., second], b[..., first]), back)
    h[..., second] = seconds
    # The others, without that at which it all begins.
    begin, rest = (length - 1, slice(1 - length % 2, length - 1, 2)) if back else (0, slice(2, length, 2))
    h[..., begin] = b[..., begin]
    count = len(range(*rest.indices(length)))
    before = seconds[..., seconds.shape[-1] - count :] if back else seconds[..., :count]
    torch.addcmul(b[..., rest], a[..., rest], before, out=h[..., rest])
    return h


class Recurrence(torch.autograd.Function):
    """h_t = a_t h_(t-1) + b_t along the last dimension. Gradients are a recurrence backwards, which keeps `a` and `h`
    alone, where autograd through the halves would keep them all."""

    @staticmethod
    def forward(ctx, a, b):
        h = halving(a, b)
        ctx.save_for_backward(a, h)
        return h

    @staticmethod
    def backward(ctx, dh):
        a, h = ctx.saved_tensors
        # Step t goes on to step t + 1 by that one's factor. Not `pad`, which would lay states out anew.
        after, da = torch.zeros_like(a), torch.zeros_like(a)
        after[..., :-1] = a[..., 1:]
        db = halving(after, dh, back=True)
        torch.mul(db[..., 1:], h[..., :-1], out=da[..., 1:])
        return da, db


def recurrence(a, b):
    return Recurrence.apply(a, b)


def stepwise(a, b):
    """The same by the definition, for oracles: step by step in some √length chunks side by side, then chunk by chunk.
    Ten million steps take seconds, and autograd goes through it."""
    length = b.shape[-1]
    side = math.isqrt(length - 1) + 1
    short = side * side - length
    chunks = lambda x, fill: F.pad(x, (0, short), value=fill).unflatten(-1, (side, side))
    a, b = chunks(a, 1.0), chunks(b, 0.0)
    hs, products = [], []
    h, product = torch.zeros_like(b[..., 0]), torch.ones_like(a[..., 0])
    # `unbind`, since gradients of one element at a time would each be as large as all of them.
    for a_t, b_t in zip(a.unbind(-1), b.unbind(-1)):
        h, product = a_t * h + b_t, a_t * product
        hs.append(h)
        products.append(product)
    states, state = [], torch.zeros_like(h[..., 0])
    for last, decay in zip(h.unbind(-1), product.unbind(-1)):
        states.append(state)
        state = last + decay * state
    h = torch.stack(hs, -1) + torch.stack(products, -1) * torch.stack(states, -1)[..., None]
    return h.flatten(-2)[..., :length]


def linear_scan(spec, dtype, device):
    shape = (spec["batch"], spec["channels"], spec["length"])
    a, b = device.uniform(shape, dtype, 0.9, 1.0), device.normal(shape, dtype)

    def run(a, b):
        return recurrence(a.float(), b.float()).to(dtype)

    rows = some(spec["channels"])
    part = lambda x: x[-1:, rows]
    return Op([Way("halving, level by level", run)], [a, b], stepwise, lambda a, b: (part(a), part(b)), part, own=2)


def selective_scan(spec, dtype, device):
    batch, channels, length, n = (spec[key] for key in ("batch", "channels", "length", "state_dim"))
    only(spec, b="per-step", c="per-step", skip=True, delta_bias=True, delta_softplus=True)
    u = device.normal((batch, channels, length), dtype)
    delta = device.uniform((batch, channels, length), dtype, -4.0, -1.0)
    a = device.uniform((channels, n), torch.float32, -1.5, -0.2)
    b, c = (device.normal((batch, n, length), dtype) for _ in range(2))
    skip, bias = (device.uniform((channels,), torch.float32, 0.0, 0.5) for _ in range(2))

    def of(scan):
        def run(u, delta, a, b, c, skip, bias):
            # Steps before channels and states: halves of the steps are then whole rows of memory.
            by_step = lambda x: x.to(a.dtype).transpose(1, 2).contiguous()
            u, delta, b, c = by_step(u), by_step(delta), by_step(b), by_step(c)
            dt = F.softplus(delta + bias)
            decay = torch.exp(dt[..., None] * a)
            h = scan(decay.movedim(1, -1), ((dt * u)[..., None] * b[:, :, None]).movedim(1, -1)).movedim(-1, 1)
            y = (h @ c[..., None])[..., 0] + skip * u
            return y.transpose(1, 2)

        return run

    rows = some(channels)
    part = lambda x: x[-1:, rows]
    cut = lambda u, d, a, b, c, s, z: (part(u), part(d), a[rows], b[-1:], c[-1:], s[rows], z[rows])
    ways = [Way("halving over all states, level by level", lambda *given: of(recurrence)(*given).to(dtype))]
    return Op(ways, [u, delta, a, b, c, skip, bias], of(stepwise), cut, part, own=2)


def ssd(spec, dtype, device):
    batch, length, heads, dim, n = (spec[key] for key in ("batch", "length", "heads", "head_dim", "state_dim"))
    only(spec, groups=1, skip="per-head", dt_bias=True, dt_softplus=True, sequences="whole")
    chunk = math.gcd(length, 128)
    x, dt = device.normal((batch, length, heads, dim), dtype), device.uniform((batch, length, heads), dtype, -4.0, -1.0)
    a, skip, bias = (device.uniform((heads,), torch.float32, *ends) for ends in [(-1.5, -0.2), (0.0, 0.5), (0.0, 0.5)])
    b, c = (device.normal((batch, length, n), dtype) for _ in range(2))

    def decays(to, since, diagonal):
        """exp(to_i − since_j) for j up to i, or for those before."""
        apart = to[..., :, None] - since[..., None, :]
        seen = torch.ones(apart.shape[-2:], dtype=torch.bool, device=to.device).tril(diagonal)
        return apart.masked_fill(~seen, -math.inf).exp()

    def run(x, dt, a, b, c, skip, bias):
        """In chunks, after the minimal version of Dao and Gu (2024), with its products of several factors taken apart
        into products of two matrices."""
        dt = F.softplus(dt.float() + bias)
        chunks = lambda x: x.unflatten(1, (-1, chunk))
        by_row = lambda x: x.permute(0, 2, 3, 1)[..., None].to(dtype)
        xs, bs, cs = chunks(x * dt[..., None].to(dtype)), chunks(b), chunks(c)
        decay = chunks(dt * a).permute(0, 3, 1, 2).cumsum(-1)
        scores = (cs @ bs.transpose(-1, -2))[:, None] * decays(decay, decay, 0).to(dtype)
        y = torch.einsum("zhcts,zcshp->zcthp", scores, xs)
        to_end = by_row((decay[..., -1:] - decay).exp())
        states = torch.einsum("zcsn,zcshp->zchpn", bs, xs * to_end).float()
        total = decay[..., -1].cumsum(-1)
        before = torch.einsum("zhck,zkhpn->zchpn", decays(total - decay[..., -1], total, -1), states).to(dtype)
        y = y + torch.einsum("zctn,zchpn->zcthp", cs, before) * by_row(decay.exp())
        return y.reshape(x.shape) + (skip[:, None] * x).to(dtype)

    def exact(x, dt, a, b, c, skip, bias):
        dt = F.softplus(dt + bias)
        decay = (dt * a).exp().movedim(1, -1)[:, :, None, None]
        h = stepwise(decay, torch.einsum("zth,zthp,ztn->zhpnt", dt, x, b))
        return torch.einsum("zhpnt,ztn->zthp", h, c) + skip[:, None] * x

    # Two elements of the last head: each has as many states as the oracle goes through step by step.
    ends = some(dim, 2)
    cut = lambda x, dt, a, b, c, s, z: (x[-1:, :, -1:, ends], dt[-1:, :, -1:], a[-1:], b[-1:], c[-1:], s[-1:], z[-1:])
    part = lambda y: y[-1:, :, -1:, ends]
    return Op([Way(f"chunks of {chunk} by bmm", run)], [x, dt, a, b, c, skip, bias], exact, cut, part)


def conv1d(spec, dtype, device):
    channels, width = spec["channels"], spec["width"]
    only(spec, bias=True, silu=True)
    x = device.normal((spec["batch"], channels, spec["length"]), dtype)
    w, bias = device.normal((channels, width), dtype, 0.5), device.normal((channels,), dtype, 0.5)

    def run(x, w, bias):
        return F.silu(F.conv1d(x, w[:, None], bias, padding=width - 1, groups=channels)[..., : x.shape[-1]])

    def exact(x, w, bias):
        taps = F.pad(x, (width - 1, 0)).unfold(-1, width, 1)
        return F.silu((taps * w[:, None]).sum(-1) + bias[:, None])

    # Of all batches, so that the taps' gradients are whole.
    rows = some(channels)
    cut = lambda x, w, b: (x[:, rows], w[rows], b[rows])
    return Op([Way("F.conv1d, silu", run)], [x, w, bias], exact, cut, lambda y: y[:, rows], own=3)


def transformed(v, k):
    size = v.shape[-1] + k.shape[-1]
    return torch.fft.irfft(torch.fft.rfft(v, n=size) * torch.fft.rfft(k, n=size), n=size)[..., : v.shape[-1]]


def summed(v, k):
    """Term by term, of one row; 512 taps at a time, since the processor's convolution copies every window."""
    pieces = ((at, k[:1, at : at + 512].flip(-1)[:, None]) for at in range(0, k.shape[-1], 512))
    return sum(F.conv1d(F.pad(v, (at + piece.shape[-1] - 1, -at)), piece) for at, piece in pieces)


def long_convolution(spec, dtype, device):
    shape, taps = (spec["batch"], spec["channels"], spec["length"]), spec["taps"]
    u, pre, post = (device.normal(shape, dtype) for _ in range(3))
    k, skip = device.normal((shape[1], taps), torch.float32, taps**-0.5), device.normal((shape[1],), torch.float32)

    def of(convolve):
        def run(u, pre, post, k, skip):
            v = (u * pre if spec["pre_gate"] else u).to(k.dtype)
            y = convolve(v, k)
            y = y + skip[:, None] * v if spec["skip"] else y
            return (y * post if spec["post_gate"] else y).to(u.dtype)

        return run

    part = lambda x: x[-1:, -1:]
    cut = lambda u, pre, post, k, skip: (part(u), part(pre), part(post), k[-1:], skip[-1:])
    exact = of(summed if shape[-1] <= DIRECT else transformed)
    return Op([Way("torch.fft.rfft, irfft", of(transformed))], [u, pre, post, k, skip], exact, cut, part, own=3)


# Each kind: how it is made of a spec, and the spec's fields that it heeds.
OPERATIONS = {
    "attention": (attention, "batch q_len k_len heads kv_heads head_dim value_dim causal"),
    "monarch": (monarch, "batch w1 w2"),
    "butterfly": (butterfly, "batch n n_in nblocks nstacks entry increasing_stride"),
    "matmul": (matmul, "batch m n k a b c b_transposed b_share scale"),
    "linear scan": (linear_scan, "batch channels length"),
    "selective scan": (selective_scan, "batch channels length state_dim b c skip delta_bias delta_softplus"),
    "ssd": (ssd, "batch length heads head_dim groups state_dim skip dt_bias dt_softplus sequences"),
    "conv1d": (conv1d, "batch channels length width bias silu"),
    "long convolution": (long_convolution, "batch channels length taps pre_gate post_gate skip"),
}


def only(spec, **written):
    """Refuses what is not written here."""
    for name, value in written.items():
        if spec[name] != value:
            raise NotImplementedError(f"only {name} {value} is written in PyTorch here, not {spec[name]}")


def is_absent(value):
    """Whether a field of a spec asks for nothing."""
    return value in (None, False, "none") or (isinstance(value, dict) and all(map(is_absent, value.values())))


def operation(report, device):
    """What a report's workload is in PyTorch. A field that nobody heeds must ask for nothing."""
    kind, spec = report["kind"].split(",")[0], report["spec"]
    # Masks of the user's are beside the spec.
    if kind not in OPERATIONS or " by a mod" in report["case"] or "blocks of" in report["case"]:
        raise NotImplementedError("PyTorch has no such operation, and none is written here")
    make, heeded = OPERATIONS[kind]
    for name, value in spec.items():
        if name not in ("dtype", *heeded.split()) and not is_absent(value):
            raise NotImplementedError(f"{name} {value} is not written in PyTorch here")
    return make(spec | {"dtype": report["dtype"]}, DTYPES[report["dtype"]], device)
