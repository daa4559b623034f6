//! A federation of rows that came from no table, for the tests of additive families.

use serde::Deserialize;

use super::{AdditiveModel, AdditivePart, Fitting, Ground};
use crate::ask::{Encoder, PartTotals};
use crate::family::{FamilyPart, FoldModel, Head};
use crate::features::{BinColumn, Matrix, Row};
use crate::metric::LossSums;
use crate::object::ObjectId;
use crate::random::Stream;
use crate::site::{Rows, Slot};

/// Rows as they are before they are spread over sites.
#[derive(Clone, Debug, Default)]
pub(crate) struct Data {
    pub(crate) bins: Vec<Vec<u8>>,
    pub(crate) targets: Vec<f64>,
    pub(crate) slots: Vec<Slot>,
}

impl Data {
    /// Draws rows: `bins[column]` values each (bin 0 among them), slots over 5 folds.
    pub(crate) fn draw(
        stream: &mut Stream,
        rows: usize,
        bins: &[usize],
        mut target: impl FnMut(&[u8], &mut Stream) -> f64,
    ) -> Self {
        let mut data = Self::default();
        for _ in 0..rows {
            let row: Vec<u8> = bins.iter().map(|bins| stream.below(*bins) as u8).collect();
            data.targets.push(target(&row, stream));
            data.bins.push(row);
            data.slots.push(Slot::Fold(stream.below(5) as u8));
        }
        data
    }

    fn site(&self, rows: impl Iterator<Item = usize>) -> Rows {
        let rows: Vec<usize> = rows.collect();
        let width = self.bins.first().map_or(1, Vec::len);
        let cells = rows.iter().flat_map(|row| self.bins[*row].clone());
        Rows::from_parts(
            Matrix::bins(rows.len(), width, cells.collect()),
            rows.iter().map(|row| self.targets[*row]).collect(),
            rows.iter().map(|row| self.slots[*row]).collect(),
        )
    }

    /// All rows at one site.
    pub(crate) fn merged(&self) -> Vec<Rows> {
        vec![self.site(0..self.targets.len())]
    }

    /// Skewed: rows with a target above 0 go to the first site with a low first column,
    /// so that others see few classes; where there are three sites or more, the last has
    /// no rows at all and the one before it no row with a target above 0.
    pub(crate) fn spread(&self, sites: usize) -> Vec<Rows> {
        let home = |row: usize| match (self.targets[row] > 0.0, self.bins[row][0]) {
            _ if sites == 1 => 0,
            (true, 0..=2) => 0,
            (true, _) if sites == 2 => 1,
            (true, _) => sites.saturating_sub(3).min(1),
            (false, bin) => usize::from(bin) % (sites - usize::from(sites > 2)),
        };
        (0..sites)
            .map(|site| self.site((0..self.targets.len()).filter(|row| home(*row) == site)))
            .collect()
    }
}

/// What these rows' pipeline would say.
pub(crate) fn ground(head: Head, folds: u8, rows: usize, bins: &[(usize, bool)]) -> Ground {
    let columns = bins
        .iter()
        .enumerate()
        .map(|(at, (bins, ordered))| BinColumn {
            name: format!("column {at}"),
            bins: *bins,
            ordered: *ordered,
        });
    Ground {
        pipeline: ObjectId::of(b"pipeline"),
        head,
        folds,
        rows: rows.max(1) as u64,
        columns: columns.collect(),
    }
}

/// How a fit went.
pub(crate) struct Fitted {
    /// What was kept, and what there was at the end.
    pub(crate) model: AdditiveModel,
    pub(crate) last: AdditiveModel,
    pub(crate) steps: usize,
    pub(crate) losses: Vec<LossSums>,
    /// Most numbers of a step.
    pub(crate) widest: usize,
}

/// Fits over the sums of these sites. At every step part and path survive the journey,
/// keep the caps, and an early end would leave a sound model.
pub(crate) fn fit(mut fitting: impl Fitting, sites: &[Rows]) -> Fitted {
    let mut steps = 0;
    let mut widest = 0;
    let mut losses: Vec<LossSums> = Vec::new();
    while !fitting.finished() {
        let (part, path) = fitting.next();
        part.check().expect("within the caps");
        let json = serde_json::to_string(&part).expect("JSON");
        assert_eq!(
            serde_json::from_str::<AdditivePart>(&json).expect("read"),
            part
        );
        if let Some(path) = &path {
            path.check().expect("a sound path");
            let json = serde_json::to_string(path).expect("JSON");
            assert_eq!(
                &serde_json::from_str::<super::AdditivePath>(&json).expect("read"),
                path
            );
        }
        let segments = part.segments();
        let mut sums = vec![0_u64; segments.iter().map(crate::ask::Segment::count).sum()];
        widest = widest.max(sums.len());
        for rows in sites {
            let mut out = Encoder::new(&segments);
            part.sums(path.as_ref(), rows, &mut out)
                .expect("within bounds");
            let codes = out.finish().expect("all numbers");
            sums.iter_mut()
                .zip(codes)
                .for_each(|(sum, code)| *sum += code);
        }
        let totals = PartTotals::from_sums(segments, &sums, sites.len());
        if let Some(new) = fitting.take(&totals) {
            if losses.iter().all(|old| new.mean() < old.mean()) {
                fitting.keep();
            }
            losses.push(new);
        }
        fitting.current().check().expect("a sound model");
        fitting.shown().check().expect("a sound model");
        steps += 1;
        assert!(steps < 40, "it ends");
    }
    Fitted {
        model: fitting.shown().clone(),
        last: fitting.current(),
        steps,
        losses,
        widest,
    }
}

/// The probability of the second class, or the number, by the whole model.
pub(crate) fn predict(model: &AdditiveModel, bins: &[u8]) -> f64 {
    let mut scores = vec![0.0; model.head.scores()];
    model.predict_average(Row::Bins(bins), &mut scores);
    scores.last().copied().expect("a score")
}

/// Checks that predictions go one way along the bins of `columns`, the one of missing values
/// apart, whatever a row has elsewhere; returns how often they moved.
pub(crate) fn one_way(
    model: &AdditiveModel,
    data: &Data,
    bins: &[(usize, bool)],
    columns: &[usize],
    way: i8,
) -> usize {
    let mut moved = 0;
    for row in data.bins.iter().take(50) {
        for column in columns {
            let mut row = row.clone();
            let mut last = None;
            for bin in 1..bins[*column].0 {
                row[*column] = bin as u8;
                let prediction = predict(model, &row);
                let rise = prediction - last.unwrap_or(prediction);
                assert!(
                    rise * f64::from(way) >= 0.0,
                    "column {column} bin {bin}: {rise}"
                );
                moved += usize::from(rise != 0.0);
                last = Some(prediction);
            }
        }
    }
    moved
}

/// Recorded by `tests/oracle/additive.py`.
#[derive(Deserialize)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) ridge: f64,
    pub(crate) bins: usize,
    pub(crate) x: Vec<Vec<u8>>,
    pub(crate) y: Vec<f64>,
    pub(crate) woe: Vec<Vec<f64>>,
    pub(crate) weights: Vec<f64>,
}

impl Case {
    /// The recorded cases of a kind.
    pub(crate) fn all(kind: &str) -> Vec<Self> {
        #[derive(Deserialize)]
        struct Fixture {
            cases: Vec<Case>,
        }
        let text = include_str!("../../../tests/fixtures/additive.json");
        let fixture: Fixture = serde_json::from_str(text).expect("the recorded fixture");
        let mut cases = fixture.cases;
        cases.retain(|case| case.kind == kind);
        assert!(!cases.is_empty());
        cases
    }

    /// Its rows, all for training.
    pub(crate) fn data(&self) -> Data {
        Data {
            bins: self.x.clone(),
            targets: self.y.clone(),
            slots: vec![Slot::TrainOnly; self.y.len()],
        }
    }
}
