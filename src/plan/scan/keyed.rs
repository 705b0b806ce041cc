//! Plans of linear attention whose decays differ from key to key, and of either kind of decay.

use std::fmt;

use super::chunked::{Between, COLUMN_LANES, ChunkKernel, fitting};
use super::{ChunkedBackwardPlan, ChunkedPlan};
use crate::caps::Caps;
use crate::plan::{Footprint, Plan, check_tensor, check_turns};
use crate::shader::Storage;
use crate::spec::Recurrence;
use crate::{DType, Gate, LinearAttentionSpec, PlanError};

/// How to run linear attention whose decays differ from key to key: decays are taken into queries and keys where these meet
/// states, and into each product of a chunk's queries with its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct KeyedPlan {
    /// Chunks and tiles.
    pub chunked: ChunkedPlan,
}

/// The kernels of decays that differ from key to key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum KeyedKernel {
    /// Where chunks lie.
    Records,
    /// Decays in queries and keys.
    Steps,
    /// Products of queries with keys, or of gradients with values, of a chunk.
    Scores { decays: bool },
    /// What chunks add to states, or in reverse to their gradients.
    States { reverse: bool },
    /// States, or in reverse their gradients, from chunk to chunk.
    Pass { reverse: bool },
    /// Products of each chunk.
    Product(KeyedProduct),
    /// Gradients of queries, or in reverse of keys.
    Gradient { reverse: bool },
    /// Gradients of decays.
    Decays,
}

/// What `scan/chunk_product` multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum KeyedProduct {
    /// Rows of keys with a state, whose columns are theirs.
    Columns,
    /// Rows of values with a state, whose rows are theirs.
    Rows,
    /// Scores with values, and what came from the state.
    Result,
    /// Turned scores with gradients of the result, and what came from the state's.
    Values,
}

impl KeyedPlan {
    fn new(of: &Recurrence, caps: &Caps) -> Result<Self, PlanError> {
        let (of_keys, of_values) = (4 * of.heads * of.b_dim, 4 * of.heads * of.x_dim);
        let between = Between {
            of_token: vec![
                ("g", of_keys),
                ("the results of states", of_values),
                ("the parts of the gradients", 2 * of_keys),
            ],
            squares: Some("the scores of a chunk"),
            ..Between::default()
        };
        check_tensor("g", of.tokens() * of.heads * of.b_dim, DType::F32, caps)?;
        let chunked = ChunkedPlan::beside(of, &between, caps)?;
        let slices = of.x_dim.max(of.b_dim).div_ceil(8) as u64;
        let turns = slices * (u64::from(chunked.room) + 8) + 2 * u64::from(chunked.room * chunked.room / 64);
        check_turns("scan/keyed_scores", turns, caps)?;
        check_turns("scan/keyed_decays", of.x_dim as u64 + 2 * u64::from(chunked.room), caps)?;
        fitting("linear attention", Self { chunked }, caps)
    }

    /// Those that lead to states and scores.
    fn state_kernels() -> [KeyedKernel; 5] {
        use KeyedKernel::{Pass, Records, Scores, States, Steps};
        let reverse = false;
        [Records, Steps, Scores { decays: true }, States { reverse }, Pass { reverse }]
    }

    /// The kernels, in the order in which they run.
    pub(crate) fn kernels() -> Vec<KeyedKernel> {
        let mut kernels = Self::state_kernels().to_vec();
        kernels.extend([KeyedProduct::Columns, KeyedProduct::Result].map(KeyedKernel::Product));
        kernels
    }

    /// How a tensor in f32 with the layout of `k` is stored.
    pub(crate) fn key_in_f32(&self) -> Storage {
        Storage { vectors: self.chunked.b.vectors, ..Storage::F32 }
    }

    fn footprint(&self, kernel: KeyedKernel) -> Footprint {
        let room = self.chunked.room;
        // Room for logarithms and weights of a chunk's steps, which are all alike.
        let steps = 8 * room;
        let of_kernel = |kernel, lanes, workgroup_bytes, storage_buffers| Footprint {
            kernel,
            lanes,
            workgroup_bytes,
            storage_buffers,
        };
        match kernel {
            KeyedKernel::Records => self.chunked.footprint(ChunkKernel::Steps),
            KeyedKernel::States { reverse } => self.chunked.footprint(ChunkKernel::States { reverse }),
            KeyedKernel::Pass { reverse } => self.chunked.footprint(ChunkKernel::Pass { reverse }),
            KeyedKernel::Steps => of_kernel("scan/keyed_steps", 64, steps, 8),
            KeyedKernel::Scores { .. } => {
                of_kernel("scan/keyed_scores", 64, 2 * room * 2 * 16 + 2 * room * (room + 1) + steps, 5)
            }
            KeyedKernel::Product(product) => {
                let joins = matches!(product, KeyedProduct::Result | KeyedProduct::Values);
                let bytes = room * 5 * 16 + 16 * COLUMN_LANES * 16 + steps;
                of_kernel("scan/chunk_product", room / 4 * COLUMN_LANES, bytes, 4 + u32::from(joins))
            }
            KeyedKernel::Gradient { .. } => of_kernel("scan/keyed_gradient", 64, steps, 8),
            KeyedKernel::Decays => of_kernel("scan/keyed_decays", 64, steps, 7),
        }
    }
}

impl Plan for KeyedPlan {
    fn footprints(&self) -> Vec<Footprint> {
        Self::kernels().into_iter().map(|kernel| self.footprint(kernel)).collect()
    }
}

impl fmt::Display for KeyedPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a decay a key; {}", self.chunked)
    }
}

/// How to run the gradients of linear attention whose decays differ from key to key: states are computed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct KeyedBackwardPlan {
    /// How states are computed.
    pub forward: KeyedPlan,
}

impl KeyedBackwardPlan {
    fn new(of: &Recurrence, caps: &Caps) -> Result<Self, PlanError> {
        let plan = Self { forward: KeyedPlan::new(of, caps)? };
        fitting("the gradients of linear attention", plan, caps)
    }

    /// The kernels, in the order in which they first run.
    pub(crate) fn kernels() -> Vec<KeyedKernel> {
        use KeyedKernel::{Decays, Gradient, Pass, Product, Scores, States};
        let reverse = true;
        let mut kernels = KeyedPlan::state_kernels().to_vec();
        kernels.extend([Scores { decays: false }, States { reverse }, Pass { reverse }]);
        kernels.extend([KeyedProduct::Columns, KeyedProduct::Values, KeyedProduct::Rows].map(Product));
        kernels.extend([Gradient { reverse: false }, Gradient { reverse }, Decays]);
        kernels
    }
}

impl Plan for KeyedBackwardPlan {
    fn footprints(&self) -> Vec<Footprint> {
        Self::kernels().into_iter().map(|kernel| self.forward.footprint(kernel)).collect()
    }
}

impl fmt::Display for KeyedBackwardPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "states computed again, {} kernels; {}", Self::kernels().len(), self.forward)
    }
}

/// How to run a [`LinearAttentionSpec`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
pub enum LinearAttentionPlan {
    /// A head's state decays as one.
    Heads(ChunkedPlan),
    /// Keys decay each on its own.
    Keys(KeyedPlan),
}

impl LinearAttentionPlan {
    /// Plans linear attention. Fails if the spec is wrong or more than the adapter holds.
    pub fn new(spec: &LinearAttentionSpec, caps: &Caps) -> Result<Self, PlanError> {
        spec.check()?;
        let of = spec.recurrence();
        if spec.gate == Gate::PerKey {
            return KeyedPlan::new(&of, caps).map(Self::Keys);
        }
        fitting("linear attention", ChunkedPlan::new(&of, caps)?, caps).map(Self::Heads)
    }
}

/// How to run the gradients of a [`LinearAttentionSpec`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
pub enum LinearAttentionBackwardPlan {
    /// A head's state decays as one.
    Heads(ChunkedBackwardPlan),
    /// Keys decay each on its own.
    Keys(KeyedBackwardPlan),
}

impl LinearAttentionBackwardPlan {
    /// Plans the gradients of linear attention. Fails if the spec is wrong or more than the adapter holds.
    pub fn new(spec: &LinearAttentionSpec, caps: &Caps) -> Result<Self, PlanError> {
        spec.check()?;
        let of = spec.recurrence();
        if spec.gate == Gate::PerKey {
            return KeyedBackwardPlan::new(&of, caps).map(Self::Keys);
        }
        ChunkedBackwardPlan::new(ChunkedPlan::new(&of, caps)?, &of, caps).map(Self::Heads)
    }
}

macro_rules! either {
    ($($plan:ident),*) => {$(
        impl Plan for $plan {
            fn footprints(&self) -> Vec<Footprint> {
                match self {
                    Self::Heads(plan) => plan.footprints(),
                    Self::Keys(plan) => plan.footprints(),
                }
            }
        }

        impl fmt::Display for $plan {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    Self::Heads(plan) => plan.fmt(f),
                    Self::Keys(plan) => plan.fmt(f),
                }
            }
        }
    )*};
}

either!(LinearAttentionPlan, LinearAttentionBackwardPlan);
