//! The acceptance grid of linear attention: results, states, and every gradient.

use super::ssd::outcome;
use crate::oracle::{LinearAttentionValues, linear_attention, linear_attention_backward};
use crate::verify::{Case, Comparison, Grid, Inputs, Outcome, both, download, poisoned, rounded, upload};
use crate::{
    DType, Element, Error, Gate, Gpu, LinearAttention, LinearAttentionBackward, LinearAttentionGradients,
    LinearAttentionInputs, LinearAttentionOutputGradients, LinearAttentionOutputs, LinearAttentionSpec,
    Sequences, by_dtype,
};

/// Both kinds of decay: the kernels are those of state-space duality, whose grid is larger.
pub(super) fn cases(grid: Grid) -> Vec<LinearAttentionSpec> {
    use DType::{F16, F32};
    let spec = |dtype, gate| LinearAttentionSpec::new(dtype, 1, 97, 2, (13, 7), gate).initial();
    let packed = Sequences::Packed(vec![0, 40, 97]);
    let mut cases = vec![
        spec(F32, Gate::PerStep).chunk(64),
        spec(F32, Gate::Constant).sequences(packed).scale(0.7).chunk(64),
        spec(F16, Gate::PerStep).chunk(64),
        spec(DType::Bf16, Gate::Constant).chunk(64),
        spec(F32, Gate::PerKey).sequences(Sequences::Packed(vec![0, 1, 34, 34, 97])).scale(0.7).chunk(33),
        LinearAttentionSpec::new(F32, 2, 150, 1, (16, 40), Gate::PerKey).chunk(64),
        spec(F16, Gate::PerKey).chunk(64),
        LinearAttentionSpec { length: 1, ..spec(DType::Bf16, Gate::PerKey).chunk(64) },
    ];
    if grid == Grid::Full {
        for dtype in DType::ALL {
            for gate in [Gate::Constant, Gate::PerStep, Gate::PerKey] {
                for length in [1, 203, 1025] {
                    cases.push(LinearAttentionSpec::new(dtype, 1, length, 2, (32, 64), gate).initial());
                }
            }
        }
    }
    cases
}

impl Case for LinearAttentionSpec {
    fn dtype(&self) -> DType {
        self.dtype
    }

    fn run<'a>(&'a self, gpu: &'a Gpu) -> Comparison<'a> {
        by_dtype!(self.dtype, T => Box::pin(run::<T>(gpu, self)))
    }
}

async fn run<T: Element>(gpu: &Gpu, spec: &LinearAttentionSpec) -> Result<Vec<Outcome>, Error> {
    let count = |shape: &[usize]| shape.iter().product::<usize>();
    let (q_shape, v_shape, state_shape) = (spec.q_shape(), spec.v_shape(), spec.state_shape());
    let mut inputs = Inputs::new((spec.length * spec.key_dim) as u64);
    let mut normal = |shape: &[usize]| rounded::<T>(&inputs.normal(count(shape), 1.0));
    let (q, k, v, d_o) = (normal(&q_shape), normal(&q_shape), normal(&v_shape), normal(&v_shape));
    let g = rounded::<f32>(&inputs.uniform(count(&spec.g_shape()), -0.3, -0.01));
    let initial = spec.initial.then(|| rounded::<f32>(&inputs.normal(count(&state_shape), 1.0)));
    let dlast = spec.initial.then(|| rounded::<f32>(&inputs.normal(count(&state_shape), 1.0)));
    let values = LinearAttentionValues { q: &q, k: &k, v: &v, g: &g, initial: initial.as_deref() };
    let (reference, plain) = both(spec.dtype, |precision| linear_attention(spec, precision, &values));
    let (reference_gradient, plain_gradient) = both(spec.dtype, |precision| {
        linear_attention_backward(spec, precision, &values, &d_o, dlast.as_deref())
    });

    let states = |values: &Option<Vec<f64>>| {
        values.as_ref().map(|values| upload::<f32>(gpu, &state_shape, values)).transpose()
    };
    let (initial, dlast) = (states(&initial)?, states(&dlast)?);
    let (q, k) = (upload::<T>(gpu, &q_shape, &q)?, upload::<T>(gpu, &q_shape, &k)?);
    let (v, d_o) = (upload::<T>(gpu, &v_shape, &v)?, upload::<T>(gpu, &v_shape, &d_o)?);
    let g = upload::<f32>(gpu, &spec.g_shape(), &g)?;
    let inputs = LinearAttentionInputs { q: &q, k: &k, v: &v, g: &g, initial: initial.as_ref() };
    let outputs = LinearAttentionOutputs {
        o: poisoned::<T>(gpu, &v_shape)?,
        last: poisoned::<f32>(gpu, &state_shape)?,
    };
    let gradients = LinearAttentionGradients {
        q: poisoned::<T>(gpu, &q_shape)?,
        k: poisoned::<T>(gpu, &q_shape)?,
        v: poisoned::<T>(gpu, &v_shape)?,
        g: poisoned::<f32>(gpu, &spec.g_shape())?,
        initial: poisoned::<f32>(gpu, &state_shape)?,
    };
    let mut encoder = gpu.encoder();
    LinearAttention::new(gpu, spec.clone())?.encode(&mut encoder, inputs, &outputs)?;
    let of = LinearAttentionOutputGradients { o: &d_o, last: dlast.as_ref() };
    LinearAttentionBackward::new(gpu, spec.clone())?.encode(&mut encoder, inputs, of, &gradients)?;
    gpu.submit(encoder)?;

    let (exact, rough) = (&reference_gradient, &plain_gradient);
    Ok(vec![
        outcome("o", &download(&outputs.o).await?, &reference.o, &plain.o),
        outcome("last", &download(&outputs.last).await?, &reference.last, &plain.last),
        outcome("dq", &download(&gradients.q).await?, &exact.q, &rough.q),
        outcome("dk", &download(&gradients.k).await?, &exact.k, &rough.k),
        outcome("dv", &download(&gradients.v).await?, &exact.v, &rough.v),
        outcome("dg", &download(&gradients.g).await?, &exact.g, &rough.g),
        outcome("dinitial", &download(&gradients.initial).await?, &exact.initial, &rough.initial),
    ])
}
