//! The acceptance grid of the Pixelfly layer and its gradients.

use super::block_sparse::mask;
use super::tolerance;
use crate::oracle::{PixelflyOperands, pixelfly, pixelfly_backward};
use crate::verify::{
    Case, Comparison, Grid, Inputs, Outcome, Tolerance, both, download, poisoned, rounded, upload,
};
use crate::{
    DType, Element, Error, Gpu, PixelflyBackward, PixelflyConfig, PixelflyGradients, PixelflyInputs,
    PixelflyLinear, PixelflySpec, by_dtype,
};

/// Published configurations, and masks and ranks that fill no tile.
pub(super) fn cases(grid: Grid) -> Vec<PixelflySpec> {
    let published = |dtype, batch, size, name| {
        let config = PixelflyConfig::named(name).expect("a published configuration");
        PixelflySpec::new(dtype, batch, size, &config).expect("a mask")
    };
    let odd = |dtype, batch, size, side, rank| PixelflySpec {
        dtype,
        batch,
        mask: mask(side, size),
        size,
        rank,
        gate: false,
        bias: false,
    };
    let mut cases = vec![
        published(DType::F32, 97, [256, 384], "standard").gate().bias(),
        published(DType::F16, 33, [512, 256], "mixer-b").bias(),
        odd(DType::Bf16, 70, [203, 113], 16, 7).gate(),
        odd(DType::F32, 1, [30, 41], 8, 1),
    ];
    if grid == Grid::Full {
        for dtype in DType::ALL {
            cases.push(published(dtype, 1000, [768, 768], "standard").gate().bias());
            cases.push(published(dtype, 640, [3072, 768], "mixer-b").gate().bias());
            cases.push(odd(dtype, 497, [698, 512], 64, 33).gate().bias());
            cases.push(odd(dtype, 149, [97, 203], 32, 70).bias());
        }
    }
    cases
}

impl Case for PixelflySpec {
    fn dtype(&self) -> DType {
        self.dtype
    }

    fn run<'a>(&'a self, gpu: &'a Gpu) -> Comparison<'a> {
        by_dtype!(self.dtype, T => Box::pin(run::<T>(gpu, self)))
    }
}

async fn run<T: Element>(gpu: &Gpu, spec: &PixelflySpec) -> Result<Vec<Outcome>, Error> {
    let [out, r#in] = spec.size;
    let mut inputs = Inputs::new((out + r#in) as u64);
    let mut normal = |count: usize| rounded::<T>(&inputs.normal(count, 1.0));
    let (x, dy) = (normal(spec.batch * r#in), normal(spec.batch * out));
    let weights = PixelflySpec { gate: true, bias: true, ..spec.clone() }.initial_weights(1);
    let [w, u, v] = [&weights.w, &weights.u, &weights.v].map(|values| rounded::<T>(values));
    let bias = weights.bias.filter(|_| spec.bias).map(|bias| rounded::<T>(&bias));
    let gate = if spec.gate { 0.3_f32 } else { 0.5 };
    let operands = PixelflyOperands { w: &w, u: &u, v: &v, gate: f64::from(gate), bias: bias.as_deref() };
    let (y_reference, y_plain) = both(spec.dtype, |precision| pixelfly(spec, precision, &x, &operands));
    let (reference, plain) =
        both(spec.dtype, |precision| pixelfly_backward(spec, precision, &x, &operands, &dy));

    let (x_shape, y_shape) = ([spec.batch, r#in], [spec.batch, out]);
    let y = poisoned::<T>(gpu, &y_shape)?;
    let outputs = PixelflyGradients {
        dx: poisoned::<T>(gpu, &x_shape)?,
        dw: poisoned::<T>(gpu, &spec.mask.shape())?,
        du: poisoned::<T>(gpu, &spec.u_shape())?,
        dv: poisoned::<T>(gpu, &spec.v_shape())?,
        dgate: spec.gate.then(|| poisoned::<f32>(gpu, &[1])).transpose()?,
        dbias: spec.bias.then(|| poisoned::<T>(gpu, &[out])).transpose()?,
    };
    let (x, dy) = (upload::<T>(gpu, &x_shape, &x)?, upload::<T>(gpu, &y_shape, &dy)?);
    let w = upload::<T>(gpu, &spec.mask.shape(), &w)?;
    let (u, v) = (upload::<T>(gpu, &spec.u_shape(), &u)?, upload::<T>(gpu, &spec.v_shape(), &v)?);
    let gate = spec.gate.then(|| upload::<f32>(gpu, &[1], &[f64::from(gate)])).transpose()?;
    let bias = bias.map(|bias| upload::<T>(gpu, &[out], &bias)).transpose()?;
    let given = PixelflyInputs { x: &x, w: &w, u: &u, v: &v, gate: gate.as_ref(), bias: bias.as_ref() };
    let mut encoder = gpu.encoder();
    PixelflyLinear::new(gpu, spec.clone())?.encode(&mut encoder, given, &y)?;
    PixelflyBackward::new(gpu, spec.clone())?.encode(&mut encoder, given, &dy, &outputs)?;
    gpu.submit(encoder)?;

    let compare = |name, ours: &[f64], reference: &[f64], plain: &[f64]| {
        Outcome::new(name, ours, reference, plain, tolerance(reference))
    };
    let mut outcomes = vec![
        compare("y", &download(&y).await?, &y_reference, &y_plain),
        compare("dx", &download(&outputs.dx).await?, &reference.dx, &plain.dx),
        compare("dw", &download(&outputs.dw).await?, &reference.dw, &plain.dw),
        compare("du", &download(&outputs.du).await?, &reference.du, &plain.du),
        compare("dv", &download(&outputs.dv).await?, &reference.dv, &plain.dv),
    ];
    if let Some(dbias) = &outputs.dbias {
        outcomes.push(compare("dbias", &download(dbias).await?, &reference.dbias, &plain.dbias));
    }
    if let Some(dgate) = &outputs.dgate {
        // One number of many terms, of both signs: its rounding is that of the terms' size, and luck in the plain one.
        let terms = (spec.batch * out) as f64;
        let tolerance = Tolerance { multiple: 2.0, atol: 1e-5 * terms.sqrt() };
        let outcome =
            Outcome::new("dgate", &download(dgate).await?, &[reference.dgate], &[plain.dgate], tolerance);
        outcomes.push(outcome);
    }
    Ok(outcomes)
}
