//! Plans of the delta rule and its gradients.

use std::fmt;

use super::chunked::{Between, COLUMN_LANES, ChunkKernel, Mixed, fitting, lanes_down, longest_run};
use super::{ChunkedBackwardPlan, ChunkedPlan};
use crate::caps::Caps;
use crate::plan::{Footprint, Plan, check_turns};
use crate::shader::Storage;
use crate::spec::{Recurrence, elements};
use crate::{DeltaRuleSpec, PlanError};

/// How to run a [`DeltaRuleSpec`]: as the recurrence of residuals, what each value lacks of what the state holds under its
/// key. Within a chunk these follow from the inverse of a triangular matrix, across chunks from the states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct DeltaRulePlan {
    /// How the recurrence of the residuals is run.
    pub chunked: ChunkedPlan,
    /// Lanes down a tile of what a chunk takes from a state, four rows each.
    pub key_lanes: u32,
    /// How states pass from chunk to chunk.
    pub pass: DeltaPass,
}

/// How states pass from chunk to chunk under the delta rule: a workgroup takes some rows through all chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct DeltaPass {
    /// Lanes down a tile of a state, four rows each.
    pub row_lanes: u32,
    /// Lanes across a state.
    pub column_lanes: u32,
    /// Fours of columns a lane takes.
    pub fours: u32,
}

impl DeltaPass {
    /// As many rows as a state has and the adapter holds, at most sixteen: more would leave fewer workgroups.
    fn new(of: &Recurrence, caps: &Caps) -> Self {
        let fours = of.b_dim.div_ceil(4) as u32;
        let column_lanes = fours.next_power_of_two().clamp(8, 32);
        let row_lanes = (of.x_dim.div_ceil(4).next_power_of_two() as u32).min(4);
        let mut pass = Self { row_lanes, column_lanes, fours: fours.div_ceil(column_lanes) };
        while pass.row_lanes > 1 && !pass.footprint().fits(caps) {
            pass.row_lanes /= 2;
        }
        pass
    }

    /// Rows of a state that a workgroup takes.
    pub(crate) fn rows(self) -> u32 {
        4 * self.row_lanes
    }

    fn footprint(self) -> Footprint {
        let lanes = self.row_lanes * self.column_lanes;
        let workgroup_bytes = 16 * self.rows() * self.column_lanes * self.fours;
        Footprint { kernel: "scan/delta_pass", lanes, workgroup_bytes, storage_buffers: 6 }
    }
}

/// The kernels of the delta rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum DeltaKernel {
    /// One of the recurrence of residuals.
    Tokens(ChunkKernel),
    /// One of the recurrence of two steps a token.
    Pairs(ChunkKernel),
    /// The inverses of the chunks' matrices.
    Inverse,
    /// What chunks add to states by their values, or what they take from them by their keys.
    States { keys: bool },
    /// A product of each chunk.
    Product(DeltaProduct),
    /// States, or in reverse their gradients, from chunk to chunk.
    Pass { reverse: bool },
    /// Two tensors as one of two steps a token.
    Interleave(DeltaPair),
    /// One tensor out of those of two steps a token.
    Gather(DeltaPair),
}

/// What `scan/chunk_product` multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum DeltaProduct {
    /// The inverse with values: their residuals where a chunk begins with a state of 0.
    Values,
    /// The inverse with keys that decay from the chunk's beginning: what residuals lack by each row of the state.
    Keys,
    /// The turned inverse with gradients of values.
    Gradients,
    /// The turned inverse with keys that decay to the chunk's end: what gradients gain by each row of the state's.
    KeysOut,
    /// Such rows with the state itself.
    State,
}

/// Which tensors have two steps a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum DeltaPair {
    /// Residuals.
    Values,
    /// Keys and queries.
    Keys,
    /// Gradients of residuals, and of the result.
    Gradients,
}

impl DeltaRulePlan {
    /// Plans the delta rule. Fails if the spec is wrong or more than the adapter holds.
    pub fn new(spec: &DeltaRuleSpec, caps: &Caps) -> Result<Self, PlanError> {
        spec.check()?;
        let of = spec.recurrence();
        let wide = |elements: usize| 4 * of.heads * elements;
        let between = Between {
            of_token: vec![
                ("the residuals", wide(of.x_dim)),
                ("the residuals of keys", wide(of.b_dim)),
                ("two steps a token", 2 * wide(of.x_dim.max(of.b_dim))),
            ],
            of_chunk: vec![("what a chunk takes from a state", wide(of.b_dim * of.b_dim))],
            squares: Some("the inverse of a chunk"),
            doubled: true,
        };
        let chunked = ChunkedPlan::beside(&of, &between, caps)?;
        let plan = Self { chunked, key_lanes: lanes_down(of.b_dim), pass: DeltaPass::new(&of, caps) };
        let chunk_turns = of.b_dim.div_ceil(4) as u64 + 16;
        let chunks = longest_run(&of, chunked.chunk as usize).min(chunked.window as usize) as u64;
        check_turns("scan/delta_pass", chunks * chunk_turns, caps)?;
        let row_turns = u64::from(chunked.room) * u64::from(chunked.room) + 512;
        check_turns("scan/delta_inverse", row_turns + 2 * of.b_dim as u64, caps)?;
        fitting("the delta rule", plan, caps)
    }

    /// The kernels, in the order in which they run.
    pub(crate) fn kernels() -> Vec<DeltaKernel> {
        let mut kernels = Self::state_kernels().to_vec();
        kernels.push(DeltaKernel::Tokens(ChunkKernel::Mix(Mixed::Residuals)));
        kernels
    }

    /// Those that lead to residuals and states.
    fn state_kernels() -> [DeltaKernel; 8] {
        use DeltaKernel::{Inverse, Pass, Product, States, Tokens};
        use DeltaProduct::{Keys, State, Values};
        [
            Tokens(ChunkKernel::Steps),
            Inverse,
            Product(Values),
            Product(Keys),
            States { keys: false },
            States { keys: true },
            Pass { reverse: false },
            Product(State),
        ]
    }

    /// How a tensor in f32 with the layout of `k` is stored.
    pub(crate) fn key_in_f32(&self) -> Storage {
        Storage { vectors: self.chunked.b.vectors, ..Storage::F32 }
    }

    fn footprint(&self, kernel: DeltaKernel) -> Footprint {
        let room = self.chunked.room;
        // Logarithms and weights of a chunk's steps.
        let steps = 8 * room;
        let of_kernel = |kernel, lanes, workgroup_bytes, storage_buffers| Footprint {
            kernel,
            lanes,
            workgroup_bytes,
            storage_buffers,
        };
        match kernel {
            DeltaKernel::Tokens(kernel) | DeltaKernel::Pairs(kernel) => self.chunked.footprint(kernel),
            DeltaKernel::Inverse => {
                let (keys, below) = (room * 5 * 16, 4 * (room * (room - 1) / 2));
                of_kernel("scan/delta_inverse", 64, keys + below + steps, 3)
            }
            DeltaKernel::States { keys } => {
                self.chunked.states_footprint(if keys { self.key_lanes } else { self.chunked.state_lanes })
            }
            DeltaKernel::Product(_) => {
                let bytes = room * 5 * 16 + 16 * COLUMN_LANES * 16 + steps;
                of_kernel("scan/chunk_product", room / 4 * COLUMN_LANES, bytes, 4)
            }
            DeltaKernel::Pass { .. } => self.pass.footprint(),
            DeltaKernel::Interleave(_) => of_kernel("scan/interleave", 64, 0, 3),
            DeltaKernel::Gather(_) => of_kernel("scan/gather_pairs", 64, 0, 3),
        }
    }
}

impl Plan for DeltaRulePlan {
    fn footprints(&self) -> Vec<Footprint> {
        Self::kernels().into_iter().map(|kernel| self.footprint(kernel)).collect()
    }
}

impl fmt::Display for DeltaRulePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "residuals by inverses, {} rows of a state at a time; {}", self.pass.rows(), self.chunked)
    }
}

/// How to run the gradients of a [`DeltaRuleSpec`]: residuals and states are computed again. A token is then two steps of
/// a recurrence that reads its state once a step, as those of [`ChunkedBackwardPlan`] do: the first decays the state and
/// reads it under the key, the second adds to it and reads it under the query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct DeltaRuleBackwardPlan {
    /// How residuals and states are computed.
    pub forward: DeltaRulePlan,
    /// How the gradients of the recurrence of two steps a token are.
    pub pairs: ChunkedBackwardPlan,
}

impl DeltaRuleBackwardPlan {
    /// Plans the gradients of the delta rule. Fails if the spec is wrong or more than the adapter holds.
    pub fn new(spec: &DeltaRuleSpec, caps: &Caps) -> Result<Self, PlanError> {
        let forward = DeltaRulePlan::new(spec, caps)?;
        let of = spec.pairs(forward.chunked.chunk as usize);
        elements("two steps a token", &[of.tokens(), of.heads, of.x_dim.max(of.b_dim)])?;
        let along = ChunkedPlan::along(&forward.chunked, &of, caps)?;
        let pairs = ChunkedBackwardPlan::new(along, &of, caps)?;
        fitting("the gradients of the delta rule", Self { forward, pairs }, caps)
    }

    /// The kernels, in the order in which they first run.
    pub(crate) fn kernels() -> Vec<DeltaKernel> {
        use ChunkKernel::{Decay, Gradient, Mix, Steps};
        use DeltaKernel::{Gather, Interleave, Pairs, Pass, Product, Tokens};
        use DeltaPair::{Gradients, Keys, Values};
        let mut kernels = DeltaRulePlan::state_kernels().to_vec();
        kernels.extend([
            Tokens(Mix(Mixed::Within)),
            Product(DeltaProduct::Gradients),
            Product(DeltaProduct::KeysOut),
        ]);
        kernels.extend([Gradients, Keys, Values].map(Interleave));
        kernels.extend([Pairs(Steps), Pairs(ChunkKernel::States { reverse: true }), Pass { reverse: true }]);
        kernels.extend([Mix(Mixed::C), Mix(Mixed::B), Decay, Gradient].map(Pairs));
        kernels.extend([Gather(Keys), Gather(Values)]);
        kernels
    }
}

impl Plan for DeltaRuleBackwardPlan {
    fn footprints(&self) -> Vec<Footprint> {
        let footprint = |kernel| match kernel {
            DeltaKernel::Pairs(kernel) => self.pairs.forward.footprint(kernel),
            other => self.forward.footprint(other),
        };
        Self::kernels().into_iter().map(footprint).collect()
    }
}

impl fmt::Display for DeltaRuleBackwardPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kernels = Self::kernels().len();
        write!(f, "two steps a token, states computed again, {kernels} kernels; {}", self.forward)
    }
}
