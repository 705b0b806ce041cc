//! `linear-scan`.

use clap::Args;
use tilewise::ops::shaders;
use tilewise::plan::{RowScanBackwardPlan, RowScanPlan};
use tilewise::{
    Caps, DType, Gpu, LinearScan, LinearScanBackward, LinearScanBackwardInputs, LinearScanInputs,
    LinearScanSpec, by_dtype,
};

use super::{Fields, FromFile, FromSizes, Operation, Planned, apart, fields};
use crate::args::dtype_parser;
use crate::failure::Failure;
use crate::options::options;
use crate::tensors::{Output, TensorFile};

/// Linear recurrence `h_t = a_t h_(t-1) + b_t`
#[derive(Debug, Args)]
pub struct Sizes {
    #[command(flatten)]
    rows: Rows,
    #[command(flatten)]
    numbers: Numbers,
    #[command(flatten)]
    direction: Direction,
}

options! {
    /// Reads a, b, and h0 if there is one; writes h and last_state, and da, db and dh0 if there is a dh
    ///
    /// a, b, h and dh (batch, channels, length); h0 (batch, channels) in any of the types; last_state and dh0
    /// (batch, channels) in F32. Complex tensors end in one more dimension of 2: real and imaginary part.
    #[derive(Debug, Args)]
    pub struct Options {
        #[command(flatten)]
        numbers: Numbers,
        #[command(flatten)]
        direction: Direction,
    }
}

options! {
    /// What factors, terms and states are.
    #[derive(Clone, Copy, Debug, Args)]
    struct Numbers {
        /// Factors, terms and states are complex
        #[arg(long)]
        complex: bool,
    }
}

/// The rows of a scan.
#[derive(Clone, Copy, Debug, Args)]
pub struct Rows {
    /// Storage of the tensors
    #[arg(long, default_value = "f16", value_parser = dtype_parser())]
    pub dtype: DType,
    #[arg(long, default_value_t = 1)]
    pub batch: usize,
    /// Channels of a batch
    #[arg(long, default_value_t = 1024)]
    pub channels: usize,
    /// Steps
    #[arg(long, default_value_t = 8192)]
    pub length: usize,
    /// Take an initial state
    #[arg(long)]
    pub initial: bool,
}

options! {
    /// In which order steps are taken, and what is given of them.
    #[derive(Clone, Copy, Debug, Args)]
    pub struct Direction {
        /// Take steps from the last to the first
        #[arg(long)]
        pub reverse: bool,
        /// Give what comes before each step
        #[arg(long)]
        pub exclusive: bool,
    }
}

impl FromSizes for Sizes {
    fn operation(&self) -> Result<Box<dyn Operation>, Failure> {
        let Rows { dtype, batch, channels, length, initial } = self.rows;
        let spec = LinearScanSpec::new(dtype, batch, channels, length);
        let (Numbers { complex }, Direction { reverse, exclusive }) = (self.numbers, self.direction);
        let spec = LinearScanSpec { complex, initial, reverse, exclusive, ..spec };
        spec.check()?;
        Ok(Box::new(spec))
    }
}

impl FromFile for Options {
    fn operation(&self, file: &TensorFile<'_>) -> Result<Box<dyn Operation>, Failure> {
        let (a, b) = (file.get("a")?, file.get("b")?);
        let (initial, dh) = (file.find("h0")?, file.find("dh")?);
        b.expect_dtype_of(&a)?;
        let Numbers { complex } = self.numbers;
        let (batch, channels, length) = if complex {
            let [batch, channels, length, _] = a.sizes("batch, channels, length, 2")?;
            a.expect_shape(&[batch, channels, length, 2])?;
            (batch, channels, length)
        } else {
            let [batch, channels, length] = a.sizes("batch, channels, length")?;
            (batch, channels, length)
        };
        b.expect_shape(a.shape)?;
        if let Some(dh) = dh {
            dh.expect_dtype_of(&a)?;
            dh.expect_shape(a.shape)?;
        }
        let spec = LinearScanSpec::new(a.dtype, batch, channels, length);
        let Direction { reverse, exclusive } = self.direction;
        let spec = LinearScanSpec { complex, initial: initial.is_some(), reverse, exclusive, ..spec };
        if let Some(initial) = initial {
            initial.expect_shape(&spec.state_shape())?;
        }
        spec.check()?;
        Ok(Box::new(spec))
    }
}

impl Operation for LinearScanSpec {
    fn fields(&self) -> Fields {
        fields(self)
    }

    fn plans(&self, caps: &Caps) -> Result<Vec<Planned>, Failure> {
        let backward = RowScanBackwardPlan::linear(self, caps)?;
        Ok(vec![
            Planned::new("forward", &RowScanPlan::linear(self, caps)?, shaders::row_scan)?,
            Planned::new("backward", &backward, shaders::row_scan_backward)?,
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
