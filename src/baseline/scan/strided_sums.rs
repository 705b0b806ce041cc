//! Sums of gradients that lie side by side.

use crate::baseline::yardstick;
use crate::kernel::{Kernel, params};
use crate::plan::Footprint;
use crate::shader::{Shader, ShaderError, Storage};
use crate::{Error, Gpu};

params! {
    /// `baseline/strided_sums`.
    SumsParams {
        total: u32, first: u32, batches: u32, apart: u32, share: u32, width: u32, units: u32,
        window: u32, steps: u32,
        out_batch: u32, out_unit: u32, out_state: u32, out_step: u32, first_step: u32,
    }
}

const LANES: u32 = 64;

/// Sums over units that share something, of as many numbers each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sums {
    /// Where the terms begin.
    pub first: usize,
    /// Batches whose terms are added too, and the distance between them.
    pub batches: [usize; 2],
    /// Units to a sum.
    pub share: usize,
    /// Numbers of a unit.
    pub width: usize,
    /// Sums of units.
    pub units: usize,
    /// Where they go, if not side by side.
    pub to: Option<Places>,
}

/// Where the sums of some steps go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places {
    /// Units of a batch.
    pub units: usize,
    /// Steps of a unit's states, of which so many are there, and the first.
    pub steps: [u32; 3],
    /// Distances of batches, units, states and steps.
    pub apart: [usize; 4],
}

impl Sums {
    pub fn footprint() -> Footprint {
        let kernel = "baseline/strided_sums";
        Footprint { kernel, lanes: LANES, workgroup_bytes: 0, storage_buffers: 2 }
    }

    pub fn shader(storage: Storage) -> Result<Shader, ShaderError> {
        yardstick("baseline/strided_sums").set("LANES", LANES).tensor("sums", storage).link()
    }

    pub fn encode(
        &self,
        gpu: &Gpu,
        encoder: &mut wgpu::CommandEncoder,
        kernel: &Kernel,
        buffers: [&wgpu::Buffer; 2],
    ) -> Result<(), Error> {
        let Self { first, batches: [batches, apart], share, width, units, to } = *self;
        let places = to.unwrap_or(Places { units, steps: [1, 1, 0], apart: [0, width, 1, 0] });
        let total = (units * width) as u32;
        let [window, steps, first_step] = places.steps;
        let [out_batch, out_unit, out_state, out_step] = places.apart.map(|distance| distance as u32);
        let params = SumsParams {
            groups: total.div_ceil(LANES),
            total,
            first: first as u32,
            batches: batches as u32,
            apart: apart as u32,
            share: share as u32,
            width: width as u32,
            units: places.units as u32,
            window,
            steps,
            out_batch,
            out_unit,
            out_state,
            out_step,
            first_step,
        };
        kernel.dispatch(gpu, encoder, &params, &buffers)
    }
}
