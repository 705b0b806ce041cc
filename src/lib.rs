//! Hardware-aware machine-learning kernels for every GPU: tiled attention, Monarch products and chunked scans,
//! written in WGSL, planned from what the adapter can do, run by [`wgpu`].
//!
//! # One idea: spec → plan → op
//!
//! - A **spec** ([`AttentionSpec`], [`MonarchSpec`], [`LinearScanSpec`]) says what to compute: sizes and options.
//! - [`Caps`] are what an adapter can do, as plain numbers; [`caps::PROFILES`] are machines that are not here.
//! - A **plan** ([`plan`]) says how to compute it there: tiles, lanes, storage, path. It is a pure function of the
//!   two and explains itself, so it can be made without any GPU:
//!
//! ```
//! use tilewise::{AttentionSpec, DType, caps, plan::AttentionPlan};
//!
//! let spec = AttentionSpec::new(DType::F16, 1, (4096, 4096), 32, 128).causal();
//! let apple = caps::profile("apple-m1").unwrap();
//! println!("{}", AttentionPlan::new(&spec, apple.caps)?);
//! # Ok::<(), tilewise::PlanError>(())
//! ```
//!
//! - An **op** ([`Attention`], [`Monarch`], [`LinearScan`]) is the plan compiled for a [`Gpu`]. `encode` records it into
//!   the caller's command buffer, `run` allocates the outputs and submits, and only reading a [`Tensor`] waits:
//!
//! ```no_run
//! use tilewise::{DType, Gpu, LinearScan, LinearScanInputs, LinearScanSpec, Tensor};
//!
//! let gpu = Gpu::request_blocking()?;
//! let spec = LinearScanSpec::new(DType::F32, 1, 1, 4); // batch, channels, length
//! let a = Tensor::from_slice(&gpu, &spec.shape(), &[0.5_f32; 4])?;
//! let b = Tensor::from_slice(&gpu, &spec.shape(), &[1.0_f32; 4])?;
//! let outputs = LinearScan::new(&gpu, spec)?.run(LinearScanInputs { a: &a, b: &b, initial: None })?;
//! assert_eq!(outputs.h.read_blocking()?, [1.0, 1.5, 1.75, 1.875]);
//! # Ok::<(), tilewise::Error>(())
//! ```
//!
//! Tensors hold `f32`, [`half::f16`] or [`half::bf16`]; arithmetic is f32. Every op runs on the least that WebGPU
//! guarantees, and better where the adapter has more. Errors carry the numbers that were found and expected, and are
//! returned before anything reaches the GPU.
//!
//! # The other modules
//!
//! [`transforms`] are exact ones as butterfly products. [`oracle`] computes the same in f64, naively; [`verify`] compares the two over the acceptance grids; [`shader`]
//! links the WGSL. [`baseline`] computes the same unfused, and [`mod@bench`] measures the two against each other and
//! against what the adapter can do at all. ARCHITECTURE.md in the repository is a tour of the code.

// What tests of the whole library share names it as they do.
#[cfg(test)]
extern crate self as tilewise;

pub mod baseline;
pub mod bench;
pub mod caps;
mod dtype;
mod error;
mod gpu;
mod kernel;
mod math;
pub mod mods;
pub mod ops;
pub mod oracle;
pub mod plan;
#[cfg(feature = "project")]
pub mod project;
pub mod shader;
mod spec;
mod tensor;
pub mod timing;
pub mod transforms;
pub mod verify;

pub use caps::{Bytes, Caps};
pub use dtype::{DType, Element, Stored};
pub use error::{Error, PlanError, SpecError};
pub use gpu::{Gpu, GpuOptions, Memory, instance};
pub use ops::{
    Append, AppendInputs, AssociativeScan, AssociativeScanBackward, AssociativeScanBackwardInputs,
    AssociativeScanGradients, AssociativeScanInputs, AssociativeScanOutputs, Attention, AttentionBackward,
    AttentionGradients, AttentionInputs, AttentionOutputs, AttentionProbabilities, BlockSoftmax, BlockSparse,
    Butterfly, ButterflyBackward, ButterflyGradients, ButterflyInputs, ButterflyLinear,
    ButterflyLinearGradients, ButterflyLinearInputs, CacheIndex, CachedAttention, CachedAttentionInputs,
    CoefficientGradient, CoefficientTensor, Conv1d, Conv1dBackward, Conv1dGradients, Conv1dInputs,
    Conv1dOutputs, Conv1dStep, Conv1dStepInputs, DeltaRule, DeltaRuleBackward, DeltaRuleGradients,
    DeltaRuleInputs, DeltaRuleStep, H3, H3Backward, H3Gradients, H3Inputs, H3States, H3Step, Hyena,
    HyenaBackward, HyenaGradients, HyenaInputs, HyenaStates, HyenaStep, KvCache, LinearAttention,
    LinearAttentionBackward, LinearAttentionGradients, LinearAttentionInputs, LinearAttentionOutputGradients,
    LinearAttentionOutputs, LinearAttentionStep, LinearScan, LinearScanBackward, LinearScanBackwardInputs,
    LinearScanGradients, LinearScanInputs, LinearScanOutputs, LongConv, LongConvBackward, LongConvGradients,
    LongConvInputs, LongConvStep, Mamba, Mamba2, Mamba2Backward, Mamba2Gradients, Mamba2Inputs, Mamba2Step,
    MambaBackward, MambaGradients, MambaInputs, MambaOutputs, MambaStates, MambaStep, Merge, Monarch,
    MonarchBackward, MonarchGradients, MonarchInputs, MonarchLinear, MonarchLinearGradients,
    PixelflyBackward, PixelflyGradients, PixelflyInputs, PixelflyLinear, Projection, RotaryTables, Rotate,
    S4d, S4dBackward, S4dGradients, S4dInputs, S4dStep, SelectiveScan, SelectiveScanBackward,
    SelectiveScanGradients, SelectiveScanInputs, SelectiveScanOutputs, SelectiveScanStep, SequenceIndices,
    Ssd, SsdBackward, SsdGradients, SsdInputs, SsdOutputGradients, SsdOutputs, SsdStep, Table,
};
pub use shader::snippet::{Snippet, Word};
pub use spec::{
    Alibi, AppendSpec, AssociativeOperator, AssociativeScanSpec, AttentionSpec, BlockMask, BlockPattern,
    BlockSoftmaxSpec, BlockSparseMode, BlockSparseSpec, ButterflyLinearSpec, ButterflySpec, CacheSpec,
    CacheView, CachedAttentionSpec, Coefficients, Conv1dSpec, CuSeqlens, DeltaRuleSpec, Discretization, Gate,
    H3Spec, HyenaSpec, LinearAttentionSpec, LinearScanSpec, LinearSpec, LongConvSpec, Mamba2Spec, MambaSpec,
    MergeSpec, Mods, MonarchLinearSpec, MonarchLinearWeights, MonarchSpec, Packed, PixelflyConfig,
    PixelflySpec, PixelflyWeights, Rotary, RotaryPairs, RotateSpec, S4dParameters, S4dSpec, ScanOperator,
    SelectiveScanSpec, Sequences, Skip, Span, SsdSpec, Window,
};
pub use tensor::Tensor;
pub use {half, wgpu};

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
