//! The acceptance grid of merges.

use std::fmt;

use super::{LSE, largest, unit};
use crate::oracle::{AttentionResult, attention, merge};
use crate::verify::{
    Case, Comparison, Grid, Inputs, Outcome, Tolerance, both, boxed, download, poisoned, rounded, upload,
};
use crate::{
    Attention, AttentionInputs, AttentionOutputs, AttentionSpec, DType, Element, Error, Gpu, Merge,
    MergeSpec, by_dtype,
};

pub(super) fn cases(grid: Grid) -> Vec<Box<dyn Case>> {
    let sizes: &[[usize; 4]] = match grid {
        Grid::Thin => &[[1, 1, 1, 1], [2, 97, 3, 59], [1, 203, 2, 64]],
        Grid::Full => &[[1, 1, 1, 1], [2, 97, 3, 59], [1, 203, 2, 64], [3, 113, 5, 256], [1, 1025, 8, 128]],
    };
    let of_sizes = |&[batch, q_len, heads, dim]: &[usize; 4]| {
        DType::ALL.map(|dtype| MergeSpec::new(dtype, batch, q_len, heads, dim))
    };
    let mut cases = boxed(sizes.iter().flat_map(of_sizes));
    cases.extend(boxed(DType::ALL.map(Spread::new)));
    cases
}

impl Case for MergeSpec {
    fn dtype(&self) -> DType {
        self.dtype
    }

    fn run<'a>(&'a self, gpu: &'a Gpu) -> Comparison<'a> {
        by_dtype!(self.dtype(), T => Box::pin(run::<T>(gpu, self)))
    }
}

/// Parts of random values; of every seven rows one part or both saw no key, and then hold NaN, which nobody may read.
async fn run<T: Element>(gpu: &Gpu, spec: &MergeSpec) -> Result<Vec<Outcome>, Error> {
    let [rows, heads, width] = [spec.batch * spec.q_len * spec.heads, spec.heads, spec.value_dim];
    let mut inputs = Inputs::new(rows as u64);
    let mut part = |unseen: [usize; 2]| {
        let mut o = rounded::<T>(&inputs.normal(rows * width, 1.0));
        let mut lse = rounded::<f32>(&inputs.normal(rows, 3.0));
        for row in (0..rows).filter(|row| unseen.contains(&(row % 7))) {
            let (head, query, batch) = (row % heads, row / heads % spec.q_len, row / heads / spec.q_len);
            o[row * width..][..width].fill(f64::NAN);
            lse[(batch * heads + head) * spec.q_len + query] = f64::NEG_INFINITY;
        }
        AttentionResult { o, lse, probabilities: vec![] }
    };
    let (a, b) = (part([2, 5]), part([4, 5]));
    let (reference, plain) = both(spec.dtype, |precision| merge(spec, precision, &a, &b));
    let [a, b] = [a, b].map(|part| {
        let (o, lse) =
            (upload::<T>(gpu, &spec.o_shape(), &part.o)?, upload::<f32>(gpu, &spec.lse_shape(), &part.lse)?);
        Ok::<_, Error>(AttentionOutputs { o, lse })
    });
    let outputs = AttentionOutputs {
        o: poisoned::<T>(gpu, &spec.o_shape())?,
        lse: poisoned::<f32>(gpu, &spec.lse_shape())?,
    };
    let mut encoder = gpu.encoder();
    Merge::new(gpu, *spec)?.encode(&mut encoder, &a?, &b?, &outputs)?;
    gpu.submit(encoder)?;
    let (o, lse) = (download(&outputs.o).await?, download(&outputs.lse).await?);
    // Weights are f32 in both, and the GPU's exp2 and log2 err by a few units of theirs.
    let atol = 1e-5 + unit(spec.dtype);
    Ok(vec![
        Outcome::new("o", &o, &reference.o, &plain.o, Tolerance { multiple: 2.0, atol }),
        Outcome::new("lse", &lse, &reference.lse, &plain.lse, LSE),
    ])
}

/// Attention to 16,384 keys in seven uneven parts, merged one after the other: the same as attention to all of them.
struct Spread {
    spec: AttentionSpec,
    parts: [usize; 7],
}

impl Spread {
    fn new(dtype: DType) -> Self {
        let parts = [1, 4099, 3, 7001, 97, 5120, 63];
        Self { spec: AttentionSpec::new(dtype, 1, (3, parts.iter().sum()), 2, 64).kv_heads(1), parts }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, merged from {} parts", self.spec, self.parts.len())
    }
}

impl Case for Spread {
    fn dtype(&self) -> DType {
        self.spec.dtype
    }

    fn run<'a>(&'a self, gpu: &'a Gpu) -> Comparison<'a> {
        by_dtype!(self.dtype(), T => Box::pin(spread::<T>(gpu, self)))
    }
}

async fn spread<T: Element>(gpu: &Gpu, Spread { spec, parts }: &Spread) -> Result<Vec<Outcome>, Error> {
    let count = |shape: &[usize]| shape.iter().product::<usize>();
    let mut inputs = Inputs::new(7);
    let q = rounded::<T>(&inputs.normal(count(&spec.q_shape()), 1.0));
    let k = rounded::<T>(&inputs.normal(count(&spec.k_shape()), 1.0));
    let v = rounded::<T>(&inputs.normal(count(&spec.v_shape()), 1.0));
    let (reference, plain) = both(spec.dtype, |precision| attention(spec, precision, &q, &k, &v, None));

    let queries = upload::<T>(gpu, &spec.q_shape(), &q)?;
    let merge = Merge::new(gpu, MergeSpec::of(spec))?;
    let mut first = 0;
    let mut merged: Option<AttentionOutputs<T>> = None;
    for &k_len in parts {
        let part = AttentionSpec { k_len, ..*spec };
        let rows = |values: &[f64], shape: &[usize]| {
            upload::<T>(gpu, shape, &values[first * count(&shape[2..])..][..count(shape)])
        };
        let (k, v) = (rows(&k, &part.k_shape())?, rows(&v, &part.v_shape())?);
        let part = Attention::new(gpu, part)?.run(AttentionInputs::new(&queries, &k, &v))?;
        merged = Some(match merged {
            None => part,
            Some(before) => merge.run(&before, &part)?,
        });
        first += k_len;
    }
    let merged = merged.expect("there are parts");
    let (o, lse) = (download(&merged.o).await?, download(&merged.lse).await?);
    // Each of the seven parts is rounded to the storage type, and each merge.
    let atol = 1e-5 + 7.0 * unit(spec.dtype) * largest(&reference.o);
    Ok(vec![
        Outcome::new("o", &o, &reference.o, &plain.o, Tolerance { multiple: 2.0, atol }),
        Outcome::new("lse", &lse, &reference.lse, &plain.lse, LSE),
    ])
}
