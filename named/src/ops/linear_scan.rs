//! `linear-scan`.

use clap::Args;
use tilewise::ops::shaders;
use tilewise::plan::{LinearScanBackwardPlan, LinearScanPlan};
use tilewise::{
    Caps, DType, Gpu, LinearScan, LinearScanBackward, LinearScanBackwardInputs, LinearScanInputs,
    LinearScanSpec, by_dtype,
};

use super::{FromFile, FromSizes, Operation, Planned, apart, fields};
use crate::args::dtype_parser;
use crate::failure::Failure;
use crate::options::options;
use crate::tensors::{Output, TensorFile};

/// Linear recurrence `h_t = a_t h_(t-1) + b_t`
#[derive(Debug, Args)]
pub struct Sizes {
    /// Storage of the tensors
    #[arg(long, default_value = "f16", value_parser = dtype_parser())]
    dtype: DType,
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// Channels of a batch
    #[arg(long, default_value_t = 1024)]
    channels: usize,
    /// Steps
    #[arg(long, default_value_t = 8192)]
    length: usize,
    /// Take an initial state
    #[arg(long)]
    initial: bool,
    /// Take steps from the last to the first
    #[arg(long)]
    reverse: bool,
}

options! {
    /// Reads a, b, and h0 if there is one; writes h and last_state, and da, db and dh0 if there is a dh
    ///
    /// a, b, h and dh (batch, channels, length); h0 (batch, channels) in any of the types; last_state and dh0
    /// (batch, channels) in F32.
    #[derive(Debug, Args)]
    pub struct Options {}
}

impl FromSizes for Sizes {
    fn operation(&self) -> Result<Box<dyn Operation>, Failure> {
        let spec = LinearScanSpec::new(self.dtype, self.batch, self.channels, self.length);
        let spec = LinearScanSpec { initial: self.initial, reverse: self.reverse, ..spec };
        spec.check()?;
        Ok(Box::new(spec))
    }
}

impl FromFile for Options {
    fn operation(&self, file: &TensorFile<'_>) -> Result<Box<dyn Operation>, Failure> {
        let (a, b) = (file.get("a")?, file.get("b")?);
        let (initial, dh) = (file.find("h0")?, file.find("dh")?);
        b.expect_dtype_of(&a)?;
        let [batch, channels, length] = a.sizes("batch, channels, length")?;
        b.expect_shape(a.shape)?;
        if let Some(dh) = dh {
            dh.expect_dtype_of(&a)?;
            dh.expect_shape(a.shape)?;
        }
        let spec = LinearScanSpec::new(a.dtype, batch, channels, length);
        let spec = LinearScanSpec { initial: initial.is_some(), ..spec };
        if let Some(initial) = initial {
            initial.expect_shape(&spec.state_shape())?;
        }
        spec.check()?;
        Ok(Box::new(spec))
    }
}

impl Operation for LinearScanSpec {
    fn fields(&self) -> serde_json::Value {
        fields(self)
    }

    fn plans(&self, caps: &Caps) -> Result<Vec<Planned>, Failure> {
        let backward = LinearScanBackwardPlan::new(self, caps)?;
        Ok(vec![
            Planned::new("forward", &LinearScanPlan::new(self, caps)?, shaders::linear_scan)?,
            Planned::new("backward", &backward, shaders::linear_scan_backward)?,
        ])
    }

    fn compute(&self, gpu: &Gpu, file: &TensorFile<'_>) -> Result<Vec<Output>, Failure> {
        by_dtype!(self.dtype, T => apart(|| {
            let (a, b) = (file.upload::<T>(gpu, "a")?, file.upload::<T>(gpu, "b")?);
            let initial = file.upload_f32(gpu, "h0")?;
            let inputs = LinearScanInputs { a: &a, b: &b, initial: initial.as_ref() };
            let outputs = LinearScan::new(gpu, *self)?.run(inputs)?;
            let last = Output::on_device("last_state", &outputs.last);
            let mut found = vec![Output::on_device("h", &outputs.h), last];
            if file.find("dh")?.is_some() {
                let dh = file.upload::<T>(gpu, "dh")?;
                let inputs =
                    LinearScanBackwardInputs { a: &a, h: &outputs.h, initial: initial.as_ref(), dh: &dh };
                let gradients = LinearScanBackward::new(gpu, *self)?.run(inputs)?;
                found.push(Output::on_device("da", &gradients.da));
                found.push(Output::on_device("db", &gradients.db));
                if self.initial {
                    found.push(Output::on_device("dh0", &gradients.dinitial));
                }
            }
            Ok(found)
        }))
    }
}
