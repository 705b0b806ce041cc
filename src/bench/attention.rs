use super::measure::Bench;
use super::{Figures, Yardstick};
use crate::{AttentionSpec, Element, Error};
pub(super) fn measure<T: Element>(_: &Bench<'_>, _: &AttentionSpec) -> Result<(Figures, Vec<Yardstick>), Error> { todo!() }
