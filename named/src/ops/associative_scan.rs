//! `associative-scan`.

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use tilewise::ops::shaders;
use tilewise::plan::{RowScanBackwardPlan, RowScanPlan};
use tilewise::{
    AssociativeOperator, AssociativeScan, AssociativeScanBackward, AssociativeScanBackwardInputs,
    AssociativeScanInputs, AssociativeScanSpec, Caps, Gpu, by_dtype,
};

use super::linear_scan::{Direction, Rows};
use super::{Fields, FromFile, FromSizes, Operation, Planned, apart, fields};
use crate::failure::Failure;
use crate::options::{Given, Take, options};
use crate::tensors::{Output, TensorFile};

/// Running sums or maxima
#[derive(Debug, Args)]
pub struct Sizes {
    #[command(flatten)]
    rows: Rows,
    #[command(flatten)]
    by: Operator,
    #[command(flatten)]
    direction: Direction,
}

options! {
    /// Reads x, and h0 if there is one; writes y and last_state, and dx and dh0 if there is a dy
    ///
    /// x, y and dy (batch, channels, length); h0 (batch, channels) in any of the types; last_state and dh0
    /// (batch, channels) in F32. The gradient of a maximum goes to the first step that is greater than all before it.
    #[derive(Debug, Args)]
    pub struct Options {
        #[command(flatten)]
        by: Operator,
        #[command(flatten)]
        direction: Direction,
    }
}

options! {
    /// What steps are combined by.
    #[derive(Clone, Copy, Debug, Args)]
    struct Operator {
        /// What steps are combined by
        #[arg(long, value_name = "OPERATOR", default_value = "sum", value_parser = operator_parser())]
        op: AssociativeOperator,
    }
}

fn named(name: &str) -> Option<AssociativeOperator> {
    AssociativeOperator::ALL.into_iter().find(|operator| operator.name() == name)
}

fn operator_parser() -> impl TypedValueParser<Value = AssociativeOperator> {
    PossibleValuesParser::new(AssociativeOperator::ALL.map(AssociativeOperator::name))
        .map(|name| named(&name).expect("a name of the list"))
}

impl Take for AssociativeOperator {
    fn take(given: &mut Given, name: &str) -> Result<Self, Failure> {
        let Some(found) = given.value::<String>(name)? else { return Ok(Self::Sum) };
        named(&found).ok_or_else(|| {
            given.refusal(name, &found, &format!("expected {}", Self::ALL.map(Self::name).join(" or ")))
        })
    }
}

impl FromSizes for Sizes {
    fn operation(&self) -> Result<Box<dyn Operation>, Failure> {
        let Self { rows: Rows { dtype, batch, channels, length, initial }, by, direction } = *self;
        let spec = AssociativeScanSpec::new(dtype, by.op, batch, channels, length);
        let Direction { reverse, exclusive } = direction;
        let spec = AssociativeScanSpec { initial, reverse, exclusive, ..spec };
        spec.check()?;
        Ok(Box::new(spec))
    }
}

impl FromFile for Options {
    fn operation(&self, file: &TensorFile<'_>) -> Result<Box<dyn Operation>, Failure> {
        let x = file.get("x")?;
        let (initial, dy) = (file.find("h0")?, file.find("dy")?);
        let [batch, channels, length] = x.sizes("batch, channels, length")?;
        if let Some(dy) = dy {
            dy.expect_dtype_of(&x)?;
            dy.expect_shape(x.shape)?;
        }
        let spec = AssociativeScanSpec::new(x.dtype, self.by.op, batch, channels, length);
        let Direction { reverse, exclusive } = self.direction;
        let spec = AssociativeScanSpec { initial: initial.is_some(), reverse, exclusive, ..spec };
        if let Some(initial) = initial {
            initial.expect_shape(&spec.state_shape())?;
        }
        spec.check()?;
        Ok(Box::new(spec))
    }
}

impl Operation for AssociativeScanSpec {
    fn fields(&self) -> Fields {
        fields(self)
    }

    fn plans(&self, caps: &Caps) -> Result<Vec<Planned>, Failure> {
        let backward = RowScanBackwardPlan::associative(self, caps)?;
        Ok(vec![
            Planned::new("forward", &RowScanPlan::associative(self, caps)?, shaders::row_scan)?,
            Planned::new("backward", &backward, shaders::row_scan_backward)?,
        ])
    }

    fn compute(&self, gpu: &Gpu, file: &TensorFile<'_>) -> Result<Vec<Output>, Failure> {
        by_dtype!(self.dtype, T => apart(|| {
            let x = file.upload::<T>(gpu, "x")?;
            let initial = file.upload_f32(gpu, "h0")?;
            let given = AssociativeScanInputs { x: &x, initial: initial.as_ref() };
            let outputs = AssociativeScan::new(gpu, *self)?.run(given)?;
            let last = Output::on_device("last_state", &outputs.last);
            let mut found = vec![Output::on_device("y", &outputs.y), last];
            if file.find("dy")?.is_some() {
                let dy = file.upload::<T>(gpu, "dy")?;
                let inputs = AssociativeScanBackwardInputs { given, y: &outputs.y, dy: &dy };
                let gradients = AssociativeScanBackward::new(gpu, *self)?.run(inputs)?;
                found.push(Output::on_device("dx", &gradients.dx));
                if self.initial {
                    found.push(Output::on_device("dh0", &gradients.dinitial));
                }
            }
            Ok(found)
        }))
    }
}
