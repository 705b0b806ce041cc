//! The workloads worth timing, and their names.

use std::fmt;

use super::{Ceilings, Depth, Workload};
use crate::verify::Family;
use crate::{AttentionSpec, DType, LinearScanSpec, MonarchSpec};

impl Workload {
    /// Its family.
    pub fn family(&self) -> Family {
        match self {
            Self::Attention(_) => Family::Attention,
            Self::Monarch(_) => Family::Butterfly,
            Self::LinearScan(_) => Family::Scan,
        }
    }

    /// The element type of its tensors.
    pub fn dtype(&self) -> DType {
        match self {
            Self::Attention(spec) => spec.dtype,
            Self::Monarch(spec) => spec.dtype,
            Self::LinearScan(spec) => spec.dtype,
        }
    }

    /// Floating-point operations that the mathematics needs, a multiply and an add each.
    pub fn flops(&self) -> f64 {
        match self {
            Self::Attention(spec) => spec.flops(),
            Self::Monarch(spec) => spec.flops(),
            Self::LinearScan(spec) => 2.0 * (spec.rows() * spec.length) as f64,
        }
    }

    /// Bytes that must move at least: every input once, every output once.
    pub fn least_bytes(&self) -> u64 {
        match self {
            Self::Attention(spec) => attention_bytes(spec),
            Self::Monarch(spec) => spec.least_bytes(),
            Self::LinearScan(spec) => spec.least_bytes(),
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&match self {
            Self::Attention(spec) => attention_name(spec),
            Self::Monarch(spec) => monarch_name(spec),
            Self::LinearScan(spec) => linear_scan_name(spec),
        })
    }
}

fn attention_name(spec: &AttentionSpec) -> String {
    let AttentionSpec { dtype, batch, q_len, k_len, heads, kv_heads, head_dim, .. } = spec;
    let keys = if q_len == k_len { String::new() } else { format!(", {k_len} keys") };
    let shared = if heads == kv_heads { String::new() } else { format!(", kv heads {kv_heads}") };
    let causal = if spec.causal { ", causal" } else { "" };
    format!("attention {dtype} b {batch} s {q_len} h {heads} d {head_dim}{keys}{shared}{causal}")
}

fn monarch_name(spec: &MonarchSpec) -> String {
    let MonarchSpec { dtype, batch, w1: [k, q, p], w2: [l, s, r] } = spec;
    if [k, q, p, l, s, r].iter().all(|size| *size == k) {
        return format!("monarch {dtype} {batch} rows, n {} = {k}²", k * k);
    }
    format!("monarch {dtype} {batch} rows, w1 {k} × {q} × {p}, w2 {l} × {s} × {r}")
}

fn linear_scan_name(spec: &LinearScanSpec) -> String {
    let LinearScanSpec { dtype, batch, channels, length, .. } = spec;
    format!("linear scan {dtype} {batch} × {channels} × {length}")
}

/// Queries, keys and values in, the output and its log-sum-exp out.
fn attention_bytes(spec: &AttentionSpec) -> u64 {
    let tensors = [spec.q_shape(), spec.k_shape(), spec.v_shape(), spec.o_shape()];
    let elements: usize = tensors.iter().map(|shape| shape.iter().product::<usize>()).sum();
    (elements * spec.dtype.bytes() + 4 * spec.lse_shape().iter().product::<usize>()) as u64
}

/// The class of an adapter, by its arithmetic: what finishes in milliseconds on one takes minutes on another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scale {
    /// A processor that poses as a GPU.
    Software,
    /// An integrated or mobile GPU.
    Modest,
    /// A GPU with memory of its own.
    Large,
}

impl Scale {
    fn of(ceilings: &Ceilings) -> Self {
        match ceilings.fma_flops_per_second {
            ..4e11 => Self::Software,
            4e11..8e12 => Self::Modest,
            _ => Self::Large,
        }
    }
}

/// The workloads of a family, of sizes that suit an adapter with these ceilings.
pub fn suite(family: Family, ceilings: &Ceilings, depth: Depth) -> Vec<Workload> {
    let scale = Scale::of(ceilings);
    match family {
        Family::Attention => attention_suite(scale, depth).into_iter().map(Workload::Attention).collect(),
        Family::Butterfly => monarch_suite(scale, depth).into_iter().map(Workload::Monarch).collect(),
        Family::Scan => linear_scan_suite(scale, depth).into_iter().map(Workload::LinearScan).collect(),
    }
}

/// 2048 keys are where a table of scores begins to hurt. A large GPU also gets the lengths of published tables, with
/// 16,384 tokens and a hidden size of 2048.
fn attention_suite(scale: Scale, depth: Depth) -> Vec<AttentionSpec> {
    use DType::{Bf16, F16, F32};
    let square =
        |dtype, batch, length, heads, dim| AttentionSpec::new(dtype, batch, (length, length), heads, dim);
    let (batch, heads) = match scale {
        Scale::Software => (1, 1),
        Scale::Modest => (1, 8),
        Scale::Large => (2, 32),
    };
    let long = |dtype| square(dtype, batch, 2048, heads, 64);
    let mut suite = vec![long(F32), long(F32).causal(), long(F16)];
    if depth == Depth::Quick {
        return suite;
    }
    suite.extend([long(F16).causal(), long(Bf16), square(F32, batch, 512, 8 * heads, 64)]);
    suite.push(square(F16, batch, 1024, heads, 128));
    // One new token against a cache, four query heads to a key head.
    let cached = if scale == Scale::Large { 65_536 } else { 16_384 };
    suite.push(AttentionSpec::new(F16, batch, (1, cached), 4 * heads, 64).kv_heads(heads));
    if scale == Scale::Large {
        for (length, dim) in [(1024, 64), (4096, 64), (4096, 128), (16_384, 128)] {
            let spec = square(F16, 16_384 / length, length, 2048 / dim, dim);
            suite.extend([spec, spec.causal()]);
        }
    }
    suite
}

/// Square products, as in place of a dense layer, and one that widens fourfold, as the first layer of an MLP does.
fn monarch_suite(scale: Scale, depth: Depth) -> Vec<MonarchSpec> {
    use DType::{Bf16, F16, F32};
    let rows = match scale {
        Scale::Software => 512,
        Scale::Modest => 2048,
        Scale::Large => 8192,
    };
    let mut suite = vec![MonarchSpec::square(F32, rows, 32), MonarchSpec::square(F16, rows, 32)];
    suite.push(MonarchSpec::square(F32, rows / 4, 64));
    if depth == Depth::Quick {
        return suite;
    }
    suite.extend([MonarchSpec::square(F16, rows / 4, 64), MonarchSpec::square(Bf16, rows, 32)]);
    suite.push(MonarchSpec::new(F32, rows / 4, [32, 64, 32], [64, 64, 32]));
    if scale == Scale::Large {
        suite.extend([64, 128].map(|blocks| MonarchSpec::square(F32, rows, blocks)));
        suite.extend([64, 128].map(|blocks| MonarchSpec::square(F16, rows, blocks)));
    }
    suite
}

/// One long row, which only chunks can spread over an adapter; rows enough to fill it, as channels of a model do; and
/// many short ones.
fn linear_scan_suite(scale: Scale, depth: Depth) -> Vec<LinearScanSpec> {
    use DType::{Bf16, F16, F32};
    let (channels, row) = match scale {
        Scale::Software => (64, 1_000_000),
        Scale::Modest => (512, 4_000_000),
        Scale::Large => (4096, 10_000_000),
    };
    let mut suite = vec![LinearScanSpec::new(F32, 1, 1, row)];
    suite.extend([F32, F16].map(|dtype| LinearScanSpec::new(dtype, 1, channels, 8192)));
    if depth == Depth::Quick {
        return suite;
    }
    suite.push(LinearScanSpec::new(Bf16, 1, channels, 8192));
    suite.push(LinearScanSpec::new(F16, 1, 1, row));
    suite.push(LinearScanSpec::new(F32, 8, channels, 1024));
    suite.push(LinearScanSpec::new(F32, 1, channels / 64, 8192 * 64));
    suite
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scale_has_a_suite_of_valid_workloads() {
        for fma_flops_per_second in [1e10, 1e12, 4e13] {
            let ceilings = Ceilings { copy_bytes_per_second: 1e10, fma_flops_per_second };
            for family in Family::ALL {
                let [quick, standard] =
                    [Depth::Quick, Depth::Standard].map(|depth| suite(family, &ceilings, depth));
                assert!(!quick.is_empty() && quick.len() < standard.len());
                for workload in standard {
                    let checked = match workload {
                        Workload::Attention(spec) => spec.check(),
                        Workload::Monarch(spec) => spec.check(),
                        Workload::LinearScan(spec) => spec.check(),
                    };
                    assert_eq!(checked, Ok(()), "{workload}");
                    assert!(workload.flops() > 0.0 && workload.least_bytes() > 0);
                }
            }
        }
    }
}
