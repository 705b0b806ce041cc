//! Sequences of different lengths, packed one after another.

use crate::spec::wrong;
use crate::{AttentionSpec, SpecError};

/// How many queries and keys packed sequences have together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Packed {
    /// Queries of all sequences.
    pub total_q: usize,
    /// Keys of all sequences.
    pub total_k: usize,
}

/// Where packed sequences begin and end: prefix sums of their lengths, one more than there are sequences, from 0 to the
/// total. They come with each call, so that new lengths need no new plan.
#[derive(Clone, Copy, Debug)]
pub struct CuSeqlens<'a> {
    /// Of the queries.
    pub q: &'a [u32],
    /// Of the keys.
    pub k: &'a [u32],
}

/// Where one sequence lies among all queries and all keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its first query.
    pub q_start: usize,
    /// Its queries.
    pub q_len: usize,
    /// Its first key.
    pub k_start: usize,
    /// Its keys.
    pub k_len: usize,
}

impl AttentionSpec {
    /// Where each sequence lies. Fails if the sums do not describe sequences of this spec; they are needed where the spec
    /// packs sequences, and have no use elsewhere.
    pub fn spans(&self, sums: Option<CuSeqlens<'_>>) -> Result<Vec<Span>, SpecError> {
        match (self.packed, sums) {
            (None, None) => Ok((0..self.batch)
                .map(|batch| Span {
                    q_start: batch * self.q_len,
                    q_len: self.q_len,
                    k_start: batch * self.k_len,
                    k_len: self.k_len,
                })
                .collect()),
            (Some(packed), Some(CuSeqlens { q, k })) => {
                self.check_sums("cu_seqlens_q", q, packed.total_q, ("q_len", self.q_len))?;
                self.check_sums("cu_seqlens_k", k, packed.total_k, ("k_len", self.k_len))?;
                let spans = q.windows(2).zip(k.windows(2)).map(|(q, k)| Span {
                    q_start: q[0] as usize,
                    q_len: (q[1] - q[0]) as usize,
                    k_start: k[0] as usize,
                    k_len: (k[1] - k[0]) as usize,
                });
                Ok(spans.collect())
            }
            (None, Some(_)) => Err(wrong("cu_seqlens", &"given", "none: the spec packs no sequences")),
            (Some(_), None) => Err(wrong("cu_seqlens", &"missing", "prefix sums: the spec packs sequences")),
        }
    }

    fn check_sums(
        &self,
        name: &'static str,
        sums: &[u32],
        total: usize,
        (longest_name, longest): (&str, usize),
    ) -> Result<(), SpecError> {
        let expected = self.batch + 1;
        if sums.len() != expected {
            let found = format!("{} numbers", sums.len());
            return Err(wrong(name, &found, format!("{expected}: one more than batch = {}", self.batch)));
        }
        if sums[0] != 0 {
            return Err(wrong(name, &format!("{} at its beginning", sums[0]), "0"));
        }
        for (i, pair) in sums.windows(2).enumerate() {
            let [from, to] = [pair[0], pair[1]];
            if to < from {
                let found = format!("{to} after {from}, at sequence {i}");
                return Err(wrong(name, &found, "sums that never decrease"));
            }
            if (to - from) as usize > longest {
                let found = format!("{from} to {to}, at sequence {i}");
                return Err(wrong(name, &found, format!("at most {longest_name} = {longest} in a sequence")));
            }
        }
        let last = sums[self.batch] as usize;
        if last != total {
            return Err(wrong(name, &format!("{last} at its end"), format!("the total, {total}")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DType;

    #[test]
    fn sums_say_where_sequences_lie() {
        let spec = AttentionSpec::new(DType::F32, 3, (4, 5), 1, 8).packed(5, 7);
        let sums = CuSeqlens { q: &[0, 4, 4, 5], k: &[0, 2, 7, 7] };
        let spans = spec.spans(Some(sums)).unwrap();
        assert_eq!(spans[0], Span { q_start: 0, q_len: 4, k_start: 0, k_len: 2 });
        assert_eq!(spans[1], Span { q_start: 4, q_len: 0, k_start: 2, k_len: 5 });
        assert_eq!(spans[2], Span { q_start: 4, q_len: 1, k_start: 7, k_len: 0 });
        let dense = AttentionSpec { packed: None, ..spec };
        assert_eq!(dense.spans(None).unwrap()[2], Span { q_start: 8, q_len: 4, k_start: 10, k_len: 5 });
        assert!(dense.spans(Some(sums)).is_err());
        assert!(spec.spans(None).is_err());
    }

    #[test]
    fn sums_that_describe_nothing_are_refused_with_numbers() {
        let spec = AttentionSpec::new(DType::F32, 3, (4, 5), 1, 8).packed(5, 7);
        let refusal =
            |q: &[u32]| spec.spans(Some(CuSeqlens { q, k: &[0, 2, 7, 7] })).unwrap_err().to_string();
        assert_eq!(
            refusal(&[0, 3, 2, 5]),
            "cu_seqlens_q is 2 after 3, at sequence 1, expected sums that never decrease"
        );
        assert_eq!(refusal(&[0, 3, 5]), "cu_seqlens_q is 3 numbers, expected 4: one more than batch = 3");
        assert_eq!(refusal(&[1, 3, 3, 5]), "cu_seqlens_q is 1 at its beginning, expected 0");
        assert_eq!(refusal(&[0, 3, 3, 6]), "cu_seqlens_q is 6 at its end, expected the total, 5");
        assert_eq!(
            refusal(&[0, 0, 5, 5]),
            "cu_seqlens_q is 0 to 5, at sequence 1, expected at most q_len = 4 in a sequence"
        );
    }
}
