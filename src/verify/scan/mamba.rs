//! The acceptance grids of the cores of Mamba's blocks, and their gradients.

use super::selective_scan::compare;
use crate::oracle::{
    Conv1dTensors, SelectiveScanTensors, SsdValues, mamba, mamba_backward, mamba2, mamba2_backward,
};
use crate::verify::{Case, Comparison, Grid, Inputs, Outcome, both, download, poisoned, rounded, upload};
use crate::{
    CoefficientGradient, CoefficientTensor, Conv1dGradients, Conv1dSpec, DType, Element, Error, Gpu, Mamba,
    Mamba2, Mamba2Backward, Mamba2Gradients, Mamba2Inputs, Mamba2Spec, MambaBackward, MambaGradients,
    MambaInputs, MambaOutputs, MambaSpec, SelectiveScanGradients, Sequences, Skip, SsdGradients,
    SsdOutputGradients, SsdSpec, Tensor, by_dtype,
};

/// Sizes by fours and by ones; the parts have grids of their own.
pub(super) fn cases(grid: Grid) -> Vec<MambaSpec> {
    let with_states = |spec: MambaSpec| MambaSpec { scan: spec.scan.initial(), ..spec };
    let mut cases = vec![
        with_states(MambaSpec::new(DType::F32, 2, 6, 97, 4)),
        MambaSpec { width: 3, conv_bias: false, ..MambaSpec::new(DType::F16, 1, 8, 64, 4) },
        with_states(MambaSpec::new(DType::Bf16, 1, 5, 61, 4)),
    ];
    if grid == Grid::Full {
        for dtype in DType::ALL {
            for length in [1, 97, 203, 1025] {
                cases.push(with_states(MambaSpec::new(dtype, 2, 13, length, 16)));
            }
        }
    }
    cases
}

/// Sizes by fours and by ones, groups and resets.
pub(super) fn cases2(grid: Grid) -> Vec<Mamba2Spec> {
    let all = |spec: Mamba2Spec| {
        let ssd = spec.ssd.groups(2).initial().skip(Skip::PerChannel).chunk(64);
        Mamba2Spec { ssd, ..spec }
    };
    let odd = |dtype, length| all(Mamba2Spec::new(dtype, 2, length, (4, 13), 7));
    let resets = odd(DType::F32, 97);
    let indices = Sequences::Indexed((0..2 * 97).map(|t| t / 31).collect());
    // Sequences of every length up to the taps', and one of none.
    let packed = |dtype| {
        let spec = Mamba2Spec::new(dtype, 1, 203, (4, 13), 7);
        let spec = if dtype == DType::F32 { all(spec) } else { spec };
        let starts = Sequences::Packed(vec![0, 1, 3, 3, 6, 10, 75, 202, 203]);
        Mamba2Spec { ssd: spec.ssd.sequences(starts), ..spec }
    };
    let mut cases = vec![
        odd(DType::F32, 1),
        packed(DType::F32),
        packed(DType::F16),
        Mamba2Spec { width: 3, conv_bias: false, ..Mamba2Spec::new(DType::F16, 2, 75, (2, 16), 16) },
        Mamba2Spec { ssd: resets.ssd.sequences(indices), ..resets },
        odd(DType::Bf16, 61),
    ];
    if grid == Grid::Full {
        for dtype in DType::ALL {
            cases.extend([97, 203, 1025].map(|length| odd(dtype, length)));
        }
    }
    cases
}

impl Case for MambaSpec {
    fn dtype(&self) -> DType {
        self.scan.dtype
    }

    fn run<'a>(&'a self, gpu: &'a Gpu) -> Comparison<'a> {
        by_dtype!(self.scan.dtype, T => Box::pin(run::<T>(gpu, *self)))
    }
}

impl Case for Mamba2Spec {
    fn dtype(&self) -> DType {
        self.ssd.dtype
    }

    fn run<'a>(&'a self, gpu: &'a Gpu) -> Comparison<'a> {
        by_dtype!(self.ssd.dtype, T => Box::pin(run2::<T>(gpu, self)))
    }
}

/// What a core's convolution reads, on the host.
struct Front {
    x: Vec<f64>,
    weight: Vec<f64>,
    bias: Option<Vec<f64>>,
    initial: Option<Vec<f64>>,
    sequences: Option<Vec<i32>>,
}

impl Front {
    fn new<T: Element>(inputs: &mut Inputs, spec: &Conv1dSpec, sequences: Option<Vec<i32>>) -> Self {
        let mut normal = |shape: &[usize]| inputs.normal(shape.iter().product(), 1.0);
        Self {
            x: rounded::<T>(&normal(&spec.shape())),
            weight: rounded::<f32>(&normal(&spec.weight_shape())),
            bias: spec.bias.then(|| rounded::<f32>(&normal(&spec.bias_shape()))),
            initial: spec.initial.then(|| rounded::<f32>(&normal(&spec.state_shape()))),
            sequences,
        }
    }

    fn tensors(&self) -> Conv1dTensors<'_> {
        Conv1dTensors {
            x: &self.x,
            weight: &self.weight,
            bias: self.bias.as_deref(),
            sequences: self.sequences.as_deref(),
            initial: self.initial.as_deref(),
        }
    }
}

/// Values on the device in f32, if there are any.
fn in_f32(gpu: &Gpu, shape: &[usize], values: Option<&Vec<f64>>) -> Result<Option<Tensor<f32>>, Error> {
    values.map(|values| upload::<f32>(gpu, shape, values)).transpose()
}

fn poisoned_if<T: Element>(gpu: &Gpu, on: bool, shape: &[usize]) -> Result<Option<Tensor<T>>, Error> {
    on.then(|| poisoned::<T>(gpu, shape)).transpose()
}

fn poisoned_conv<T: Element>(gpu: &Gpu, spec: &Conv1dSpec) -> Result<Conv1dGradients<T>, Error> {
    Ok(Conv1dGradients {
        dx: poisoned(gpu, &spec.shape())?,
        dweight: poisoned(gpu, &spec.weight_shape())?,
        dbias: poisoned_if(gpu, spec.bias, &spec.bias_shape())?,
        dinitial: poisoned_if(gpu, spec.initial, &spec.state_shape())?,
    })
}

/// The outcomes of a convolution's gradients, whose exact and plain values are given.
async fn conv_outcomes<T: Element>(
    found: &Conv1dGradients<T>,
    [exact, plain]: [&crate::oracle::Conv1dDerivatives; 2],
) -> Result<Vec<Outcome>, Error> {
    let mut outcomes = vec![
        compare("dx", &download(&found.dx).await?, &exact.dx, &plain.dx, 2.0),
        compare("dweight", &download(&found.dweight).await?, &exact.dweight, &plain.dweight, 2.0),
    ];
    if let Some(bias) = &found.dbias {
        outcomes.push(compare("dbias", &download(bias).await?, &exact.dbias, &plain.dbias, 2.0));
    }
    if let Some(initial) = &found.dinitial {
        let found = download(initial).await?;
        outcomes.push(compare("dconv_initial", &found, &exact.dinitial, &plain.dinitial, 2.0));
    }
    Ok(outcomes)
}

async fn run<T: Element>(gpu: &Gpu, spec: MambaSpec) -> Result<Vec<Outcome>, Error> {
    let (scan, conv) = (spec.scan, spec.conv());
    let count = |shape: &[usize]| shape.iter().product::<usize>();
    let mut inputs = Inputs::new((count(&scan.shape()) * scan.state_dim) as u64);
    let front = Front::new::<T>(&mut inputs, &conv, None);
    let delta = rounded::<T>(&inputs.uniform(count(&scan.shape()), -3.0, 0.5));
    let a = rounded::<f32>(&inputs.uniform(count(&scan.a_shape()), -1.5, -0.2));
    let bias = rounded::<f32>(&inputs.uniform(scan.channels, 0.0, 0.1));
    let mut normal = |shape: &[usize]| inputs.normal(count(shape), 1.0);
    let (b, c) = (rounded::<T>(&normal(&scan.b_shape())), rounded::<T>(&normal(&scan.c_shape())));
    let (z, dout) = (rounded::<T>(&normal(&scan.shape())), rounded::<T>(&normal(&scan.shape())));
    let skip = rounded::<f32>(&normal(&scan.channel_shape()));
    let initial = scan.initial.then(|| rounded::<f32>(&normal(&scan.state_shape())));
    let tensors = SelectiveScanTensors {
        u: &[],
        delta: &delta,
        a: &a,
        b: &b,
        c: &c,
        skip: Some(&skip),
        z: Some(&z),
        delta_bias: Some(&bias),
        initial: initial.as_deref(),
    };
    let (reference, plain) = both(scan.dtype, |precision| mamba(&spec, precision, front.tensors(), tensors));
    let (exact, rough) =
        both(scan.dtype, |precision| mamba_backward(&spec, precision, front.tensors(), tensors, &dout));

    let steps = |values: &[f64]| upload::<T>(gpu, &scan.shape(), values);
    let (x, delta, z, dout) = (steps(&front.x)?, steps(&delta)?, steps(&z)?, steps(&dout)?);
    let (b, c) = (upload::<T>(gpu, &scan.b_shape(), &b)?, upload::<T>(gpu, &scan.c_shape(), &c)?);
    let weight = upload::<f32>(gpu, &conv.weight_shape(), &front.weight)?;
    let a = upload::<f32>(gpu, &scan.a_shape(), &a)?;
    let conv_bias = in_f32(gpu, &conv.bias_shape(), front.bias.as_ref())?;
    let conv_initial = in_f32(gpu, &conv.state_shape(), front.initial.as_ref())?;
    let [skip, bias] = [&skip, &bias].map(|values| upload::<f32>(gpu, &scan.channel_shape(), values));
    let (skip, bias) = (skip?, bias?);
    let initial = in_f32(gpu, &scan.state_shape(), initial.as_ref())?;
    let given = MambaInputs {
        x: &x,
        weight: &weight,
        bias: conv_bias.as_ref(),
        conv_initial: conv_initial.as_ref(),
        delta: &delta,
        a: &a,
        b: CoefficientTensor::PerStep(&b),
        c: CoefficientTensor::PerStep(&c),
        skip: Some(&skip),
        z: Some(&z),
        delta_bias: Some(&bias),
        initial: initial.as_ref(),
    };
    let outputs = MambaOutputs::<T> {
        out: poisoned(gpu, &scan.shape())?,
        conv_last: poisoned(gpu, &conv.state_shape())?,
        last: poisoned(gpu, &scan.state_shape())?,
    };
    let found = MambaGradients::<T> {
        conv: poisoned_conv(gpu, &conv)?,
        scan: SelectiveScanGradients {
            du: poisoned(gpu, &scan.shape())?,
            ddelta: poisoned(gpu, &scan.shape())?,
            da: poisoned(gpu, &scan.a_shape())?,
            db: CoefficientGradient::PerStep(poisoned(gpu, &scan.b_shape())?),
            dc: CoefficientGradient::PerStep(poisoned(gpu, &scan.c_shape())?),
            dskip: poisoned_if(gpu, true, &scan.channel_shape())?,
            dz: poisoned_if(gpu, true, &scan.shape())?,
            ddelta_bias: poisoned_if(gpu, true, &scan.channel_shape())?,
            dinitial: poisoned_if(gpu, scan.initial, &scan.state_shape())?,
        },
    };
    let mut encoder = gpu.encoder();
    Mamba::new(gpu, spec)?.encode(&mut encoder, given, &outputs)?;
    MambaBackward::new(gpu, spec)?.encode(&mut encoder, given, &dout, &found)?;
    gpu.submit(encoder)?;

    let mut outcomes = vec![
        compare("out", &download(&outputs.out).await?, &reference.0.out, &plain.0.out, 1.0),
        compare("conv_last", &download(&outputs.conv_last).await?, &reference.1, &plain.1, 1.0),
        compare("last", &download(&outputs.last).await?, &reference.0.last, &plain.0.last, 1.0),
        compare("ddelta", &download(&found.scan.ddelta).await?, &exact.0.ddelta, &rough.0.ddelta, 2.0),
        compare("dA", &download(&found.scan.da).await?, &exact.0.da, &rough.0.da, 2.0),
    ];
    if let CoefficientGradient::PerStep(db) = &found.scan.db {
        outcomes.push(compare("dB", &download(db).await?, &exact.0.db, &rough.0.db, 2.0));
    }
    if let Some(dz) = &found.scan.dz {
        outcomes.push(compare("dz", &download(dz).await?, &exact.0.dz, &rough.0.dz, 2.0));
    }
    outcomes.extend(conv_outcomes(&found.conv, [&exact.1, &rough.1]).await?);
    Ok(outcomes)
}

async fn run2<T: Element>(gpu: &Gpu, spec: &Mamba2Spec) -> Result<Vec<Outcome>, Error> {
    let (ssd, conv): (&SsdSpec, _) = (&spec.ssd, spec.conv());
    let count = |shape: &[usize]| shape.iter().product::<usize>();
    let mut inputs = Inputs::new((ssd.tokens() * conv.channels) as u64);
    let sequences = match &ssd.sequences {
        Sequences::Indexed(indices) => Some(indices.iter().map(|&index| index as i32).collect()),
        Sequences::Packed(_) => {
            let runs = ssd.sequences.runs(ssd.batch, ssd.length);
            Some((0..).zip(&runs).flat_map(|(i, run)| vec![i; run.steps]).collect())
        }
        Sequences::Whole => None,
    };
    let front = Front::new::<T>(&mut inputs, &conv, sequences);
    let dt = rounded::<T>(&inputs.uniform(count(&ssd.dt_shape()), -4.0, 0.0));
    let a = rounded::<f32>(&inputs.uniform(ssd.heads, -8.0, -0.5));
    let dt_bias = rounded::<f32>(&inputs.uniform(ssd.heads, 0.0, 0.5));
    let mut normal = |shape: &[usize]| inputs.normal(count(shape), 1.0);
    let (z, dout) = (rounded::<T>(&normal(&ssd.x_shape())), rounded::<T>(&normal(&ssd.x_shape())));
    let d = rounded::<f32>(&normal(&ssd.d_shape()));
    let initial = ssd.initial.then(|| rounded::<f32>(&normal(&ssd.state_shape())));
    let dlast = ssd.initial.then(|| rounded::<f32>(&normal(&ssd.state_shape())));
    let values = SsdValues {
        x: &[],
        dt: &dt,
        a: &a,
        b: &[],
        c: &[],
        d: Some(&d),
        z: Some(&z),
        dt_bias: Some(&dt_bias),
        initial: initial.as_deref(),
    };
    let (reference, plain) = both(ssd.dtype, |precision| mamba2(spec, precision, front.tensors(), &values));
    let (exact, rough) = both(ssd.dtype, |precision| {
        mamba2_backward(spec, precision, front.tensors(), &values, &dout, dlast.as_deref())
    });

    let xbc = upload::<T>(gpu, &conv.shape(), &front.x)?;
    let weight = upload::<f32>(gpu, &conv.weight_shape(), &front.weight)?;
    let conv_bias = in_f32(gpu, &conv.bias_shape(), front.bias.as_ref())?;
    let conv_initial = in_f32(gpu, &conv.state_shape(), front.initial.as_ref())?;
    let dt = upload::<T>(gpu, &ssd.dt_shape(), &dt)?;
    let (z, dout) = (upload::<T>(gpu, &ssd.x_shape(), &z)?, upload::<T>(gpu, &ssd.x_shape(), &dout)?);
    let (a, d) = (upload::<f32>(gpu, &ssd.head_shape(), &a)?, upload::<f32>(gpu, &ssd.d_shape(), &d)?);
    let dt_bias = upload::<f32>(gpu, &ssd.head_shape(), &dt_bias)?;
    let initial = in_f32(gpu, &ssd.state_shape(), initial.as_ref())?;
    let dlast = in_f32(gpu, &ssd.state_shape(), dlast.as_ref())?;
    let given = Mamba2Inputs {
        xbc: &xbc,
        weight: &weight,
        bias: conv_bias.as_ref(),
        conv_initial: conv_initial.as_ref(),
        dt: &dt,
        a: &a,
        d: Some(&d),
        z: Some(&z),
        dt_bias: Some(&dt_bias),
        initial: initial.as_ref(),
    };
    let outputs = MambaOutputs::<T> {
        out: poisoned(gpu, &ssd.x_shape())?,
        conv_last: poisoned(gpu, &conv.state_shape())?,
        last: poisoned(gpu, &ssd.state_shape())?,
    };
    let found = Mamba2Gradients::<T> {
        conv: poisoned_conv(gpu, &conv)?,
        ssd: SsdGradients {
            x: poisoned(gpu, &ssd.x_shape())?,
            dt: poisoned(gpu, &ssd.dt_shape())?,
            a: poisoned(gpu, &ssd.head_shape())?,
            b: poisoned(gpu, &ssd.b_shape())?,
            c: poisoned(gpu, &ssd.b_shape())?,
            d: poisoned_if(gpu, true, &ssd.d_shape())?,
            z: poisoned_if(gpu, true, &ssd.x_shape())?,
            dt_bias: poisoned_if(gpu, true, &ssd.head_shape())?,
            initial: poisoned(gpu, &ssd.state_shape())?,
        },
    };
    let mut encoder = gpu.encoder();
    Mamba2::new(gpu, spec.clone())?.encode(&mut encoder, given, &outputs)?;
    let of = SsdOutputGradients { out: &dout, last: dlast.as_ref() };
    Mamba2Backward::new(gpu, spec.clone())?.encode(&mut encoder, given, of, &found)?;
    gpu.submit(encoder)?;

    let mut outcomes = vec![
        compare("out", &download(&outputs.out).await?, &reference.0.out, &plain.0.out, 1.0),
        compare("last", &download(&outputs.last).await?, &reference.0.last, &plain.0.last, 1.0),
        compare("ddt", &download(&found.ssd.dt).await?, &exact.0.dt, &rough.0.dt, 2.0),
        compare("dA", &download(&found.ssd.a).await?, &exact.0.a, &rough.0.a, 2.0),
    ];
    if let (Some(dz), Some(exact), Some(rough)) = (&found.ssd.z, &exact.0.z, &rough.0.z) {
        outcomes.push(compare("dz", &download(dz).await?, exact, rough, 2.0));
    }
    let last = download(&outputs.conv_last).await?;
    outcomes.push(compare("conv_last", &last, &reference.1, &plain.1, 1.0));
    outcomes.extend(conv_outcomes(&found.conv, [&exact.1, &rough.1]).await?);
    Ok(outcomes)
}
