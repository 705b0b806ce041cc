//! Mods as the host computes them.

use std::fmt;
use std::sync::Arc;

/// Batch, query head, query and key.
pub type Place = [usize; 4];

type Score = dyn Fn(f64, Place) -> f64 + Send + Sync;
type ScoreBwd = dyn Fn(f64, f64, Place) -> f64 + Send + Sync;
type Mask = dyn Fn(Place) -> bool + Send + Sync;

/// What [`Mods`](crate::Mods) do, in Rust: the oracle's side of them.
#[derive(Clone)]
pub struct HostMods {
    score: Arc<Score>,
    score_bwd: Arc<ScoreBwd>,
    mask: Arc<Mask>,
}

impl fmt::Debug for HostMods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HostMods")
    }
}

impl Default for HostMods {
    fn default() -> Self {
        Self {
            score: Arc::new(|score, _| score),
            score_bwd: Arc::new(|dscore, _, _| dscore),
            mask: Arc::new(|_| true),
        }
    }
}

impl HostMods {
    /// Mods that change nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Changes scores after those mods that were added before; `back` takes the gradient of the changed score, and the
    /// score before the change, to the gradient of the latter.
    #[must_use]
    pub fn score(
        self,
        change: impl Fn(f64, Place) -> f64 + Send + Sync + 'static,
        back: impl Fn(f64, f64, Place) -> f64 + Send + Sync + 'static,
    ) -> Self {
        let (before, before_bwd) = (Arc::clone(&self.score), self.score_bwd);
        let first = self.score;
        Self {
            score: Arc::new(move |score, place| change(first(score, place), place)),
            score_bwd: Arc::new(move |dscore, score, place| {
                before_bwd(back(dscore, before(score, place), place), score, place)
            }),
            mask: self.mask,
        }
    }

    /// Hides the keys that `shows` is false of.
    #[must_use]
    pub fn mask(self, shows: impl Fn(Place) -> bool + Send + Sync + 'static) -> Self {
        let before = self.mask;
        Self { mask: Arc::new(move |place| before(place) && shows(place)), ..self }
    }

    /// The same for a batch that is looked at by itself.
    pub(super) fn of_batch(&self, batch: usize) -> Self {
        let of = move |[_, h, i, j]: Place| [batch, h, i, j];
        let (score, score_bwd, mask) =
            (Arc::clone(&self.score), Arc::clone(&self.score_bwd), Arc::clone(&self.mask));
        Self {
            score: Arc::new(move |s, place| score(s, of(place))),
            score_bwd: Arc::new(move |d, s, place| score_bwd(d, s, of(place))),
            mask: Arc::new(move |place| mask(of(place))),
        }
    }

    /// What becomes of a score.
    pub fn change(&self, score: f64, place: Place) -> f64 {
        (self.score)(score, place)
    }

    /// The gradient of a score, from that of what became of it.
    pub fn change_bwd(&self, dscore: f64, score: f64, place: Place) -> f64 {
        (self.score_bwd)(dscore, score, place)
    }

    /// Whether a query sees a key.
    pub fn shows(&self, place: Place) -> bool {
        (self.mask)(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mods_apply_in_order_and_their_gradients_backwards() {
        let mods = HostMods::new()
            .score(|s, _| s * s, |d, s, _| 2.0 * s * d)
            .score(|s, [.., j]| s + j as f64, |d, _, _| d)
            .score(|s, _| 3.0 * s, |d, _, _| 3.0 * d)
            .mask(|[.., j]| j > 1)
            .mask(|[.., i, _]| i > 1);
        assert!((mods.change(5.0, [0, 0, 0, 2]) - 81.0).abs() < 1e-12);
        assert!((mods.change_bwd(1.0, 5.0, [0, 0, 0, 2]) - 30.0).abs() < 1e-12);
        assert!(mods.shows([0, 0, 2, 2]) && !mods.shows([0, 0, 1, 2]) && !mods.shows([0, 0, 2, 1]));
    }
}
