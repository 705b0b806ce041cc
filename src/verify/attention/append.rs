//! The acceptance grids of appending to a cache and of turning rows.

use std::fmt;

use crate::ops::quantise;
use crate::oracle::{self, Precision, Tables};
use crate::verify::{
    Case, Comparison, Grid, Inputs, Outcome, Tolerance, both, boxed, download, poisoned, rounded, upload,
};
use crate::{
    Append, AppendInputs, AppendSpec, CacheIndex, CacheSpec, CacheView, DType, Element, Error, Gpu, KvCache,
    Rotary, RotaryPairs, RotaryTables, Rotate, RotateSpec, by_dtype,
};

/// Turned values may err by thrice the plain error and 1e-5, as in the suite of KV caches.
const TURNED: Tolerance = Tolerance { multiple: 3.0, atol: 1e-5 };

/// What is only moved or quantised is exact.
const EXACT: Tolerance = Tolerance { multiple: 0.0, atol: 0.0 };

pub(super) fn cases(grid: Grid) -> Vec<Box<dyn Case>> {
    let dims: &[usize] = match grid {
        Grid::Thin => &[59, 64],
        Grid::Full => &[1, 3, 8, 32, 59, 64, 96, 111, 128, 256],
    };
    let mut cases = vec![];
    for (turn, (&dim, dtype)) in dims.iter().flat_map(|dim| DType::ALL.map(|dtype| (dim, dtype))).enumerate()
    {
        let pairs = [RotaryPairs::Half, RotaryPairs::Interleaved][turn % 2];
        for (fraction, paged) in [(0.0, false), (0.0, true), (0.5, turn % 2 == 0), (1.0, turn % 2 == 1)] {
            cases.push(Step::new(dtype, dim, fraction, pairs, paged));
        }
    }
    let rotations = cases.iter().filter_map(Step::rotate).enumerate();
    let rotations = rotations.map(|(i, spec)| if i % 3 == 0 { spec.in_place() } else { spec });
    let mut boxes = boxed(rotations.collect::<Vec<_>>());
    let int8 = DType::ALL.into_iter().zip([(59, 64), (64, 59), (8, 8)]).map(|(dtype, (dim, value_dim))| {
        let step = Step::new(dtype, dim, 0.0, RotaryPairs::Half, true);
        let cache = step.spec.cache.value_dim(value_dim).int8();
        Step { spec: AppendSpec { cache, ..step.spec }, ..step }
    });
    cases.extend(int8);
    boxes.extend(boxed(cases));
    boxes
}

/// A step of three sequences of unequal lengths.
#[derive(Clone)]
struct Step {
    spec: AppendSpec,
    view: CacheView,
}

impl Step {
    fn new(dtype: DType, dim: usize, fraction: f64, pairs: RotaryPairs, paged: bool) -> Self {
        let (kv_heads, lengths) = (2, [7, 203, 113]);
        let (cache, view) = if paged {
            // Pages of 17 keys in an order of their own, twelve a sequence.
            let table: Vec<u32> = (0..36).map(|i| i * 25 % 37).collect();
            (CacheSpec::pages(dtype, 37, 17, kv_heads, dim), CacheView::new(lengths).block_table(table))
        } else {
            let cache = CacheSpec::slots(dtype, 5, 203, kv_heads, dim);
            (cache, CacheView::new(lengths).slots([4, 0, 2]).left_pad([4, 0, 31]))
        };
        let spec = AppendSpec::new(cache, 3, 3);
        let turned = (dim as f64 * fraction) as usize / 2 * 2;
        let spec = if turned == 0 { spec } else { spec.rotary(Rotary::new(turned, pairs, 203)) };
        Self { spec, view }
    }

    /// The rotation of queries that goes with it.
    fn rotate(&self) -> Option<RotateSpec> {
        let AppendSpec { cache, batch, len, rotary } = self.spec;
        Some(RotateSpec::new(cache.dtype, batch, len, 3, cache.head_dim, rotary?))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.spec.fmt(f)
    }
}

impl Case for Step {
    fn dtype(&self) -> DType {
        self.spec.cache.dtype
    }

    fn run<'a>(&'a self, gpu: &'a Gpu) -> Comparison<'a> {
        if self.spec.cache.int8 {
            by_dtype!(self.dtype(), T => Box::pin(run_int8::<T>(gpu, self)))
        } else {
            by_dtype!(self.dtype(), T => Box::pin(run::<T>(gpu, self)))
        }
    }
}

impl Case for RotateSpec {
    fn dtype(&self) -> DType {
        self.dtype
    }

    fn run<'a>(&'a self, gpu: &'a Gpu) -> Comparison<'a> {
        by_dtype!(self.dtype(), T => Box::pin(rotate::<T>(gpu, *self)))
    }
}

fn count(shape: &[usize]) -> usize {
    shape.iter().product()
}

/// The tables of a rotation on the host.
pub(super) fn tables(rotary: &Rotary) -> [Vec<f64>; 2] {
    let (cos, sin) = rotary.tables(10_000.0);
    [cos, sin].map(|table| table.into_iter().map(f64::from).collect())
}

async fn run<T: Element>(gpu: &Gpu, Step { spec, view }: &Step) -> Result<Vec<Outcome>, Error> {
    let cache = &spec.cache;
    let mut inputs = Inputs::new(cache.head_dim as u64);
    let mut draw = |shape: &[usize]| rounded::<T>(&inputs.normal(count(shape), 1.0));
    let (k, v) = (draw(&spec.k_shape()), draw(&spec.v_shape()));
    // What other keys of the cache hold must stay as it is.
    let (k_before, v_before) = (draw(&cache.k_shape()), draw(&cache.v_shape()));
    let host = spec.rotary.as_ref().map(tables);
    let (reference, plain) = both(cache.dtype, |precision| {
        let (mut k_cache, mut v_cache) = (k_before.clone(), v_before.clone());
        let tables = host.as_ref().map(|[cos, sin]| Tables { cos, sin });
        oracle::append(spec, precision, view, tables, (&k, &v), (&mut k_cache, &mut v_cache));
        [k_cache, v_cache]
    });

    let device = match (&host, &spec.rotary) {
        (Some([cos, sin]), Some(rotary)) => {
            let shape = rotary.table_shape();
            Some((upload::<f32>(gpu, &shape, cos)?, upload::<f32>(gpu, &shape, sin)?))
        }
        _ => None,
    };
    let kept = KvCache::from_tensors(
        gpu,
        *cache,
        upload::<T>(gpu, &cache.k_shape(), &k_before)?,
        upload::<T>(gpu, &cache.v_shape(), &v_before)?,
    )?;
    let (k, v) = (upload::<T>(gpu, &spec.k_shape(), &k)?, upload::<T>(gpu, &spec.v_shape(), &v)?);
    let rotary = device.as_ref().map(|(cos, sin)| RotaryTables { cos, sin });
    let index = CacheIndex::new(gpu, cache, view, spec.len)?;
    Append::new(gpu, *spec)?.run(AppendInputs { k: &k, v: &v, rotary }, &kept, &index)?;
    let (k_cache, v_cache) = kept.tensors().expect("the cache is not quantised");
    let (k_cache, v_cache) = (download(k_cache).await?, download(v_cache).await?);
    let k_tolerance = if spec.rotary.is_some() { TURNED } else { EXACT };
    Ok(vec![
        Outcome::new("k_cache", &k_cache, &reference[0], &plain[0], k_tolerance),
        Outcome::new("v_cache", &v_cache, &reference[1], &plain[1], EXACT),
    ])
}

/// An 8-bit cache, whose integers are those that the host finds.
async fn run_int8<T: Element>(gpu: &Gpu, Step { spec, view }: &Step) -> Result<Vec<Outcome>, Error> {
    let cache = &spec.cache;
    let mut inputs = Inputs::new(cache.head_dim as u64);
    let mut draw = |shape: &[usize]| rounded::<T>(&inputs.normal(count(shape), 1.0));
    let (k, v) = (draw(&spec.k_shape()), draw(&spec.v_shape()));
    // The largest values are cut off.
    let (k_scales, v_scales) = ([0.02_f32, 0.013], [0.017_f32, 0.03]);
    let kept = KvCache::zeros_int8(gpu, *cache, &k_scales, &v_scales)?;
    let k_tensor = upload::<T>(gpu, &spec.k_shape(), &k)?;
    let v_tensor = upload::<T>(gpu, &spec.v_shape(), &v)?;
    let index = CacheIndex::new(gpu, cache, view, spec.len)?;
    let new = AppendInputs { k: &k_tensor, v: &v_tensor, rotary: None };
    Append::new(gpu, *spec)?.run(new, &kept, &index)?;

    let quantised = |values: &[f64], width: usize, scales: &[f32]| -> Vec<f64> {
        let rows = values.chunks_exact(width).enumerate();
        let rows = rows.flat_map(|(row, values)| {
            let values: Vec<_> = values.iter().map(|&value| value as f32).collect();
            quantise(&values, scales[row % scales.len()])
        });
        rows.map(f64::from).collect()
    };
    let (k, v) = (quantised(&k, cache.head_dim, &k_scales), quantised(&v, cache.value_dim, &v_scales));
    let mut k_expected = vec![0.0; count(&cache.k_shape())];
    let mut v_expected = vec![0.0; count(&cache.v_shape())];
    let expected = (k_expected.as_mut_slice(), v_expected.as_mut_slice());
    oracle::append(spec, Precision::Exact, view, None, (&k, &v), expected);
    let (k_cache, v_cache) = kept.int8_tensors().expect("the cache is quantised");
    let wide = |values: Vec<i8>| values.into_iter().map(f64::from).collect::<Vec<_>>();
    let (k_cache, v_cache) = (wide(k_cache.read().await?), wide(v_cache.read().await?));
    Ok(vec![
        Outcome::new("k_cache", &k_cache, &k_expected, &k_expected, EXACT),
        Outcome::new("v_cache", &v_cache, &v_expected, &v_expected, EXACT),
    ])
}

async fn rotate<T: Element>(gpu: &Gpu, spec: RotateSpec) -> Result<Vec<Outcome>, Error> {
    let positions: Vec<_> = (0..spec.batch as u32).map(|batch| 90 * batch + 4).collect();
    let x = rounded::<T>(&Inputs::new(spec.head_dim as u64).normal(count(&spec.shape()), 1.0));
    let [cos, sin] = tables(&spec.rotary);
    let (reference, plain) = both(spec.dtype, |precision| {
        oracle::rotate(&spec, precision, &x, Tables { cos: &cos, sin: &sin }, &positions)
    });
    let shape = spec.rotary.table_shape();
    let (cos, sin) = (upload::<f32>(gpu, &shape, &cos)?, upload::<f32>(gpu, &shape, &sin)?);
    let (x, y) = (upload::<T>(gpu, &spec.shape(), &x)?, poisoned::<T>(gpu, &spec.shape())?);
    let mut encoder = gpu.encoder();
    let tables = RotaryTables { cos: &cos, sin: &sin };
    Rotate::new(gpu, spec)?.encode(&mut encoder, &x, tables, &positions, &y)?;
    gpu.submit(encoder)?;
    Ok(vec![Outcome::new("y", &download(&y).await?, &reference, &plain, TURNED)])
}
