//! Linking and specialising WGSL: strings in, string out.
//!
//! Shader files are plain WGSL with no directives and no template language. Six mechanisms turn them into the
//! module that a plan asks for, and each refuses a name that is absent, duplicated or left unset:
//!
//! - **consts**: `const HEAD_DIM: u32 = 64;` in a file is a default; the plan sets another value.
//! - **modules**: a kernel calls functions that it does not define (`reduce_max`, …); the plan chooses which file
//!   defines them. That takes the place of `#ifdef`. A module may declare bindings of its own, which come after the
//!   kernel's in the order in which modules are linked: what a plan does not use takes no binding.
//! - **copies**: a file of functions that are the same for several tensors is linked once for each, with its words
//!   replaced: `tensor_four` of `attention/load_keys` becomes `k_four` and `v_four`.
//! - **tensors**: a kernel declares `var<storage, read> q: array<q_word>`, and the plan says how `q` is stored.
//!   The files under `elem/` define `q_word`, and `q_load`, `q_load4` or `q_store`, `q_store4` around it.
//! - **snippets**: a kernel calls functions that the user of the library writes; [`snippet`] checks and links them.
//! - **repetition**: lines of a kernel that end in `// each o` are linked once for each of several cooperative matrices
//!   ([`Linker::each`]).

#[cfg(any(test, target_arch = "wasm32"))]
mod pack;
mod repeat;
pub mod snippet;

use std::fmt::{self, Write as _};

use crate::DType;
use snippet::{Linked, SnippetError};

/// How elements lie in a storage buffer, and in which unit a kernel addresses them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Storage {
    /// The words.
    pub format: Format,
    /// Addressed four elements at a time: every row the kernel touches starts at a multiple of four.
    pub vectors: bool,
}

/// What the words of a buffer hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Format {
    /// f32.
    F32,
    /// f16 as a type of its own (`shader-f16`).
    F16,
    /// Two f16 in a u32. The bytes are those of [`F16`](Self::F16).
    F16Packed,
    /// Two bf16 in a u32.
    Bf16Packed,
    /// Four 8-bit integers in a u32, rounded to nearest and kept within ±127; whoever stores or loads them applies a
    /// scale.
    I8Packed,
}

impl Storage {
    /// f32, addressed one element at a time.
    pub const F32: Self = Self { format: Format::F32, vectors: false };

    /// How `dtype` is stored on an adapter with or without `shader-f16`.
    pub fn new(dtype: DType, shader_f16: bool, vectors: bool) -> Self {
        let format = match dtype {
            DType::F32 => Format::F32,
            DType::F16 if shader_f16 => Format::F16,
            DType::F16 => Format::F16Packed,
            DType::Bf16 => Format::Bf16Packed,
        };
        Self { format, vectors }
    }

    /// Bytes of an element.
    pub(crate) fn bytes(self) -> usize {
        match self.format {
            Format::F32 => 4,
            Format::F16 | Format::F16Packed | Format::Bf16Packed => 2,
            Format::I8Packed => 1,
        }
    }

    /// The file name under `elem/load` and `elem/store`.
    fn module(self) -> &'static str {
        match (self.format, self.vectors) {
            (Format::F32, false) => "f32",
            (Format::F32, true) => "f32_x4",
            (Format::F16, false) => "f16",
            (Format::F16, true) => "f16_x4",
            (Format::F16Packed, false) => "f16_packed",
            (Format::F16Packed, true) => "f16_packed_x4",
            (Format::Bf16Packed, false) => "bf16_packed",
            (Format::Bf16Packed, true) => "bf16_packed_x4",
            (Format::I8Packed, false) => "i8_packed",
            (Format::I8Packed, true) => "i8_packed_x4",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::F16Packed => "f16 packed in u32",
            Self::Bf16Packed => "bf16 packed in u32",
            Self::I8Packed => "i8 packed in u32",
        })
    }
}

impl fmt::Display for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.format, if self.vectors { ", by fours" } else { "" })
    }
}

/// A value for a `const` of a shader.
#[derive(Clone, Copy, Debug)]
pub enum Const {
    /// For `const NAME: u32`.
    U32(u32),
    /// For `const NAME: bool`.
    Bool(bool),
    /// For `const NAME: f32`.
    F32(f32),
}

impl From<f32> for Const {
    fn from(value: f32) -> Self {
        Self::F32(value)
    }
}

impl From<u32> for Const {
    fn from(value: u32) -> Self {
        Self::U32(value)
    }
}

impl From<bool> for Const {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl Const {
    fn wgsl_type(self) -> &'static str {
        match self {
            Self::U32(_) => "u32",
            Self::Bool(_) => "bool",
            Self::F32(_) => "f32",
        }
    }
}

impl fmt::Display for Const {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::U32(value) => write!(f, "{value}"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::F32(value) => write!(f, "{value:?}"),
        }
    }
}

/// What a kernel does with a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// `var<uniform>`: the parameters that change from call to call.
    Uniform,
    /// `var<storage, read>`.
    Read,
    /// `var<storage, read_write>`.
    Write,
}

/// One `@binding` of a linked shader, all in group 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The variable's name.
    pub name: String,
    /// What the kernel does with it.
    pub access: Access,
}

/// Which of the driver's checks a shader needs, because it holds code that is not ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Checks {
    /// None: every index, loop and divisor is the kernel's own.
    #[default]
    None,
    /// Those of divisors: snippets that neither index nor loop can do no other harm.
    Divisions,
    /// All.
    All,
}

/// A linked, specialised shader with one entry point, `main`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shader {
    /// The kernel's file name without its ending, such as `attention/forward`.
    pub label: &'static str,
    /// Complete WGSL. It determines the pipeline, and so it is the key of the pipeline cache.
    pub source: String,
    /// The bindings, in order from 0.
    pub bindings: Vec<Binding>,
    /// The fields of the kernel's `struct Params`, 4 bytes each, in order.
    pub params: Vec<String>,
    /// The checks that its snippets need.
    pub checks: Checks,
}

/// A mistake in how a kernel was put together: a bug of this library, never of its user's input.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShaderError {
    /// No shader file of that name.
    #[error("{kernel}: there is no shader file {file:?}")]
    NoFile {
        /// The kernel being linked.
        kernel: &'static str,
        /// The file looked for.
        file: String,
    },
    /// A const is declared nowhere, or more than once.
    #[error("{kernel}: `const {name}: {wgsl_type}` is declared {count} times, expected once")]
    Const {
        /// The kernel being linked.
        kernel: &'static str,
        /// The const's name.
        name: &'static str,
        /// Its type.
        wgsl_type: &'static str,
        /// How often it was found.
        count: usize,
    },
    /// A word to be replaced does not occur.
    #[error("{kernel}: {file:?} has no word {word:?} to replace")]
    Word {
        /// The kernel being linked.
        kernel: &'static str,
        /// The file to be copied.
        file: &'static str,
        /// The word.
        word: &'static str,
    },
    /// Lines are marked to be repeated, or are to be, but not both.
    #[error("{kernel}: `// each {name}` is not both marked and counted")]
    Repeat {
        /// The kernel being linked.
        kernel: &'static str,
        /// What the lines are for each of.
        name: String,
    },
    /// A snippet that was not checked.
    #[error(transparent)]
    Snippet(#[from] SnippetError),
    /// The kernel's tensors and those that the plan stores differ.
    #[error("{kernel}: binding {name:?} is {problem}")]
    Binding {
        /// The kernel being linked.
        kernel: &'static str,
        /// The variable's name.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// Shader files: their paths under `shaders/` without the ending, and their texts.
pub type Files = &'static [(&'static str, &'static str)];

/// The text of a file among these.
fn find(files: Files, name: &str) -> Option<&'static str> {
    files.iter().find(|(path, _)| *path == name).map(|(_, text)| *text)
}

/// The text of a file of operations, by its path under `shaders/` without the ending.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn file(name: &str) -> Option<&'static str> {
    find(FILES, name)
}

#[cfg(target_arch = "wasm32")]
pub(crate) use archive::file;

/// A file under `shaders/`; for browsers as the build script strips it.
#[cfg(not(target_arch = "wasm32"))]
macro_rules! shader_text {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/", $name, ".wgsl"))
    };
}

#[cfg(target_arch = "wasm32")]
macro_rules! shader_text {
    ($name:literal) => {
        include_str!(concat!(env!("OUT_DIR"), "/shaders/", $name, ".wgsl"))
    };
}

/// The files of these names.
macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, $crate::shader::shader_text!($name))),*]
    };
}
pub(crate) use {files, shader_text};

#[cfg(target_arch = "wasm32")]
mod archive {
    //! The files as the build script packs them.

    use std::sync::OnceLock;

    use super::pack::unpack;

    struct Archive {
        packed: &'static [u8],
        /// Name and text by turns, a zero after each.
        texts: OnceLock<String>,
    }

    macro_rules! archive {
        ($name:literal) => {
            Archive {
                packed: include_bytes!(concat!(env!("OUT_DIR"), "/shaders/", $name, ".pack")),
                texts: OnceLock::new(),
            }
        };
    }

    static FAMILIES: [(&str, Archive); 3] = [
        ("attention", archive!("attention")),
        ("butterfly", archive!("butterfly")),
        ("scan", archive!("scan")),
    ];

    static COMMON: Archive = archive!("common");

    /// The text of a file of operations, by its path under `shaders/` without the ending.
    pub(crate) fn file(name: &str) -> Option<&'static str> {
        let family = FAMILIES.iter().find(|(family, _)| name.split('/').next() == Some(family));
        let archive = family.map_or(&COMMON, |(_, archive)| archive);
        let texts = archive
            .texts
            .get_or_init(|| String::from_utf8(unpack(archive.packed)).expect("what was packed is a text"));
        let mut parts = texts.split('\0');
        parts.find(|part| *part == name)?;
        parts.next()
    }
}

/// The shader files of operations; a test compares the lists with the folder. Those of yardsticks are listed apart
/// ([`baseline::FILES`](crate::baseline::FILES), [`bench::FILES`](crate::bench::FILES)): a page that only computes has no use
/// for them.
#[cfg(not(target_arch = "wasm32"))]
pub const FILES: Files = files![
    "attention/alibi_facts",
    "attention/alibi_none",
    "attention/alibi_slopes",
    "attention/append",
    "attention/backward_keys",
    "attention/backward_keys_matrix",
    "attention/backward_queries",
    "attention/backward_queries_matrix",
    "attention/backward_rows",
    "attention/blocks_all",
    "attention/blocks_masked",
    "attention/cache_index",
    "attention/cache_pages",
    "attention/cache_slots",
    "attention/combine",
    "attention/dots",
    "attention/dropout_none",
    "attention/dropout_philox",
    "attention/facts",
    "attention/forward",
    "attention/forward_direct",
    "attention/forward_matrix",
    "attention/gradients",
    "attention/growth_subgroup",
    "attention/growth_workgroup",
    "attention/head_shares",
    "attention/heads_together",
    "attention/keys_cached",
    "attention/keys_contiguous",
    "attention/kv_scales_heads",
    "attention/kv_scales_none",
    "attention/lengths",
    "attention/load_key_halves",
    "attention/load_keys",
    "attention/load_row_halves",
    "attention/load_rows",
    "attention/mask",
    "attention/matrix_columns",
    "attention/matrix_rows",
    "attention/matrix_sums",
    "attention/matrix_tame",
    "attention/matrix_tile",
    "attention/matrix_wild",
    "attention/origin",
    "attention/params",
    "attention/parts_pair",
    "attention/parts_stacked",
    "attention/probabilities",
    "attention/rotary_none",
    "attention/rotary_pairs",
    "attention/rows_grouped",
    "attention/rows_plain",
    "attention/scales_heads",
    "attention/scales_none",
    "attention/score",
    "attention/scores_modified",
    "attention/scores_modified_bwd",
    "attention/scores_plain",
    "attention/sequences_cached",
    "attention/sequences_dense",
    "attention/sequences_listed",
    "attention/sequences_together",
    "attention/shows_all",
    "attention/shows_masked",
    "attention/sinks_logits",
    "attention/sinks_none",
    "attention/slope_term",
    "attention/slope_term_none",
    "attention/slope_terms_none",
    "attention/slope_terms_rows",
    "attention/softmax",
    "attention/store_row",
    "attention/store_sums",
    "attention/sum_terms",
    "attention/sums",
    "attention/task",
    "attention/tile",
    "attention/visit_all",
    "attention/visit_all_queries",
    "attention/visit_classes",
    "attention/visit_lists",
    "attention/visit_table",
    "butterfly/apply_blocks",
    "butterfly/apply_pairs",
    "butterfly/bias",
    "butterfly/block",
    "butterfly/block_diagonal",
    "butterfly/block_gradient",
    "butterfly/block_outer",
    "butterfly/block_row",
    "butterfly/block_softmax",
    "butterfly/block_softmax_backward",
    "butterfly/block_sparse",
    "butterfly/block_tile",
    "butterfly/complex",
    "butterfly/complex_entries",
    "butterfly/diagonal_operands",
    "butterfly/dot_parts",
    "butterfly/factor",
    "butterfly/further_low_rank",
    "butterfly/further_none",
    "butterfly/interleaved_operands",
    "butterfly/interleaved_outer_operands",
    "butterfly/monarch",
    "butterfly/no_bias",
    "butterfly/outer_operands",
    "butterfly/pairs",
    "butterfly/pairs_diagonal",
    "butterfly/pairs_listed",
    "butterfly/product",
    "butterfly/product_backward",
    "butterfly/real",
    "butterfly/real_entries",
    "butterfly/row_bias",
    "butterfly/row_no_bias",
    "butterfly/rows_1",
    "butterfly/rows_2",
    "butterfly/rows_4",
    "butterfly/scale_gate",
    "butterfly/sparse_operands",
    "butterfly/stage_interleaved",
    "butterfly/store_interleaved",
    "butterfly/tile",
    "butterfly/z_scalars",
    "butterfly/z_vectors",
    "common/activation",
    "common/dispatch",
    "common/lane_subgroup",
    "common/lane_workgroup",
    "common/matrix_16",
    "common/matrix_8",
    "common/matrix_product",
    "common/product",
    "common/reduce_subgroup",
    "common/reduce_workgroup",
    "common/scale_none",
    "common/special",
    "common/stage_fours",
    "common/staged_ragged",
    "common/staged_whole",
    "common/store_fours",
    "common/sum_slices",
    "common/sync_subgroup",
    "elem/load/bf16_packed",
    "elem/load/bf16_packed_x4",
    "elem/load/f16",
    "elem/load/f16_packed",
    "elem/load/f16_packed_x4",
    "elem/load/f16_x4",
    "elem/load/f32",
    "elem/load/f32_x4",
    "elem/load/i8_packed",
    "elem/load/i8_packed_x4",
    "elem/load/one_by_one",
    "elem/store/bf16_packed",
    "elem/store/bf16_packed_x4",
    "elem/store/f16",
    "elem/store/f16_packed",
    "elem/store/f16_packed_x4",
    "elem/store/f16_x4",
    "elem/store/f32",
    "elem/store/f32_x4",
    "elem/store/i8_packed",
    "elem/store/i8_packed_x4",
    "elem/store/one_by_one",
    "mods/alibi",
    "mods/block_diagonal",
    "mods/causal",
    "mods/dilated",
    "mods/documents",
    "mods/identity",
    "mods/prefix_lm",
    "mods/relative_bias",
    "mods/scaled",
    "mods/softcap",
    "mods/window",
    "scan/affine",
    "scan/affine_complex",
    "scan/carry",
    "scan/chunk",
    "scan/chunk_decay",
    "scan/chunk_gradient",
    "scan/chunk_mix",
    "scan/chunk_pass",
    "scan/chunk_product",
    "scan/chunk_reduce",
    "scan/chunk_scan",
    "scan/chunk_states",
    "scan/chunk_steps",
    "scan/conv1d",
    "scan/conv1d_backward",
    "scan/conv1d_channels",
    "scan/conv1d_last",
    "scan/conv1d_last_backward",
    "scan/conv1d_row",
    "scan/conv1d_step",
    "scan/conv1d_taps",
    "scan/decay_delta",
    "scan/decay_dt",
    "scan/decay_given",
    "scan/decay_keyed",
    "scan/delta_inverse",
    "scan/delta_pass",
    "scan/fft",
    "scan/fft_halves",
    "scan/gate_gradient",
    "scan/gate_open",
    "scan/gate_silu",
    "scan/gather_pairs",
    "scan/gradient_delta",
    "scan/gradient_dt",
    "scan/gradient_given",
    "scan/interleave",
    "scan/keyed_decays",
    "scan/keyed_gradient",
    "scan/keyed_scores",
    "scan/keyed_steps",
    "scan/lane_scan",
    "scan/lanes_rows",
    "scan/lanes_subgroup",
    "scan/lanes_workgroup",
    "scan/load_values",
    "scan/load_values_complex",
    "scan/long_conv",
    "scan/long_conv_columns",
    "scan/long_conv_history",
    "scan/long_conv_lines",
    "scan/long_conv_no_second",
    "scan/long_conv_outputs",
    "scan/long_conv_products",
    "scan/long_conv_read",
    "scan/long_conv_second",
    "scan/long_conv_sequences",
    "scan/long_conv_spectrum",
    "scan/long_conv_spectrum_lines",
    "scan/long_conv_step",
    "scan/long_conv_sum",
    "scan/long_conv_write",
    "scan/max",
    "scan/mix_output",
    "scan/mix_sums",
    "scan/product_add",
    "scan/product_join",
    "scan/product_matrix",
    "scan/product_state",
    "scan/product_store",
    "scan/row",
    "scan/s4d_kernel",
    "scan/s4d_powers",
    "scan/s4d_step",
    "scan/s4d_sums",
    "scan/selective",
    "scan/selective_backward",
    "scan/selective_both_ways",
    "scan/selective_gate",
    "scan/selective_gate_after",
    "scan/selective_gate_before",
    "scan/selective_gradient_gated",
    "scan/selective_gradient_plain",
    "scan/selective_one_way",
    "scan/selective_pack",
    "scan/selective_reduce",
    "scan/selective_scan",
    "scan/selective_sum",
    "scan/sequences_listed",
    "scan/sequences_one",
    "scan/skip_gradient",
    "scan/states_batches",
    "scan/states_complex",
    "scan/states_packed",
    "scan/states_real",
    "scan/step",
    "scan/steps_affine",
    "scan/steps_records",
    "scan/steps_single",
    "scan/store_gradients",
    "scan/store_records",
    "scan/store_states",
    "scan/store_values",
    "scan/store_values_complex",
    "scan/sum",
    "scan/sum_add",
    "scan/sum_rows",
    "scan/sum_shares",
    "scan/sum_store",
    "scan/sum_terms",
    "scan/token",
    "scan/token_decay_heads",
    "scan/token_decay_keys",
    "scan/token_delta",
    "scan/token_plain",
    "scan/value_behind",
];

/// Words of a file and what takes their place.
pub(crate) type Words = &'static [(&'static str, &'static str)];

/// A file beside the kernel.
#[derive(Clone, Copy, Debug)]
struct Module {
    file: &'static str,
    words: Words,
}

/// Puts a shader together; see the [module](self) for the mechanisms.
#[derive(Clone, Debug)]
pub struct Linker {
    kernel: &'static str,
    /// Files beside those of operations.
    further: Files,
    modules: Vec<Module>,
    consts: Vec<(&'static str, Const)>,
    tensors: Vec<(&'static str, Storage)>,
    repeats: Vec<(&'static str, u32)>,
    snippets: Option<Linked>,
}

impl Linker {
    /// Starts from the kernel in that file. `common/dispatch` is always linked.
    pub fn new(kernel: &'static str) -> Self {
        Self::among(&[], kernel)
    }

    /// The same with files beside those of operations.
    pub(crate) fn among(further: Files, kernel: &'static str) -> Self {
        Self {
            kernel,
            further,
            modules: vec![],
            consts: vec![],
            tensors: vec![],
            repeats: vec![],
            snippets: None,
        }
        .module("common/dispatch")
    }

    /// Chooses the file that defines functions which the kernel calls.
    #[must_use]
    pub fn module(self, file: &'static str) -> Self {
        self.copy(file, &[])
    }

    /// Links a copy of a file in which words are replaced.
    #[must_use]
    pub fn copy(mut self, file: &'static str, words: Words) -> Self {
        self.modules.push(Module { file, words });
        self
    }

    /// Sets a const declared by the kernel or one of its modules.
    #[must_use]
    pub fn set(mut self, name: &'static str, value: impl Into<Const>) -> Self {
        self.consts.push((name, value.into()));
        self
    }

    /// Says how a tensor of the kernel is stored.
    #[must_use]
    pub fn tensor(mut self, name: &'static str, storage: Storage) -> Self {
        self.tensors.push((name, storage));
        self
    }

    /// Says how often the kernel's lines and blocks that end in `// each NAME` are repeated: those written for `NAME0`.
    ///
    /// A kernel has to name its cooperative matrices one by one: an array of them cannot be written as SPIR-V.
    #[must_use]
    pub fn each(mut self, name: &'static str, count: u32) -> Self {
        self.repeats.push((name, count));
        self
    }

    /// Adds the user's functions. Their bindings come last.
    #[must_use]
    pub fn snippets(mut self, snippets: Linked) -> Self {
        self.snippets = Some(snippets);
        self
    }

    /// Links everything into one module.
    pub fn link(self) -> Result<Shader, ShaderError> {
        let kernel_text = &repeat::repeated(self.text(self.kernel)?, &self.repeats)
            .map_err(|name| ShaderError::Repeat { kernel: self.kernel, name })?;
        // The kernel's own bindings come first, whatever is linked beside it.
        let mut bindings = Vec::new();
        let kernel = self.number_bindings(kernel_text, &mut bindings)?;
        let mut body = String::new();
        for module @ Module { file, words } in &self.modules {
            let of = words.first().map_or_else(String::new, |(_, word)| format!(" for {word}"));
            let text = self.number_bindings(&self.replaced(module)?, &mut bindings)?;
            let _ = writeln!(body, "// {file}.wgsl{of}\n{text}");
        }
        if let Some(snippets) = &self.snippets {
            body += &self.number_bindings(&snippets.text, &mut bindings)?;
        }
        self.expect_declared(&bindings)?;
        let _ = write!(body, "// {}.wgsl\n{kernel}", self.kernel);
        for (name, value) in &self.consts {
            body = self.set_const(&body, name, *value)?;
        }
        let params = params(&body);
        let source = format!("{}{}{body}", self.directives(&body), self.accessors(&bindings)?);
        let checks = self.snippets.as_ref().map_or(Checks::None, |snippets| snippets.checks);
        Ok(Shader { label: self.kernel, source, bindings, params, checks })
    }

    fn replaced(&self, Module { file, words }: &Module) -> Result<String, ShaderError> {
        let text = self.text(file)?;
        match words.iter().find(|(word, _)| !text.contains(word)) {
            Some((word, _)) => Err(ShaderError::Word { kernel: self.kernel, file, word }),
            None => Ok(words.iter().fold(text.to_owned(), |text, (word, by)| text.replace(word, by))),
        }
    }

    fn text(&self, name: &str) -> Result<&'static str, ShaderError> {
        let found = file(name).or_else(|| find(self.further, name));
        found.ok_or_else(|| ShaderError::NoFile { kernel: self.kernel, file: name.to_owned() })
    }

    /// The directives follow from what was chosen; files never hold any. Subgroup operations need one in browsers
    /// alone, where wgpu 30 reports no subgroups, while naga 30 refuses it.
    ///
    /// Cooperative operations must be under branches that all lanes of a subgroup take alike. naga 30 looks for more, that
    /// the whole workgroup does, and does not know `subgroupAny`; the only rule by which its check can be turned off is
    /// named after derivatives.
    fn directives(&self, body: &str) -> String {
        let matrices = body.contains("coop_mat");
        let f16 = matrices || self.tensors.iter().any(|(_, storage)| storage.format == Format::F16);
        let when = |on: bool, directive: &'static str| if on { directive } else { "" };
        [
            when(f16, "enable f16;\n"),
            when(matrices, "enable wgpu_cooperative_matrix;\ndiagnostic(off, derivative_uniformity);\n"),
        ]
        .concat()
    }

    /// Reads a file's own declarations, so that the bind-group layout cannot drift from the shader, and numbers them
    /// after those of the files before it. In the file they count from 0.
    fn number_bindings(&self, text: &str, bindings: &mut Vec<Binding>) -> Result<String, ShaderError> {
        let first = bindings.len();
        let mut numbered = String::with_capacity(text.len());
        for line in text.lines() {
            if let Some(declaration) = line.strip_prefix("@group(0) @binding(") {
                let (index, rest) = declaration
                    .split_once(") ")
                    .ok_or_else(|| self.binding_error(line, "not declared on one line"))?;
                let binding = self.binding(rest)?;
                if index != (bindings.len() - first).to_string() {
                    return Err(self.binding_error(&binding.name, "out of order"));
                }
                let _ = writeln!(numbered, "@group(0) @binding({}) {rest}", bindings.len());
                bindings.push(binding);
            } else {
                let _ = writeln!(numbered, "{line}");
            }
        }
        Ok(numbered)
    }

    /// A declaration from `var` on.
    fn binding(&self, declaration: &str) -> Result<Binding, ShaderError> {
        let parts = declaration.strip_prefix("var<").and_then(|rest| rest.split_once("> "));
        let (space, rest) =
            parts.ok_or_else(|| self.binding_error(declaration, "not declared on one line"))?;
        let name = rest.split(':').next().unwrap_or_default();
        let access = match space {
            "uniform" => Access::Uniform,
            "storage, read" => Access::Read,
            "storage, read_write" => Access::Write,
            _ => return Err(self.binding_error(name, "in an unknown address space")),
        };
        let is_tensor = rest.contains(&format!("array<{name}_word>"));
        let stored = self.tensors.iter().filter(|(tensor, _)| *tensor == name).count();
        match (is_tensor, stored) {
            (true, 1) | (false, 0) => Ok(Binding { name: name.to_owned(), access }),
            (true, 0) => Err(self.binding_error(name, "a tensor whose storage is not set")),
            (true, _) => Err(self.binding_error(name, "given more than one storage")),
            (false, _) => Err(self.binding_error(name, "given a storage but is no tensor")),
        }
    }

    /// Fails if a tensor was given a storage but no file declares it.
    fn expect_declared(&self, bindings: &[Binding]) -> Result<(), ShaderError> {
        match self.tensors.iter().find(|(tensor, _)| bindings.iter().all(|b| b.name != *tensor)) {
            Some((absent, _)) => Err(self.binding_error(absent, "given a storage but not declared")),
            None => Ok(()),
        }
    }

    fn binding_error(&self, name: &str, problem: &'static str) -> ShaderError {
        ShaderError::Binding { kernel: self.kernel, name: name.to_owned(), problem }
    }

    /// One copy of an `elem/` file for each tensor, under the tensor's name.
    fn accessors(&self, bindings: &[Binding]) -> Result<String, ShaderError> {
        let mut text = String::new();
        for (tensor, storage) in &self.tensors {
            let access = bindings.iter().find(|b| b.name == *tensor).map(|b| b.access);
            let folder = if access == Some(Access::Read) { "load" } else { "store" };
            let by_fours = (!storage.vectors).then_some("one_by_one");
            for file in [Some(storage.module()), by_fours].into_iter().flatten() {
                let name = format!("elem/{folder}/{file}");
                let copy = self.text(&name)?.replace("tensor", tensor);
                let _ = writeln!(text, "// {name}.wgsl for {tensor}\n{copy}");
            }
        }
        Ok(text)
    }

    fn set_const(&self, text: &str, name: &'static str, value: Const) -> Result<String, ShaderError> {
        let (kernel, wgsl_type) = (self.kernel, value.wgsl_type());
        with_const(text, name, value).map_err(|count| ShaderError::Const { kernel, name, wgsl_type, count })
    }
}

/// The text with another value for a const; or how often it is declared, if not once.
pub(crate) fn with_const(text: &str, name: &str, value: Const) -> Result<String, usize> {
    let head = format!("const {name}: {} = ", value.wgsl_type());
    let count = text.lines().filter(|line| line.starts_with(&head)).count();
    if count != 1 {
        return Err(count);
    }
    let mut lines = String::with_capacity(text.len());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix(&head) {
            // What follows the semicolon is the comment that explains the const.
            let comment = rest.split_once(';').map_or("", |(_, comment)| comment);
            let _ = writeln!(lines, "{head}{value};{comment}");
        } else {
            let _ = writeln!(lines, "{line}");
        }
    }
    Ok(lines)
}

/// The field names of the shader's uniform struct, so that the host's side can be held against them.
fn params(text: &str) -> Vec<String> {
    let fields = text.lines().skip_while(|line| *line != "struct Params {").skip(1);
    let fields = fields.take_while(|line| *line != "}");
    fields.filter_map(|line| line.trim().split_once(':')).map(|(name, _)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_names_are_refused() {
        let absent = Linker::new("scan/carry").module("common/absent").link();
        assert!(matches!(absent, Err(ShaderError::NoFile { .. })), "{absent:?}");
        let unset = Linker::among(crate::baseline::FILES, "baseline/scan_pairs").link();
        assert!(matches!(unset, Err(ShaderError::Binding { .. })), "{unset:?}");
        let linked = |name| {
            Linker::among(crate::baseline::FILES, "baseline/scan_pairs")
                .tensor("a", Storage::F32)
                .tensor("b", Storage::F32)
                .set(name, 64)
                .link()
        };
        assert_eq!(linked("LANES").unwrap().params, ["groups", "total"]);
        assert!(matches!(linked("LANE"), Err(ShaderError::Const { count: 0, .. })));
    }
}
