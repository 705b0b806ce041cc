//! Single steps of recurrences, as decoding takes them.

use crate::kernel::{Kernel, compile_array, params};
use crate::ops::Scratch;
use crate::plan::{Exchange, Steps, TOKEN_ROOM, TokenPlan, record_words};
use crate::shader::{Linker, Shader, ShaderError};
use crate::spec::Recurrence;
use crate::{Error, Gpu, Tensor};

use super::chunked::{Given, StepsParams, by_ones, limits, link_gate, link_steps, skip_distances, table};

params! {
    /// `scan/token`.
    TokenParams {
        heads: u32, b_share: u32, x_dim: u32, b_dim: u32, row_tiles: u32, skip_head: u32, skip_channel: u32,
        scale: f32,
    }
}

/// The linked shaders of a plan, in the order of its footprints.
pub fn shaders(plan: &TokenPlan) -> Result<Vec<Shader>, ShaderError> {
    let steps = link_steps(Linker::new("scan/chunk_steps"), plan.steps, by_ones(plan.x));
    let token = Linker::new("scan/token").module("scan/chunk");
    let token = match plan.exchange {
        Exchange::Workgroup => token.module("common/lane_workgroup").module("common/reduce_workgroup"),
        Exchange::Subgroup => token.module("common/lane_subgroup").module("common/reduce_subgroup"),
    };
    let residual = matches!(plan.steps, Steps::Delta { .. });
    let token = link_gate(token, plan.gated, plan.x)
        .module(if residual { "scan/token_delta" } else { "scan/token_plain" })
        .module(if plan.keyed() { "scan/token_decay_keys" } else { "scan/token_decay_heads" })
        .tensor("x", plan.x)
        .tensor("b", plan.b)
        .tensor("c", plan.b)
        .tensor("out", plan.x)
        .set("LANES", plan.lanes)
        .set("REDUCE_LANES", plan.column_lanes)
        .set("CHUNK", TOKEN_ROOM)
        .set("HAS_SKIP", plan.skip);
    Ok(vec![steps.set("CHUNK", TOKEN_ROOM).link()?, token.link()?])
}

/// A step of a recurrence with its compiled kernels.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub gpu: Gpu,
    of: Recurrence,
    plan: TokenPlan,
    steps: Kernel,
    advance: Kernel,
    chunks: Tensor<u32>,
    scratch: Scratch,
}

impl Token {
    pub fn new(gpu: &Gpu, of: Recurrence, plan: TokenPlan) -> Result<Self, Error> {
        let [steps, advance] = compile_array(gpu, &shaders(&plan)?)?;
        let chunks: Vec<_> = (0..of.states() as u32).flat_map(|sequence| [sequence, 1]).collect();
        let chunks = table(gpu, &chunks)?;
        Ok(Self { gpu: gpu.clone(), of, plan, steps, advance, chunks, scratch: Scratch::default() })
    }

    /// Records one step of every sequence; `states` are what they are before it, and are left what they are after it.
    pub fn encode(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        given: &Given<'_>,
        states: &wgpu::Buffer,
        out: &wgpu::Buffer,
    ) -> Result<(), Error> {
        let Self { gpu, of, plan, .. } = self;
        let (sequences, heads) = (of.states() as u32, of.heads as u32);
        let shape = [of.states(), of.heads, record_words(TOKEN_ROOM as usize)];
        let records = self.scratch.tensors(gpu, &[&shape])?[0].buffer();
        let [low, high] = limits(of);
        let count = sequences * heads;
        let params = StepsParams { groups: count.div_ceil(plan.lanes), count, heads, low, high };
        let mut buffers = vec![self.chunks.buffer(), records];
        if !plan.keyed() {
            buffers.extend(&given.steps);
        }
        self.steps.dispatch(gpu, encoder, &params, &buffers)?;

        let row_tiles = (of.x_dim as u32).div_ceil(plan.rows());
        let [skip_head, skip_channel] = skip_distances(of);
        let params = TokenParams {
            groups: count * row_tiles,
            heads,
            b_share: (of.heads / of.groups) as u32,
            x_dim: of.x_dim as u32,
            b_dim: of.b_dim as u32,
            row_tiles,
            skip_head,
            skip_channel,
            scale: of.scale,
        };
        let mut buffers = vec![given.x, given.b, given.c, given.skip, states, out, records];
        if plan.gated {
            buffers.push(given.z);
        }
        if plan.keyed() {
            buffers.extend(&given.steps);
        }
        self.advance.dispatch(gpu, encoder, &params, &buffers)
    }
}
