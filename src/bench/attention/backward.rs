//! Measuring the gradients of attention.

use super::{Given, Sample};
use crate::baseline::UnfusedAttentionBackward;
use crate::bench::measure::{Bench, centred, compare, fetch};
use crate::bench::suite::Scale;
use crate::bench::{Backward, Contest, Depth, Figures, Trainable, Yardstick};
use crate::verify::{Inputs, Outcome, poisoned};
use crate::{
    Attention, AttentionBackward, AttentionGradients, AttentionSpec, DType, Element, Error, Gpu, Tensor,
    by_dtype,
};

/// A length that every adapter manages, in both types, and longer ones; on a large GPU those of published tables.
pub(super) fn suite(scale: Scale, depth: Depth) -> Vec<Backward<AttentionSpec>> {
    let square =
        |dtype, batch, length, heads, dim| AttentionSpec::new(dtype, batch, (length, length), heads, dim);
    let (batch, heads) = match scale {
        Scale::Software => (1, 1),
        Scale::Modest => (1, 8),
        Scale::Large => (4, 32),
    };
    let both = |spec: AttentionSpec| [Backward(spec), Backward(spec.causal())];
    let [f32, f16] = [DType::F32, DType::F16].map(|dtype| square(dtype, batch, 1024, heads, 64));
    if depth == Depth::Quick {
        return vec![Backward(f32), Backward(f16)];
    }
    let mut suite = [both(f32), both(f16)].concat();
    if scale == Scale::Modest {
        suite.extend(both(square(DType::F16, batch, 2048, heads, 64)));
    }
    if scale == Scale::Large {
        let published = [(1024, 64), (4096, 64), (4096, 128), (16_384, 128)];
        let of = |(length, dim)| both(square(DType::F16, 16_384 / length, length, 2048 / dim, dim));
        suite.extend(published.into_iter().flat_map(of));
    }
    suite
}

/// Of an attention whose forward pass is done.
impl Trainable for AttentionSpec {
    /// Five products, two of them as wide as values: scores and gradients of weights anew, and three gradients.
    fn backward_flops(&self) -> f64 {
        let Self { head_dim, value_dim, .. } = *self;
        self.flops() / (head_dim + value_dim) as f64 * (3 * head_dim + 2 * value_dim) as f64
    }

    /// What the forward pass moves, the output's gradient, and the gradients of queries, keys and values.
    fn backward_least_bytes(&self) -> u64 {
        let tensors = [self.o_shape(), self.q_shape(), self.k_shape(), self.v_shape()];
        let elements: usize = tensors.iter().map(|shape| shape.iter().product::<usize>()).sum();
        self.least_bytes() + (elements * self.dtype.bytes()) as u64
    }

    fn contend_backward<'a>(&'a self, bench: &'a Bench<'a>) -> Contest<'a> {
        by_dtype!(self.dtype, T => Box::pin(measure::<T>(bench, self)))
    }
}

fn gradients<T: Element>(gpu: &Gpu, spec: &AttentionSpec) -> Result<AttentionGradients<T>, Error> {
    Ok(AttentionGradients {
        dq: poisoned(gpu, &spec.q_shape())?,
        dk: poisoned(gpu, &spec.k_shape())?,
        dv: poisoned(gpu, &spec.v_shape())?,
        dalibi: None,
        dsinks: None,
    })
}

/// Samples of `dq` are compared with the oracle. Those of keys and values gather from all queries, more than an oracle
/// can do here: where the unfused gradients fit too, which share no kernel with the fused ones, the two must agree.
async fn measure<T: Element>(
    bench: &Bench<'_>,
    spec: &AttentionSpec,
) -> Result<(Figures, Vec<Yardstick>), Error> {
    let gpu = bench.gpu;
    let given = Given::<T>::new(gpu, spec)?;
    let d_o: Vec<T> = centred(&mut Inputs::new(2), spec.o_shape().iter().product(), 1.0);
    let sample = Sample::with_gradients(spec, &given.host, &d_o);
    let d_o = Tensor::from_slice(gpu, &spec.o_shape(), &d_o)?;
    let outputs = Attention::new(gpu, *spec)?.run(given.inputs())?;
    let fused = AttentionBackward::new(gpu, *spec)?;
    let mut found = None;
    let figures = bench
        .contend(
            "fused",
            fused.plan(),
            || gradients::<T>(gpu, spec),
            |encoder, gradients| fused.encode(encoder, given.inputs(), &outputs, &d_o, gradients),
            async |gradients| {
                found = Some(fetch_wide([&gradients.dk, &gradients.dv]).await?);
                Ok(vec![sample.check_dq(fetch(&gradients.dq).await?)])
            },
        )
        .await?;
    let found = found.expect("what was measured was checked");
    let unfused = Bench::yardstick("unfused", async || {
        let unfused = UnfusedAttentionBackward::new(gpu, *spec)?;
        bench
            .contend(
                "unfused",
                unfused.plan(),
                || {
                    let scratch = unfused.scratch()?;
                    let mut encoder = gpu.encoder();
                    unfused.encode_weights(&mut encoder, given.inputs(), &scratch)?;
                    gpu.submit(encoder)?;
                    Ok((gradients::<T>(gpu, spec)?, scratch))
                },
                |encoder, (gradients, scratch)| {
                    unfused.encode(encoder, given.inputs(), &d_o, gradients, scratch)
                },
                async |(gradients, _)| {
                    let [dk, dv] = fetch_wide([&gradients.dk, &gradients.dv]).await?;
                    Ok(vec![
                        sample.check_dq(fetch(&gradients.dq).await?),
                        agree("dk", dk, &found[0].0),
                        agree("dv", dv, &found[1].0),
                    ])
                },
            )
            .await
    })
    .await?;
    if let Some((tensor, _)) = ["dk", "dv"].iter().zip(&found).find(|(_, (_, whole))| !whole) {
        let what = "fused gradients".to_owned();
        return Err(Error::Wrong { what, tensor, error: f64::NAN, allowed: 0.0 });
    }
    Ok((figures, vec![unfused]))
}

/// Tensors on the host, and whether all of each was written.
async fn fetch_wide<T: Element, const N: usize>(
    tensors: [&Tensor<T>; N],
) -> Result<[(Vec<f64>, bool); N], Error> {
    let mut read = tensors.map(|_| (vec![], false));
    for (read, tensor) in read.iter_mut().zip(tensors) {
        let (values, whole) = fetch(tensor).await?;
        *read = (values.into_iter().map(Element::to_f64).collect(), whole);
    }
    Ok(read)
}

/// Sums over thousands of rounded terms: half a percent of the largest.
fn agree(tensor: &'static str, ours: (Vec<f64>, bool), fused: &[f64]) -> Outcome {
    let largest = fused.iter().fold(0.0, |max: f64, value| max.max(value.abs()));
    let mut outcome = compare(tensor, ours, fused, fused);
    outcome.allowed = outcome.allowed.max(5e-3 * largest);
    outcome
}
