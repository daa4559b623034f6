//! The steps of the profile, in order.

use std::collections::BTreeMap;

use super::decide::{self, Surveyed, Taken};
use super::part::{ColumnAsk, MAX_BITS, MomentsColumn, ProfilePart, ROW_COUNTS, RefineColumn};
use super::slots::{Coding, SlotKey};
use super::{ColumnProfile, Dropped, NumberShape, Profile, TargetCoding, Values, classes, schema};
use crate::ask::{MAX_CODE, Part, Stage};
use crate::features::refused;
use crate::federation::FederationError;
use crate::search::Conductor;
use crate::split::SplitPlan;
use crate::task::Task;

/// The sums of one profile step: one list for each segment of the part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileSums {
    /// Summed counts, by segment.
    pub segments: Vec<Vec<u64>>,
    /// How many sites are in the sums.
    pub contributors: usize,
}

/// Why no profile could be made.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// A step failed.
    #[error(transparent)]
    Federation(#[from] FederationError),
    /// The names of the columns could not be told apart.
    #[error(
        "the sites' column names could not be read from their sum in {0} tries; are there more than 512 different names over all sites?"
    )]
    Schema(u8),
    /// The target is not at every site.
    #[error(
        "the target `{target}` is a column at {sites} of {of} sites; map it in the other sites' column maps{hint}"
    )]
    NoTarget {
        /// The target.
        target: String,
        /// Sites that have it.
        sites: u64,
        /// Sites in the sum.
        of: u64,
        /// A near name, if any.
        hint: String,
    },
    /// A column that the task declares is nowhere.
    #[error(
        "the task's `{key}` names `{column}`, which is neither {or}a column of any site; did you mean `{nearest}`?"
    )]
    NoColumn {
        /// The key of the task file.
        key: &'static str,
        /// What it names.
        column: String,
        /// "a known kind nor ", for the privacy filter.
        or: &'static str,
        /// The nearest column.
        nearest: String,
    },
    /// No site has a labelled training row.
    #[error("no site has a training row with a target")]
    NoRows,
    /// One value of the target in all rows.
    #[error(
        "the target `{target}` is `{class}` in all {rows} training rows of all sites, so there is nothing to learn; check the sites' column maps"
    )]
    OneClass {
        /// The target.
        target: String,
        /// Its one value.
        class: String,
        /// Training rows.
        rows: u64,
    },
    /// One value of a numeric target in all rows.
    #[error(
        "the target `{target}` is the same number in all {rows} training rows of all sites, so there is nothing to learn; check the sites' column maps"
    )]
    OneValue {
        /// The target.
        target: String,
        /// Training rows.
        rows: u64,
    },
    /// Target values that nobody named.
    #[error(
        "{rows} training rows have a target `{target}` that is neither a whole number from -1 to 30 nor a word such as yes or no, or not among the task's `classes`; values never leave a site, so name them all in the task: classes = [\"…\", \"…\"]"
    )]
    UnknownClasses {
        /// The target.
        target: String,
        /// Training rows with such a value.
        rows: u64,
    },
    /// A regression target with texts.
    #[error(
        "{rows} training rows have a target `{target}` that is not a number; correct them, map them to missing, or make the task a classification"
    )]
    NotANumber {
        /// The target.
        target: String,
        /// Training rows with a text.
        rows: u64,
    },
    /// The positive class does not occur.
    #[error(
        "the positive class `{positive}` does not occur in the training rows; the classes are {found}"
    )]
    NoPositive {
        /// What the task says.
        positive: String,
        /// The classes found.
        found: String,
    },
    /// A positive class among more than two.
    #[error(
        "the task names `{positive}` as the positive class, but there are more than two: {found}; remove `positive`, or map the others together in the sites' column maps"
    )]
    NotTwo {
        /// What the task says.
        positive: String,
        /// The classes found.
        found: String,
    },
    /// Nothing is left to learn from.
    #[error("no column is left as a feature; each was dropped: {0}")]
    NoFeatures(String),
    /// The totals do not have the shape of the ask.
    #[error("the totals of a profile step do not fit its ask: {0}")]
    Totals(&'static str),
}

/// Runs the profile's steps on a federation.
///
/// # Errors
/// [`ProfileError`] says which step failed, or what is wrong with the data and
/// where to correct it.
pub fn run(task: &Task, conductor: &mut Conductor<'_>) -> Result<Profile, ProfileError> {
    run_with(task, &mut |part| {
        let totals = conductor.sum(Stage::Profile, vec![Part::Profile(part.clone())])?;
        let sums = totals.part(0);
        let segments = (0..part.segments().len())
            .map(|segment| sums.counts(segment))
            .collect();
        Ok(ProfileSums {
            segments,
            contributors: sums.contributors(),
        })
    })
}

/// Runs the profile's steps on anything that sums.
///
/// # Errors
/// As [`run`].
pub fn run_with(
    task: &Task,
    sum: &mut dyn FnMut(&ProfilePart) -> Result<ProfileSums, ProfileError>,
) -> Result<Profile, ProfileError> {
    let (names, mut dropped) = columns(task, sum)?;
    let key = SlotKey::of(task);
    let survey = survey(task, key, &names, sum)?;
    if survey.train_rows == 0 {
        return Err(ProfileError::NoRows);
    }
    let mut taken = Vec::new();
    for column in &survey.columns {
        if column.name == task.target {
            continue;
        }
        match decide::column(task, column, survey.train_rows) {
            Ok(decided) => taken.push(decided),
            Err(reason) => dropped.push(Dropped {
                column: column.name.clone(),
                reason,
            }),
        }
    }
    let numeric_target = survey.classes.is_none();
    let mut shapes = shapes(task, &survey, &taken, numeric_target, sum)?;
    let (target, class_counts) = match survey.classes {
        Some((coding, counts)) => (coding, counts),
        None => (numeric(task, shapes.remove(&task.target))?, Vec::new()),
    };
    let mut columns = Vec::new();
    for decided in taken {
        let shape = shapes.remove(&decided.column.name);
        match decide::finished(decided, shape) {
            Ok(column) => columns.push(column),
            Err(gone) => dropped.push(gone),
        }
    }
    dropped.sort_by(|a, b| a.column.cmp(&b.column));
    if columns.is_empty() {
        let reasons: Vec<_> = dropped
            .iter()
            .map(|d| format!("{} ({})", d.column, d.reason))
            .collect();
        return Err(ProfileError::NoFeatures(reasons.join("; ")));
    }
    Ok(Profile {
        train_rows: survey.train_rows,
        test_rows: survey.test_rows,
        unlabelled_rows: survey.unlabelled_rows,
        plan: SplitPlan::for_rows(survey.train_rows + survey.test_rows),
        key,
        target_column: task.target.clone(),
        target,
        class_counts,
        columns,
        dropped,
    })
}

/// Learns the names of the columns; returns those that may be looked at, and
/// the others with the reason.
fn columns(
    task: &Task,
    sum: &mut dyn FnMut(&ProfilePart) -> Result<ProfileSums, ProfileError>,
) -> Result<(Vec<String>, Vec<Dropped>), ProfileError> {
    let mut found = None;
    for attempt in 0..schema::ATTEMPTS {
        let sums = sum(&ProfilePart::Schema { attempt })?;
        let table = sums.segments.into_iter().next().unwrap_or_default();
        if let Some(names) = schema::decode(attempt, table) {
            found = Some((names, sums.contributors as u64));
            break;
        }
    }
    let (names, sites) = found.ok_or(ProfileError::Schema(schema::ATTEMPTS))?;
    let have = names.get(&task.target).copied().unwrap_or(0);
    if have < sites {
        let near = nearest(&task.target, &names);
        let hint = if have == 0 {
            format!(" (did you mean `{near}`?)")
        } else {
            String::new()
        };
        return Err(ProfileError::NoTarget {
            target: task.target.clone(),
            sites: have,
            of: sites,
            hint,
        });
    }
    check_declared(task, &names)?;
    let mut usable = Vec::new();
    let mut dropped = Vec::new();
    for (name, have) in names {
        let reason = match refused(task, &name) {
            Some(reason) => Some(reason),
            None if have < sites => Some(format!("only {have} of {sites} sites have it")),
            None => None,
        };
        match reason {
            // The target is "refused" as a feature, yet it is looked at.
            _ if name == task.target => usable.push(name),
            Some(reason) => dropped.push(Dropped {
                column: name,
                reason,
            }),
            None => usable.push(name),
        }
    }
    Ok((usable, dropped))
}

/// A name in the task that means nothing is a typing error, and one in the
/// privacy filter would leave a column unprotected.
fn check_declared(task: &Task, names: &BTreeMap<String, u64>) -> Result<(), ProfileError> {
    let declared = task.columns.keys().map(|column| ("columns", column, ""));
    let filtered = task
        .constraints
        .privacy_filter
        .iter()
        .filter(|word| crate::features::PrivacyKind::parse(word).is_none())
        .map(|word| ("privacy_filter", word, "a known kind nor "));
    for (key, column, or) in declared.chain(filtered) {
        if !names.contains_key(column) {
            let nearest = nearest(column, names);
            return Err(ProfileError::NoColumn {
                key,
                column: column.clone(),
                or,
                nearest,
            });
        }
    }
    Ok(())
}

fn nearest(name: &str, names: &BTreeMap<String, u64>) -> String {
    let nearest = names
        .keys()
        .min_by_key(|known| strsim::damerau_levenshtein(known, name));
    nearest.cloned().unwrap_or_default()
}

/// What the survey says, taken apart.
struct Survey {
    train_rows: u64,
    test_rows: u64,
    unlabelled_rows: u64,
    /// `None` when the target is a number.
    classes: Option<(TargetCoding, Vec<u64>)>,
    columns: Vec<Surveyed>,
}

fn survey(
    task: &Task,
    key: SlotKey,
    names: &[String],
    sum: &mut dyn FnMut(&ProfilePart) -> Result<ProfileSums, ProfileError>,
) -> Result<Survey, ProfileError> {
    let columns: Vec<ColumnAsk> = names
        .iter()
        .map(|name| ColumnAsk {
            name: name.clone(),
            coding: decide::coding(task, name),
        })
        .collect();
    let part = ProfilePart::Survey {
        key,
        columns: columns.clone(),
        classes: task.classes.clone(),
    };
    let sums = sum(&part)?;
    let mut segments = sums.segments.into_iter();
    let rows = segments.next().filter(|rows| rows.len() == ROW_COUNTS);
    let rows = rows.ok_or(ProfileError::Totals("row counts"))?;
    let class_counts = segments
        .next()
        .ok_or(ProfileError::Totals("class counts"))?;
    let columns: Vec<Surveyed> = columns
        .into_iter()
        .zip(segments)
        .map(|(ask, counts)| Surveyed::new(ask, &counts))
        .collect::<Option<_>>()
        .ok_or(ProfileError::Totals("column counts"))?;
    if rows[0] == 0 {
        return Err(ProfileError::NoRows);
    }
    let texts = columns
        .iter()
        .find(|c| c.name == task.target)
        .map_or(0, |c| c.texts);
    Ok(Survey {
        train_rows: rows[0],
        test_rows: rows[1],
        unlabelled_rows: rows[2],
        classes: classes::resolve(task, &class_counts, texts)?,
        columns,
    })
}

/// Refine and moments: the distributions of all columns of numbers or dates.
fn shapes(
    task: &Task,
    survey: &Survey,
    taken: &[Taken<'_>],
    numeric_target: bool,
    sum: &mut dyn FnMut(&ProfilePart) -> Result<ProfileSums, ProfileError>,
) -> Result<BTreeMap<String, NumberShape>, ProfileError> {
    let mut columns: Vec<RefineColumn> = taken.iter().filter_map(Taken::refined).collect();
    if numeric_target && let Some(target) = survey.columns.iter().find(|c| c.name == task.target) {
        columns.push(target.refined(false));
        columns.sort_by(|a, b| a.name.cmp(&b.name));
    }
    if columns.is_empty() {
        return Ok(BTreeMap::new());
    }
    let coarse = refine(columns, sum)?;
    let surveyed = |name: &str| survey.columns.iter().find(|column| column.name == name);
    let again = coarse
        .iter()
        .filter_map(|(column, counts)| Some(surveyed(&column.name)?.again(column, counts)))
        .collect();
    let bounded = refine(again, sum)?;
    let (bits, rows) = precision(survey.train_rows);
    let asks: Vec<MomentsColumn> = bounded
        .iter()
        .map(|(column, counts)| {
            // Of a target no value is clipped away: its tails are what errors
            // are made of.
            let tail = if column.name == task.target {
                0.0
            } else {
                decide::TAIL
            };
            decide::bounds(column, counts, tail)
        })
        .collect();
    let sums = sum(&ProfilePart::Moments {
        bits,
        rows,
        columns: asks.clone(),
    })?;
    let [rows, sum, squares] =
        <[Vec<u64>; 3]>::try_from(sums.segments).map_err(|_| ProfileError::Totals("moments"))?;
    let mut shapes = BTreeMap::new();
    for (place, ((column, counts), ask)) in bounded.into_iter().zip(asks).enumerate() {
        let at = |list: &Vec<u64>| list.get(place).copied().unwrap_or(0);
        let (mean, sd) = mean_and_deviation(&ask, bits, at(&rows), at(&sum), at(&squares));
        let shape = NumberShape {
            rows: at(&rows),
            edges: column.edges,
            counts,
            lo: ask.lo,
            hi: ask.hi,
            mean,
            sd,
        };
        shapes.insert(column.name, shape);
    }
    Ok(shapes)
}

/// The columns with the rows in each of their cells.
fn refine(
    columns: Vec<RefineColumn>,
    sum: &mut dyn FnMut(&ProfilePart) -> Result<ProfileSums, ProfileError>,
) -> Result<Vec<(RefineColumn, Vec<u64>)>, ProfileError> {
    let cells = sum(&ProfilePart::Refine {
        columns: columns.clone(),
    })?;
    Ok(columns.into_iter().zip(cells.segments).collect())
}

/// The finest quantization whose sums of squares fit a code, and the rows that
/// one site may have: twice the total, so that a site that missed the survey
/// still fits.
pub(super) fn precision(train_rows: u64) -> (u32, u64) {
    let rows = (2 * train_rows).next_power_of_two();
    let spare = (MAX_CODE / rows).max(4).ilog2();
    ((spare / 2).clamp(1, MAX_BITS), rows)
}

/// Mean and standard deviation from exact integers.
fn mean_and_deviation(
    ask: &MomentsColumn,
    bits: u32,
    rows: u64,
    sum: u64,
    squares: u64,
) -> (f64, f64) {
    if rows == 0 {
        return (ask.lo, 0.0);
    }
    let step = (ask.hi - ask.lo) / f64::from(1_u32 << bits);
    let mean = ask.lo + step * (sum as f64 / rows as f64);
    // rows·squares < 2^30·2^53 and sum² < 2^106 fit 128 bits, so nothing
    // cancels.
    let (rows, sum, squares) = (u128::from(rows), u128::from(sum), u128::from(squares));
    let spread = (rows * squares).saturating_sub(sum * sum);
    let variance = spread as f64 / (rows * rows) as f64;
    (mean, step * libm::sqrt(variance))
}

fn numeric(task: &Task, shape: Option<NumberShape>) -> Result<TargetCoding, ProfileError> {
    let shape = shape.ok_or(ProfileError::Totals("target"))?;
    if shape.sd > 0.0 {
        Ok(TargetCoding::Number {
            mean: shape.mean,
            scale: shape.sd,
        })
    } else {
        Err(ProfileError::OneValue {
            target: task.target.clone(),
            rows: shape.rows,
        })
    }
}

impl ColumnProfile {
    /// The column's distribution, where it has numbers or dates.
    #[must_use]
    pub const fn shape(&self) -> Option<&NumberShape> {
        match &self.values {
            Values::Number { shape, .. } | Values::Date { shape } => Some(shape),
            Values::Category(_) => None,
        }
    }

    /// How the column's category values are counted, where they are.
    #[must_use]
    pub const fn coding(&self) -> Option<&Coding> {
        match &self.values {
            Values::Number {
                small: Some(levels),
                ..
            }
            | Values::Category(levels) => Some(&levels.coding),
            _ => None,
        }
    }
}
