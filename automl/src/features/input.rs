//! What one input makes: how many features, what they are called, and the caps.

use super::{BinColumn, Encoding, Input, MAX_BINS};
use crate::profile::{Bins as _, Coding, MAX_ENCODED, MAX_WORDS, Source};

impl Input {
    /// The table's columns that it reads.
    pub(super) fn columns(&self) -> Vec<&str> {
        match (self.source(), &self.encoding) {
            (Some(source), _) => source.columns(&self.column),
            (None, Encoding::Pair { bins, .. }) => bins.columns(),
            (None, _) => vec![&self.column],
        }
    }

    /// Where its numbers come from, where it takes numbers.
    pub(super) const fn source(&self) -> Option<&Source> {
        match &self.encoding {
            Encoding::Linear { source, .. }
            | Encoding::Curve { source, .. }
            | Encoding::Bins { source, .. } => Some(source),
            Encoding::Smooth(smooth) => Some(&smooth.source),
            Encoding::Levels {
                source: source @ Source::Derived(_),
                ..
            } => Some(source),
            _ => None,
        }
    }

    /// How its values are told apart, where they are levels.
    pub(super) const fn coding(&self) -> Option<&Coding> {
        match &self.encoding {
            Encoding::Levels { coding, .. }
            | Encoding::LevelBins { coding, .. }
            | Encoding::Scores { coding, .. } => Some(coding),
            _ => None,
        }
    }

    pub(super) fn width(&self) -> usize {
        let own = match &self.encoding {
            Encoding::Linear { knots, .. } => 1 + knots.len(),
            Encoding::Smooth(smooth) => smooth.width(),
            Encoding::Curve { .. }
            | Encoding::Bins { .. }
            | Encoding::LevelBins { .. }
            | Encoding::Scores { .. }
            | Encoding::Pair { .. } => 1,
            Encoding::Levels { slots, other, .. } => slots.len() + usize::from(*other),
            Encoding::Missing {} => 0,
            Encoding::Words { buckets, .. } => buckets.len(),
        };
        own + usize::from(self.flag)
    }

    pub(super) fn names(&self) -> Vec<String> {
        let column = &self.column;
        let mut names = match &self.encoding {
            Encoding::Linear { knots, .. } => std::iter::once(column.clone())
                .chain(knots.iter().map(|knot| format!("{column} above {knot:.4}")))
                .collect(),
            Encoding::Curve { .. } => vec![format!("{column} (rank)")],
            Encoding::Smooth(smooth) => smooth.names(column),
            Encoding::Levels {
                coding,
                slots,
                other,
                ..
            } => slots
                .iter()
                .map(|&slot| format!("{column} = {}", coding.slot_name(slot)))
                .chain(other.then(|| format!("{column} = other")))
                .collect(),
            Encoding::Bins { .. } | Encoding::LevelBins { .. } => vec![column.clone()],
            Encoding::Scores { label, .. } => vec![label.clone()],
            Encoding::Pair { .. } => vec![format!("{column} (target)")],
            Encoding::Words { buckets, .. } => buckets
                .iter()
                .map(|bucket| format!("{column} has word {bucket}"))
                .collect(),
            Encoding::Missing {} => Vec::new(),
        };
        if self.flag {
            names.push(format!("{column} missing"));
        }
        names
    }

    /// Checks what came from elsewhere; scores have one list of places, or `groups` of
    /// them.
    pub(super) fn check(&self, groups: usize) -> Result<(), String> {
        let bad = |what: &str| Err(format!("feature of `{}`: {what}", self.column));
        if let Some(source) = self.source() {
            source.check(&self.column)?;
        }
        if self.binned() && self.flag {
            return bad("bins have no flag for missing values");
        }
        match &self.encoding {
            Encoding::Linear {
                lo,
                hi,
                center,
                scale,
                knots,
                ..
            } => {
                let numbers = [*lo, *hi, *center, *scale];
                let finite = numbers.iter().chain(knots).all(|number| number.is_finite());
                if !finite || lo > hi || *scale <= 0.0 {
                    return bad("bounds or scale are out of bounds");
                }
            }
            Encoding::Curve { at, to, .. } => {
                let finite = at.iter().chain(to).all(|number| number.is_finite());
                if at.len() != to.len() || at.is_empty() || !at.is_sorted() || !finite {
                    return bad("the points of its curve are out of order");
                }
            }
            Encoding::Smooth(smooth) => smooth.flaw().map_or(Ok(()), bad)?,
            Encoding::Levels { coding, slots, .. } => {
                if !in_order(slots, coding) {
                    return bad("its levels are out of order");
                }
            }
            Encoding::Bins { cuts, .. } => {
                let ascending = cuts.is_sorted_by(|a, b| a < b);
                let finite = cuts.iter().all(|cut| cut.is_finite());
                if cuts.len() > MAX_BINS - 2 || !ascending || !finite {
                    return bad("its cuts are out of order or too many");
                }
            }
            Encoding::LevelBins { coding, slots, .. } => {
                if !in_order(slots, coding) || slots.len() > MAX_BINS - 2 {
                    return bad("its levels are out of order or too many");
                }
            }
            Encoding::Scores {
                coding,
                slots,
                groups: own,
                values,
                ..
            } => {
                if !in_order(slots, coding) || slots.len() > MAX_ENCODED {
                    return bad("its levels are out of order or too many");
                }
                return self.check_scores(own, values, slots.len() + 1, groups);
            }
            Encoding::Pair {
                bins,
                groups: own,
                values,
                ..
            } => {
                bins.check()?;
                return self.check_scores(own, values, bins.bins() - 1, groups);
            }
            Encoding::Words { buckets, .. } => {
                let ascending = buckets.is_sorted_by(|a, b| a < b);
                if buckets.len() > MAX_WORDS || !ascending {
                    return bad("its words are out of order or too many");
                }
            }
            Encoding::Missing {} => {}
        }
        Ok(())
    }

    /// Scores of `places` levels or cells, for `all` groups of rows or for none.
    fn check_scores(
        &self,
        groups: &[Vec<u8>],
        values: &[f64],
        places: usize,
        all: usize,
    ) -> Result<(), String> {
        let known = groups
            .iter()
            .flatten()
            .all(|&place| usize::from(place) <= values.len());
        let whole = groups.iter().all(|group| group.len() == places);
        let finite = values.iter().all(|value| value.is_finite());
        if !known || !whole || !finite || values.len() >= MAX_BINS {
            return Err(format!("scores of `{}` are out of bounds", self.column));
        }
        if groups.len() != 1 && groups.len() != all {
            return Err(format!(
                "scores of `{}` are for {} groups of rows, not for {all}",
                self.column,
                groups.len()
            ));
        }
        Ok(())
    }

    pub(super) const fn binned(&self) -> bool {
        matches!(
            self.encoding,
            Encoding::Bins { .. }
                | Encoding::LevelBins { .. }
                | Encoding::Levels { as_bins: true, .. }
                | Encoding::Scores { as_bins: true, .. }
                | Encoding::Pair { as_bins: true, .. }
                | Encoding::Words { as_bins: true, .. }
        )
    }

    pub(super) fn bin_columns(&self) -> Vec<BinColumn> {
        let (bins, ordered) = match &self.encoding {
            _ if !self.binned() => return Vec::new(),
            Encoding::Bins { cuts, .. } => (cuts.len() + 2, true),
            Encoding::LevelBins { slots, other, .. } => {
                (slots.len() + 1 + usize::from(*other), false)
            }
            Encoding::Scores { values, .. } | Encoding::Pair { values, .. } => {
                (values.len() + 1, true)
            }
            Encoding::Levels { .. } | Encoding::Words { .. } => (3, true),
            _ => return Vec::new(),
        };
        let names = self.names().into_iter();
        names
            .map(|name| BinColumn {
                name,
                bins,
                ordered,
            })
            .collect()
    }

    /// What a bin of the `feature`-th feature holds.
    pub(super) fn bin_name(&self, feature: usize, bin: usize) -> String {
        let column = &self.column;
        let Some(place) = bin.checked_sub(1) else {
            return format!("{column} missing");
        };
        match &self.encoding {
            Encoding::Bins { cuts, .. } => match (place.checked_sub(1), cuts.get(place)) {
                (None, None) => format!("{column} present"),
                (None, Some(high)) => format!("{column} < {high}"),
                (Some(below), None) => format!("{column} >= {}", cuts[below]),
                (Some(below), Some(high)) => format!("{} <= {column} < {high}", cuts[below]),
            },
            Encoding::LevelBins { coding, slots, .. } => match slots.get(place) {
                Some(&slot) => format!("{column} = {}", coding.slot_name(slot)),
                None => format!("{column} = other"),
            },
            Encoding::Levels { coding, slots, .. } => {
                let is = if place == 0 { "is not" } else { "=" };
                match slots.get(feature) {
                    Some(&slot) => format!("{column} {is} {}", coding.slot_name(slot)),
                    None => format!("{column} {is} other"),
                }
            }
            Encoding::Scores {
                label,
                coding: Coding::Vocabulary(values),
                groups,
                ..
            } if groups.len() == 1 => values
                .get(place)
                .map_or_else(|| label.clone(), |value| format!("{column} = {value}")),
            Encoding::Scores { label, values, .. } => {
                format!("{label} is {bin} of {}", values.len())
            }
            Encoding::Pair { values, .. } => {
                format!("{column} (target) is {bin} of {}", values.len())
            }
            Encoding::Words { buckets, .. } => {
                let word = buckets.get(feature).copied().unwrap_or_default();
                let has = if place == 0 { "lacks" } else { "has" };
                format!("{column} {has} word {word}")
            }
            _ => String::new(),
        }
    }
}

/// Ascending slots that the coding has.
fn in_order(slots: &[u16], coding: &Coding) -> bool {
    let known = slots.iter().all(|&slot| usize::from(slot) < coding.slots());
    known && slots.is_sorted_by(|a, b| a < b)
}
