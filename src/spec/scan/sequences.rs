//! Where sequences begin and end within a batch.

use std::fmt;

use crate::SpecError;
use crate::spec::wrong;

/// How the steps of a batch are divided into sequences, across whose borders no state passes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
pub enum Sequences {
    /// Every batch is one sequence.
    #[default]
    Whole,
    /// Sequences of any lengths, end to end in a single batch: sequence `i` takes the steps from the `i`-th number to
    /// before the next (`cu_seqlens`). Each has an initial and a final state of its own.
    Packed(Vec<usize>),
    /// (batch, length): a step whose index is not that of the step before it begins a sequence, with a state of 0
    /// (`seq_idx`). A batch's initial state is that of its first sequence, its final state that of its last.
    Indexed(Vec<i64>),
}

/// Consecutive steps between which the state passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// The first step, counted through all batches.
    pub first: usize,
    /// Steps.
    pub steps: usize,
    /// Which of the initial states it begins with, if not with 0.
    pub initial: Option<usize>,
    /// Which of the final states is its own.
    pub last: Option<usize>,
}

impl Sequences {
    /// How many initial and final states there are.
    pub fn states(&self, batch: usize) -> usize {
        match self {
            Self::Packed(starts) => starts.len().saturating_sub(1),
            Self::Whole | Self::Indexed(_) => batch,
        }
    }

    /// The same sequences where every step is two.
    pub(crate) fn doubled(&self) -> Self {
        match self {
            Self::Whole => Self::Whole,
            Self::Packed(starts) => Self::Packed(starts.iter().map(|start| 2 * start).collect()),
            Self::Indexed(indices) => Self::Indexed(indices.iter().flat_map(|&index| [index; 2]).collect()),
        }
    }

    /// Fails unless the sequences fill a batch of that many steps.
    pub fn check(&self, batch: usize, length: usize) -> Result<(), SpecError> {
        match self {
            Self::Packed(_) if batch != 1 => Err(wrong("batch", &batch, "1, since its sequences are packed")),
            Self::Packed(starts) => check_starts(starts, length),
            Self::Indexed(indices) if batch.checked_mul(length) != Some(indices.len()) => {
                let expected = format!("batch × length = {batch} × {length}");
                Err(wrong("the number of sequence indices", &indices.len(), expected))
            }
            Self::Whole | Self::Indexed(_) => Ok(()),
        }
    }

    /// The end of a spec's name.
    pub(crate) fn describe(&self, f: &mut fmt::Formatter<'_>, batch: usize, length: usize) -> fmt::Result {
        match self {
            Self::Whole => Ok(()),
            Self::Packed(_) => write!(f, ", {} packed sequences", self.states(batch)),
            Self::Indexed(_) => write!(f, ", {} indexed sequences", self.runs(batch, length).len()),
        }
    }

    /// The runs in the order of their steps. Those that hold no step are kept: their final state is their initial one.
    pub(crate) fn runs(&self, batch: usize, length: usize) -> Vec<Run> {
        match self {
            Self::Whole => (0..batch)
                .map(|b| Run { first: b * length, steps: length, initial: Some(b), last: Some(b) })
                .collect(),
            Self::Packed(starts) => starts
                .windows(2)
                .enumerate()
                .map(|(i, pair)| Run {
                    first: pair[0],
                    steps: pair[1] - pair[0],
                    initial: Some(i),
                    last: Some(i),
                })
                .collect(),
            Self::Indexed(indices) => (0..batch)
                .flat_map(|b| indexed_runs(b, b * length, &indices[b * length..(b + 1) * length]))
                .collect(),
        }
    }
}

fn check_starts(starts: &[usize], length: usize) -> Result<(), SpecError> {
    let [first, .., last] = starts else {
        return Err(wrong("the number of sequence starts", &starts.len(), "at least 2: a start and the end"));
    };
    if let Some([start, end]) = starts.array_windows().find(|[start, end]| end < start) {
        return Err(wrong("a sequence's end", end, format!("at least its start, {start}")));
    }
    if *first != 0 {
        return Err(wrong("the first sequence's start", first, "0"));
    }
    if *last != length {
        return Err(wrong("the last sequence's end", last, format!("the length, {length}")));
    }
    Ok(())
}

fn indexed_runs(batch: usize, first: usize, indices: &[i64]) -> Vec<Run> {
    let mut runs = Vec::new();
    let mut at = first;
    for sequence in indices.chunk_by(|one, next| one == next) {
        runs.push(Run { first: at, steps: sequence.len(), initial: None, last: None });
        at += sequence.len();
    }
    if runs.is_empty() {
        runs.push(Run { first, steps: 0, initial: None, last: None });
    }
    runs[0].initial = Some(batch);
    if let Some(run) = runs.last_mut() {
        run.last = Some(batch);
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_make_runs_that_keep_the_batch_states() {
        let runs = Sequences::Indexed(vec![7, 7, 3, 3, 3, 7, 1, 1]).runs(2, 4);
        let run = |first, steps, initial, last| Run { first, steps, initial, last };
        assert_eq!(
            runs,
            [
                run(0, 2, Some(0), None),
                run(2, 2, None, Some(0)),
                run(4, 1, Some(1), None),
                run(5, 1, None, None),
                run(6, 2, None, Some(1)),
            ]
        );
        assert_eq!(Sequences::Indexed(vec![]).runs(1, 0), [run(0, 0, Some(0), Some(0))]);
    }

    #[test]
    fn starts_are_checked_with_numbers() {
        let refused = |starts: &[usize], batch| {
            Sequences::Packed(starts.to_vec()).check(batch, 9).unwrap_err().to_string()
        };
        assert_eq!(refused(&[0, 9], 2), "batch is 2, expected 1, since its sequences are packed");
        assert_eq!(
            refused(&[0], 1),
            "the number of sequence starts is 1, expected at least 2: a start and the end"
        );
        assert_eq!(refused(&[0, 5, 4, 9], 1), "a sequence's end is 4, expected at least its start, 5");
        assert_eq!(refused(&[1, 9], 1), "the first sequence's start is 1, expected 0");
        assert_eq!(refused(&[0, 8], 1), "the last sequence's end is 8, expected the length, 9");
        let indices = Sequences::Indexed(vec![0; 8]).check(1, 9).unwrap_err().to_string();
        assert_eq!(indices, "the number of sequence indices is 8, expected batch × length = 1 × 9");
        assert!(Sequences::Packed(vec![0, 4, 4, 9]).check(1, 9).is_ok());
    }
}
