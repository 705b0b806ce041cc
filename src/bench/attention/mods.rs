//! Measuring masks that the user adds, beside attention without them.

use std::fmt;

use super::{Given, Sample, contend};
#[cfg(feature = "serde")]
use crate::bench::fields;
use crate::bench::measure::Bench;
use crate::bench::suite::Scale;
use crate::bench::{Contest, Depth, Figures, Workload, Yardstick};
use crate::verify::Family;
use crate::{
    Attention, AttentionSpec, BlockMask, DType, Element, Error, Mods, Table, Tensor, by_dtype, mods,
};

/// Attention with a mask beside its spec.
#[derive(Clone, Copy, Debug)]
pub(super) struct Masked {
    spec: AttentionSpec,
    mask: Mask,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mask {
    /// A quarter of all blocks of [`BLOCK`].
    Blocks,
    /// Causal, by a mod.
    Causal,
    /// Documents of [`DOCUMENT`] positions, by a mod.
    Documents,
}

/// Queries and keys of a block.
const BLOCK: usize = 128;

/// Positions of a document.
const DOCUMENT: usize = 512;

/// Whether a block is among the quarter that is seen: one in four of every row and of every column.
fn is_seen(q: usize, k: usize) -> bool {
    (q + k).is_multiple_of(4)
}

/// The long workload of the family's own suite under each mask.
pub(super) fn suite(scale: Scale, depth: Depth) -> Vec<Masked> {
    if depth == Depth::Quick {
        return vec![];
    }
    let (batch, length, heads) = match scale {
        Scale::Software => (1, 2048, 1),
        Scale::Modest => (1, 2048, 8),
        Scale::Large => (4, 4096, 32),
    };
    let spec = AttentionSpec::new(DType::F16, batch, (length, length), heads, 64);
    [Mask::Blocks, Mask::Causal, Mask::Documents].map(|mask| Masked { spec, mask }).into()
}

impl fmt::Display for Masked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.spec, self.mask)
    }
}

impl fmt::Display for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blocks => write!(f, "a quarter of blocks of {BLOCK} × {BLOCK}"),
            Self::Causal => write!(f, "causal by a mod"),
            Self::Documents => write!(f, "documents of {DOCUMENT} by a mod"),
        }
    }
}

impl Masked {
    fn shows(&self, i: usize, j: usize) -> bool {
        match self.mask {
            Mask::Blocks => is_seen(i / BLOCK, j / BLOCK),
            Mask::Causal => j <= i,
            Mask::Documents => i / DOCUMENT == j / DOCUMENT,
        }
    }

    fn mods(&self) -> Result<Mods, Error> {
        Ok(match self.mask {
            Mask::Blocks => Mods::new().blocks(BlockMask::from_fn(&self.spec, (BLOCK, BLOCK), is_seen)?),
            Mask::Causal => Mods::new().mask(mods::causal()),
            Mask::Documents => Mods::new().mask(mods::documents()),
        })
    }
}

impl Workload for Masked {
    fn family(&self) -> Family {
        Family::Attention
    }

    fn dtype(&self) -> DType {
        self.spec.dtype
    }

    fn flops(&self) -> f64 {
        let share = match self.mask {
            Mask::Causal => return self.spec.causal().flops(),
            Mask::Blocks => 0.25,
            Mask::Documents => DOCUMENT as f64 / self.spec.k_len as f64,
        };
        share * self.spec.flops()
    }

    fn least_bytes(&self) -> u64 {
        self.spec.least_bytes()
    }

    fn case(&self) -> String {
        format!("{}, {}", self.spec.case(), self.mask)
    }

    #[cfg(feature = "serde")]
    fn fields(&self) -> serde_json::Value {
        fields(&self.spec)
    }

    fn contend<'a>(&'a self, bench: &'a Bench<'a>) -> Contest<'a> {
        by_dtype!(self.spec.dtype, T => Box::pin(measure::<T>(bench, self)))
    }
}

/// Beside it attention without the mask, or with the built-in one.
async fn measure<T: Element>(bench: &Bench<'_>, masked: &Masked) -> Result<(Figures, Vec<Yardstick>), Error> {
    let (gpu, spec) = (bench.gpu, masked.spec);
    let given = Given::<T>::new(gpu, &spec)?;
    let documents: Vec<_> =
        (0..spec.batch * spec.k_len).map(|n| (n % spec.k_len / DOCUMENT) as u32).collect();
    let documents = Tensor::from_slice(gpu, &[spec.batch, spec.k_len], &documents)?;
    let tables = [("documents", Table::from(&documents))];
    let tables = if masked.mask == Mask::Documents { &tables[..] } else { &[] };
    let seen = |i: usize| (0..spec.k_len).filter(|&j| masked.shows(i, j)).collect();
    let sample = Sample::of(&spec, &given.host, seen);
    let op = Attention::with_mods(gpu, spec, &masked.mods()?)?;
    let figures = contend(bench, "fused", &op, given.inputs().tables(tables), &spec, &sample).await?;

    let (name, other) = match masked.mask {
        Mask::Causal => ("built-in", spec.causal()),
        Mask::Blocks | Mask::Documents => ("unmasked", spec),
    };
    let yardstick = Bench::yardstick(name, async || {
        let sample = Sample::new(&other, &given.host);
        contend(bench, name, &Attention::new(gpu, other)?, given.inputs(), &other, &sample).await
    })
    .await?;
    Ok((figures, vec![yardstick]))
}
