//! Bins in words, for tables and plots that people read.

use super::{Encoding, Input, Pipeline};

impl Pipeline {
    /// What a row in any of these bins of the `feature`-th column holds, for people:
    /// "18 <= age < 41.5", "job = clerk, farmer", "chol missing", "age < 18 or missing".
    /// `bins` ascend. Empty for a pipeline that makes numbers.
    #[must_use]
    pub fn bins_name(&self, feature: usize, bins: &[u8]) -> String {
        let mut own = feature;
        let mut inputs = self.inputs.iter();
        let found = inputs.find(|input| {
            let inside = own < input.width();
            own -= if inside { 0 } else { input.width() };
            inside
        });
        let Some(input) = found else {
            return String::new();
        };
        let missing = bins.first() == Some(&0);
        let places: Vec<usize> = bins
            .iter()
            .filter_map(|bin| usize::from(*bin).checked_sub(1))
            .collect();
        let mut names = match &input.encoding {
            Encoding::Bins { cuts, .. } => input.runs(cuts, &places),
            Encoding::LevelBins { .. } => input.levels(&places).into_iter().collect(),
            _ if !input.binned() => return String::new(),
            _ => {
                let each = places.iter().map(|place| input.bin_name(own, place + 1));
                each.collect()
            }
        };
        if missing && names.is_empty() {
            return format!("{} missing", input.column);
        }
        if missing {
            names.push("missing".to_owned());
        }
        names.join(" or ")
    }
}

impl Input {
    /// Each run of neighbouring bins as an interval.
    fn runs(&self, cuts: &[f64], places: &[usize]) -> Vec<String> {
        let column = &self.column;
        let runs = places.chunk_by(|a, b| a + 1 == *b);
        runs.filter_map(|run| Some((*run.first()?, *run.last()?)))
            .map(|(first, last)| {
                let below = first.checked_sub(1).and_then(|at| cuts.get(at));
                match (below, cuts.get(last)) {
                    (None, None) => format!("{column} present"),
                    (None, Some(high)) => format!("{column} < {high}"),
                    (Some(low), None) => format!("{column} >= {low}"),
                    (Some(low), Some(high)) => format!("{low} <= {column} < {high}"),
                }
            })
            .collect()
    }

    /// All levels in one list.
    fn levels(&self, places: &[usize]) -> Option<String> {
        let names: Vec<String> = places
            .iter()
            .map(|place| {
                let name = self.bin_name(0, place + 1);
                let prefix = format!("{} = ", self.column);
                name.strip_prefix(&prefix).unwrap_or(&name).to_owned()
            })
            .collect();
        (!names.is_empty()).then(|| format!("{} = {}", self.column, names.join(", ")))
    }
}
