//! At which length attention stops on an adapter, unfused and fused.

use std::time::Duration;

use half::f16;

use super::Alone;
use crate::baseline::UnfusedAttention;
use crate::bench::measure::{centred, compare, fetch, spread};
use crate::oracle::{self, AttentionGiven};
use crate::timing::{self, Effort};
use crate::verify::{Inputs, Outcome, both, poisoned};
use crate::{
    Attention, AttentionBackward, AttentionInputs, AttentionOutputs, AttentionSpec, DType, Error, Gpu, Tensor,
};

/// How attention of one length fares: as many queries as keys, four heads of 64, f16.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Reach {
    /// Queries, and keys.
    pub length: usize,
    /// The fused kernel.
    pub forward: Attempt,
    /// Its gradients.
    pub backward: Attempt,
    /// With its scores in memory, forward.
    pub unfused: Attempt,
}

/// What came of one implementation at one length.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
pub enum Attempt {
    /// It ran, its answer was right for a sample of queries, and it took that long.
    Ran(Seconds),
    /// The adapter holds it; it would take about that long, and was not waited for.
    Fits(Seconds),
    /// The adapter refuses it: why, with the numbers.
    Refused(String),
}

/// A time, as serde values a number of seconds.
pub type Seconds = f64;

/// Lengths from which on and up to which lengths are doubled. The longest has a billion elements in its tensors.
const LENGTHS: (usize, usize) = (1024, 1 << 20);

impl Attempt {
    /// Whether the adapter holds it.
    pub fn fits(&self) -> bool {
        !matches!(self, Self::Refused(_))
    }

    fn seconds(&self) -> Option<Seconds> {
        match self {
            Self::Ran(seconds) | Self::Fits(seconds) => Some(*seconds),
            Self::Refused(_) => None,
        }
    }
}

/// What is tried at each length.
#[derive(Clone, Copy)]
enum Kind {
    Forward,
    Backward,
    Unfused,
}

/// Doubles the length until nothing fits or a million is reached. What would take longer than `patience`, four times the
/// time of half the length, is planned and allocated, but not run.
pub async fn longest(gpu: &Gpu, patience: Duration) -> Result<Vec<Reach>, Error> {
    let mut reaches: Vec<Reach> = vec![];
    let mut length = LENGTHS.0;
    while length <= LENGTHS.1 {
        let spec = AttentionSpec::new(DType::F16, 1, (length, length), 4, 64);
        let before = reaches.last();
        let expected = |attempt: fn(&Reach) -> &Attempt| match before.map(|reach| attempt(reach).seconds()) {
            None => 0.0,
            // What half the length was too much for fails again, and says with which numbers.
            Some(seconds) => 4.0 * seconds.unwrap_or(0.0),
        };
        let attempt = |kind, expected: Seconds| attempt(gpu, spec, kind, expected, patience);
        let reach = Reach {
            length,
            forward: attempt(Kind::Forward, expected(|reach| &reach.forward)).await?,
            backward: attempt(Kind::Backward, expected(|reach| &reach.backward)).await?,
            unfused: attempt(Kind::Unfused, expected(|reach| &reach.unfused)).await?,
        };
        let any = reach.forward.fits() || reach.backward.fits() || reach.unfused.fits();
        reaches.push(reach);
        if !any {
            break;
        }
        length *= 2;
    }
    Ok(reaches)
}

async fn attempt(
    gpu: &Gpu,
    spec: AttentionSpec,
    kind: Kind,
    expected: Seconds,
    patience: Duration,
) -> Result<Attempt, Error> {
    let waits = expected <= patience.as_secs_f64();
    let found = match kind {
        Kind::Forward => forward(gpu, spec, waits).await,
        Kind::Backward => backward(gpu, spec, waits).await,
        Kind::Unfused => unfused(gpu, spec, waits).await,
    };
    match found {
        Ok(Some(seconds)) => Ok(Attempt::Ran(seconds)),
        Ok(None) => Ok(Attempt::Fits(expected)),
        Err(refused @ (Error::Plan(_) | Error::Allocation { .. })) => {
            Ok(Attempt::Refused(refused.to_string()))
        }
        Err(error) => Err(error),
    }
}

/// The tensors of a length, filled if they are to be computed with.
struct Given {
    host: [Vec<f16>; 4],
    device: [Tensor<f16>; 4],
}

impl Given {
    /// Queries, keys, values, and the gradient of the output.
    fn new(gpu: &Gpu, spec: &AttentionSpec, filled: bool) -> Result<Self, Error> {
        let shape = spec.q_shape();
        let count: usize = shape.iter().product();
        if !filled {
            let tensor = || Tensor::zeros(gpu, &shape);
            return Ok(Self {
                host: [const { vec![] }; 4],
                device: [tensor()?, tensor()?, tensor()?, tensor()?],
            });
        }
        let mut inputs = Inputs::new(spec.q_len as u64);
        let host: [Vec<f16>; 4] = std::array::from_fn(|_| centred(&mut inputs, count, 1.0));
        let [q, k, v, d_o] = host.each_ref().map(|values| Tensor::from_slice(gpu, &shape, values));
        Ok(Self { host, device: [q?, k?, v?, d_o?] })
    }

    fn inputs(&self) -> AttentionInputs<'_, f16> {
        AttentionInputs::new(&self.device[0], &self.device[1], &self.device[2])
    }

    /// Compares some rows of a tensor with (exact, plain) rows of the oracle.
    async fn check(
        &self,
        spec: &AttentionSpec,
        (what, tensor): (&'static str, &Tensor<f16>),
        oracle: impl Fn(&Alone, &[f64]) -> (Vec<f64>, Vec<f64>),
    ) -> Result<(), Error> {
        let (values, whole) = fetch(tensor).await?;
        let (mut ours, mut reference, mut plain) = (vec![], vec![], vec![]);
        for row in spread(spec.q_len * spec.heads, 4) {
            let query = [0, row % spec.heads, row / spec.heads];
            let [q, k, v, d_o] = &self.host;
            let alone = Alone::new(spec, [q, k, v], query);
            let columns = row * spec.value_dim..(row + 1) * spec.value_dim;
            let wide =
                |values: &[f16]| values[columns.clone()].iter().map(|x| f64::from(*x)).collect::<Vec<_>>();
            let found = oracle(&alone, &wide(d_o));
            ours.extend(wide(&values));
            reference.extend(found.0);
            plain.extend(found.1);
        }
        let Outcome { tensor, error, allowed, .. } = match compare(what, (ours, whole), &reference, &plain) {
            right if right.passed() => return Ok(()),
            wrong => wrong,
        };
        Err(Error::Wrong { what: format!("{spec}, {what}"), tensor, error, allowed })
    }

    async fn check_o(&self, spec: &AttentionSpec, o: &Tensor<f16>) -> Result<(), Error> {
        self.check(spec, ("o", o), |alone, _| {
            let (exact, plain) = alone.both();
            (exact.o, plain.o)
        })
        .await
    }
}

/// A run to warm up, and a few that count.
const EFFORT: Effort = Effort::fixed(Duration::ZERO, 3, Duration::from_secs(1));

async fn forward(gpu: &Gpu, spec: AttentionSpec, waits: bool) -> Result<Option<Seconds>, Error> {
    let attention = Attention::new(gpu, spec)?;
    let given = Given::new(gpu, &spec, waits)?;
    if !waits {
        return attention.outputs::<f16>().map(|_| None);
    }
    let outputs =
        AttentionOutputs { o: poisoned(gpu, &spec.o_shape())?, lse: poisoned(gpu, &spec.lse_shape())? };
    let timing =
        timing::measure(gpu, EFFORT, |encoder| attention.encode(encoder, given.inputs(), &outputs)).await?;
    given.check_o(&spec, &outputs.o).await?;
    Ok(Some(timing.median().as_secs_f64()))
}

async fn unfused(gpu: &Gpu, spec: AttentionSpec, waits: bool) -> Result<Option<Seconds>, Error> {
    let attention = UnfusedAttention::new(gpu, spec)?;
    let given = Given::new(gpu, &spec, waits)?;
    let scratch = attention.scratch()?;
    if !waits {
        return attention.outputs::<f16>().map(|_| None);
    }
    let o = poisoned(gpu, &spec.o_shape())?;
    let timing =
        timing::measure(gpu, EFFORT, |encoder| attention.encode(encoder, given.inputs(), &o, &scratch))
            .await?;
    given.check_o(&spec, &o).await?;
    Ok(Some(timing.median().as_secs_f64()))
}

async fn backward(gpu: &Gpu, spec: AttentionSpec, waits: bool) -> Result<Option<Seconds>, Error> {
    let attention = AttentionBackward::new(gpu, spec)?;
    let given = Given::new(gpu, &spec, waits)?;
    let gradients = attention.outputs::<f16>()?;
    if !waits {
        return Ok(None);
    }
    let outputs = Attention::new(gpu, spec)?.run(given.inputs())?;
    let d_o = &given.device[3];
    let timing = timing::measure(gpu, EFFORT, |encoder| {
        attention.encode(encoder, given.inputs(), &outputs, d_o, &gradients)
    })
    .await?;
    // The gradient of a query follows from its own row; those of keys take all queries, whose oracle nobody waits for.
    given
        .check(&spec, ("dq", &gradients.dq), |alone, d_o| {
            let [q, k, v] = [&alone.q, &alone.k, &alone.v];
            let (exact, plain) = both(spec.dtype, |precision| {
                oracle::attention_backward(&alone.spec, precision, &AttentionGiven::new(q, k, v), d_o)
            });
            (exact.dq, plain.dq)
        })
        .await?;
    Ok(Some(timing.median().as_secs_f64()))
}
