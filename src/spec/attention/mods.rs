//! What a user adds to attention: changes of scores and masks, as WGSL, and masks of blocks.

use std::fmt::Write as _;

use crate::SpecError;
use crate::shader::snippet::{Bound, Buffer, Function, Linked, Reader, Scope, Snippet, SnippetError, Word};
use crate::spec::attention::BlockMask;
use crate::spec::wrong;

/// `score_mod(score, b, h, i, j) -> f32`.
const SCORE_MOD: Function =
    Function { name: "score_mod", parameters: &["f32", "u32", "u32", "u32", "u32"], result: "f32" };

/// `score_mod_bwd(dscore_out, score, b, h, i, j) -> f32`.
const SCORE_MOD_BWD: Function = Function {
    name: "score_mod_bwd",
    parameters: &["f32", "f32", "u32", "u32", "u32", "u32"],
    result: "f32",
};

/// `mask_mod(b, h, i, j) -> bool`.
const MASK_MOD: Function =
    Function { name: "mask_mod", parameters: &["u32", "u32", "u32", "u32"], result: "bool" };

/// The lengths of a sequence: query `i` stands at key `i + k_len(b) - q_len(b)`.
const OFFERED: &[&str] = &["q_len", "k_len"];

const SCORE_SCOPE: Scope = Scope { required: &[SCORE_MOD], optional: &[SCORE_MOD_BWD], offered: OFFERED };
const MASK_SCOPE: Scope = Scope { required: &[MASK_MOD], optional: &[], offered: OFFERED };

/// Which parts of [`Mods`] a kernel is linked with, beside the masks of keys.
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a part of its own")]
pub(crate) struct Parts {
    /// The changes of scores.
    pub scores: bool,
    /// Their gradients.
    pub gradients: bool,
    /// The mask of blocks, element by element.
    pub blocks: bool,
    /// The table of packed sequences.
    pub sequences: bool,
}

/// Changes of scores, masks of keys and masks of blocks, for [`Attention::with_mods`](crate::Attention::with_mods).
///
/// A score mod is WGSL that defines `fn score_mod(score: f32, b: u32, h: u32, i: u32, j: u32) -> f32`: what becomes of
/// the score of query `i` and key `j` of query head `h` of batch `b`, after scale, softcap and ALiBi and before masks.
/// For the backward pass it also defines `fn score_mod_bwd(dscore_out: f32, score: f32, b: u32, h: u32, i: u32, j: u32)
/// -> f32`: the gradient of the score that it was given. A mask mod defines
/// `fn mask_mod(b: u32, h: u32, i: u32, j: u32) -> bool`: whether the query sees the key. Names of parameters are free.
///
/// Several score mods apply one after the other; a query sees a key if every mask and every position mask of the spec
/// shows it. A mod is called for one element at a time, also for some past the end of the sequence. It may read the
/// buffers that its [`Snippet`] names, and call `q_len(b)` and `k_len(b)`. Scores below -1e38 count as -1e38: to hide a
/// key takes a mask.
///
/// Tiles that no mask hides anything of skip the mask mods, and tiles of which nothing is seen are not visited at all.
///
/// ```
/// use tilewise::{Mods, Snippet, Word, mods};
///
/// // Press every second key down, and keep documents apart.
/// let odd = Snippet::new("odd keys", "
///     fn score_mod(score: f32, b: u32, h: u32, i: u32, j: u32) -> f32 { return score - f32(j % 2u) * penalty(h); }
///     fn score_mod_bwd(d: f32, score: f32, b: u32, h: u32, i: u32, j: u32) -> f32 { return d; }
/// ");
/// let mods = Mods::new().score(odd.buffer("penalty", Word::F32)).mask(mods::documents());
/// mods.check().unwrap();
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Mods {
    /// Changes of scores, in the order in which they apply.
    pub scores: Vec<Snippet>,
    /// Masks of keys.
    pub masks: Vec<Snippet>,
    /// A mask of blocks.
    pub blocks: Option<BlockMask>,
}

impl Mods {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Changes scores, after those mods that were added before.
    #[must_use]
    pub fn score(mut self, snippet: Snippet) -> Self {
        self.scores.push(snippet);
        self
    }

    /// Hides keys.
    #[must_use]
    pub fn mask(mut self, snippet: Snippet) -> Self {
        self.masks.push(snippet);
        self
    }

    /// Hides blocks of keys from blocks of queries.
    #[must_use]
    pub fn blocks(self, blocks: BlockMask) -> Self {
        Self { blocks: Some(blocks), ..self }
    }

    /// Whether there is nothing that changes anything.
    pub fn is_empty(&self) -> bool {
        self.scores.is_empty() && self.masks.is_empty() && self.blocks.is_none()
    }

    /// Fails if a snippet does not define what it must, or could reach beyond what mods may do. What else is wrong with
    /// it, the shader compiler says when it is given to an operation.
    pub fn check(&self) -> Result<(), SnippetError> {
        for (snippet, scope) in self.snippets() {
            snippet.check(scope)?;
            for buffer in &snippet.buffers {
                let other = self.snippets().flat_map(|(snippet, _)| &snippet.buffers);
                if let Some(other) =
                    other.into_iter().find(|b| b.name == buffer.name && b.word != buffer.word)
                {
                    let message =
                        format!("{} holds {} here, and {} elsewhere", buffer.name, buffer.word, other.word);
                    return Err(snippet.compile_error(None, &message));
                }
            }
        }
        Ok(())
    }

    /// Fails unless every score mod has its gradient.
    pub fn check_backward(&self) -> Result<(), SpecError> {
        match self.scores.iter().find(|snippet| !snippet.defines(&SCORE_MOD_BWD)) {
            Some(snippet) => Err(wrong(
                "score_mod_bwd",
                &"missing",
                format!("beside score_mod in {}, for the backward pass: `{SCORE_MOD_BWD}`", snippet.name),
            )),
            None => Ok(()),
        }
    }

    /// The buffers that the mods read, each name once, in the order in which they first appear.
    pub fn buffers(&self) -> Vec<Buffer> {
        buffers_of(&self.scores, &self.masks)
    }

    /// The buffers that the masks alone read.
    pub fn mask_buffers(&self) -> Vec<Buffer> {
        buffers_of(&[], &self.masks)
    }

    /// Whether what a query sees depends on its batch, and on its head. Where it does not, they share a table of what
    /// tiles to visit.
    pub fn masks_depend_on(&self) -> (bool, bool) {
        let depends = |parameter| self.masks.iter().any(|snippet| snippet.depends_on(&MASK_MOD, parameter));
        let blocks = self.blocks.as_ref().map_or((false, false), BlockMask::depends_on);
        (depends(0) || blocks.0, depends(1) || blocks.1)
    }

    /// Each snippet with what is expected of it.
    pub(crate) fn snippets(&self) -> impl Iterator<Item = (&Snippet, &'static Scope)> {
        let scores = self.scores.iter().map(|snippet| (snippet, &SCORE_SCOPE));
        scores.chain(self.masks.iter().map(|snippet| (snippet, &MASK_SCOPE)))
    }

    /// What a kernel is linked with: `score_mods`, `score_mods_bwd` and `mask_mods`, which call one mod after the other,
    /// and what reads their buffers, bound in the order of the mask of blocks, if `parts` has it, and then
    /// [`buffers`](Self::buffers) or [`mask_buffers`](Self::mask_buffers).
    pub(crate) fn linked(&self, parts: Parts, bound: Bound) -> Result<Linked, SnippetError> {
        let scores: &[Snippet] = if parts.scores { &self.scores } else { &[] };
        let score = |n: usize| format!("score{n}");
        let mask = |n: usize| format!("mask{n}");
        let named = scores.iter().enumerate().map(|(n, snippet)| (score(n), snippet));
        let named = named.chain(self.masks.iter().enumerate().map(|(n, snippet)| (mask(n), snippet)));
        let own = [(parts.blocks, "block_word"), (parts.sequences, "sequence_word")];
        let own = own.into_iter().filter(|(read, _)| *read);
        let own = own.map(|(_, function)| Reader { function: function.to_owned(), word: Word::U32 });
        let buffers = buffers_of(scores, &self.masks);
        let readers: Vec<_> = own.chain(buffers.iter().map(Buffer::reader)).collect();
        let mut linked = Linked::new(named, &readers, bound)?;

        let text = &mut linked.text;
        let name = |n, function: &Function| Linked::name(&score(n), function.name);
        // The scores before each mod and after the last.
        let mut steps = String::new();
        for n in 0..scores.len() {
            let _ = writeln!(steps, "    let s{} = {}(s{n}, b, h, i, j);", n + 1, name(n, &SCORE_MOD));
        }
        let _ = writeln!(text, "fn score_mods(s0: f32, b: u32, h: u32, i: u32, j: u32) -> f32 {{");
        let _ = writeln!(text, "{steps}    return s{};\n}}", scores.len());
        if parts.gradients {
            let _ = writeln!(
                text,
                "fn score_mods_bwd(d: f32, s0: f32, b: u32, h: u32, i: u32, j: u32) -> f32 {{"
            );
            let _ = writeln!(text, "{steps}    var back = d;");
            for n in (0..scores.len()).rev() {
                let _ = writeln!(text, "    back = {}(back, s{n}, b, h, i, j);", name(n, &SCORE_MOD_BWD));
            }
            let _ = writeln!(text, "    return back;\n}}");
        }
        let shown: Vec<_> = (0..self.masks.len())
            .map(|n| format!("{}(b, h, i, j)", Linked::name(&mask(n), MASK_MOD.name)))
            .collect();
        let shown = if shown.is_empty() { "true".to_owned() } else { shown.join(" && ") };
        let _ = writeln!(
            text,
            "fn mask_mods(b: u32, h: u32, i: u32, j: u32) -> bool {{\n    return {shown};\n}}"
        );
        Ok(linked)
    }
}

fn buffers_of(scores: &[Snippet], masks: &[Snippet]) -> Vec<Buffer> {
    let mut distinct: Vec<Buffer> = Vec::new();
    for buffer in scores.iter().chain(masks).flat_map(|snippet| &snippet.buffers) {
        if distinct.iter().all(|known| known.name != buffer.name) {
            distinct.push(buffer.clone());
        }
    }
    distinct
}
