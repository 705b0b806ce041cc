//! Values of options.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use tilewise::DType;

/// Takes the name of an element type.
pub fn dtype_parser() -> impl TypedValueParser<Value = DType> {
    PossibleValuesParser::new(["f32", "f16", "bf16"]).try_map(|name| {
        let named = DType::ALL.into_iter().find(|dtype| dtype.to_string() == name);
        named.ok_or_else(|| format!("there is no element type {name}"))
    })
}
