//! The champion of the round before beside this round's rows and this round's best.

use crate::ask::{Part, Stage};
use crate::features::Dropped;
use crate::federation::FederationError;
use crate::metric::{ComparePart, Compared, Contender, Curve, Voter};
use crate::model::{Champion, ChampionError};
use crate::profile::{Drift, Profile, Values};
use crate::search::memory::{Memory, ScoreCounts};
use crate::search::report::{Decision, RoundDrift, Verdict};
use crate::search::{Conductor, SearchError};

/// Steps of a round with a memory after its race, beside those of any round: the comparison.
pub(super) const CLOSING_STEPS: u32 = 1;

/// How a round decided.
pub(super) struct Judged {
    pub(super) verdict: Verdict,
    /// How the champion's scores are spread over this round's rows.
    pub(super) scores: Vec<ScoreCounts>,
    /// How far the incumbent's scores have moved.
    pub(super) moved: Option<Drift>,
}

/// How far this round's rows have moved from those of the round before, in one step.
///
/// A sum that does not open costs these figures and nothing else.
pub(super) fn drift(
    memory: &Memory,
    profile: &Profile,
    conductor: &mut Conductor<'_>,
) -> Result<RoundDrift, SearchError> {
    let older = &memory.notes.columns;
    let mut columns = Vec::new();
    if let Some(part) = profile.recount(older) {
        match conductor.sum(Stage::Profile, vec![Part::Profile(part.clone())]) {
            Ok(totals) => {
                let totals = totals.part(0);
                let segments = (0..part.segments().len()).map(|segment| totals.counts(segment));
                columns = profile.moved(older, &part, segments.collect());
            }
            Err(FederationError::Spoiled { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let has = |name: &str| profile.columns.iter().any(|column| column.name == name);
    let reason = |name: &str| {
        let dropped = profile.dropped.iter().find(|gone| gone.column == name);
        dropped.map_or_else(|| "no site has it".to_owned(), |gone| gone.reason.clone())
    };
    let gone = older.iter().filter(|older| !has(&older.column));
    let new = profile.columns.iter().filter(|column| {
        let known = older.iter().any(|older| older.column == column.name);
        // Free text is never counted, so whether it is new is not known.
        !known && !matches!(column.values, Values::Text(_))
    });
    Ok(RoundDrift {
        score: None,
        columns,
        gone: gone
            .map(|older| Dropped {
                column: older.column.clone(),
                reason: reason(&older.column),
            })
            .collect(),
        new: new.map(|column| column.name.clone()).collect(),
    })
}

/// Without a champion before, the best of the round is the champion.
///
/// `curves` are those of its validation scores.
pub(super) fn first(challenger: &str, curves: &[Curve], round: u32) -> Judged {
    let reason = match round {
        1 => "there was no champion before",
        _ => "nothing is remembered of the rounds before",
    };
    Judged {
        verdict: Verdict {
            decision: Decision::First,
            reason: reason.to_owned(),
            incumbent: None,
            challenger: challenger.to_owned(),
            incumbent_loss: None,
            challenger_loss: None,
            gain: None,
            gain_se: None,
            rows: 0,
        },
        scores: curves.iter().map(ScoreCounts::of).collect(),
        moved: None,
    }
}

/// Decides which champion goes on, in one step over validation rows.
///
/// The rule: the challenger replaces the incumbent where it is better by more than one standard
/// error of the mean difference of their losses, row by row, and where the incumbent cannot be
/// scored any more. A tie, a difference within chance, and a sum that does not open keep it.
pub(super) fn judge(
    memory: &Memory,
    profile: &Profile,
    challenger: &Champion,
    curves: &[Curve],
    conductor: &mut Conductor<'_>,
) -> Result<Judged, SearchError> {
    let name = memory.champion.description();
    let round = memory.notes.round;
    let Judged {
        mut verdict,
        scores,
        ..
    } = first(&challenger.description(), curves, round);
    verdict.incumbent = Some(name.clone());
    let judged = |verdict, scores, moved| Judged {
        verdict,
        scores,
        moved,
    };
    let mut pipelines = memory.champion.pipelines().into_iter();
    if let Some(reason) = pipelines.find_map(|pipeline| pipeline.unfit_for(profile)) {
        verdict.decision = Decision::Replaced;
        verdict.reason =
            format!("the champion of round {round} ({name}) cannot be scored any more: {reason}");
        return Ok(judged(verdict, scores, None));
    }
    let part = ComparePart {
        old: contender(&memory.champion, conductor)?,
        new: contender(challenger, conductor)?,
        head: challenger.fold_model()?.head(),
        rows: profile.train_rows,
        cuts: memory.notes.scores.iter().map(|s| s.cuts.clone()).collect(),
    };
    let compared = match conductor.sum(Stage::Compare, vec![Part::Compare(part.clone())]) {
        Ok(totals) => part.read(&totals.part(0)),
        Err(FederationError::Spoiled { reason, .. }) => {
            verdict.decision = Decision::Kept;
            verdict.reason = format!(
                "the sum that compares the champion of round {round} ({name}) with the best of this \
                 round did not open ({reason}), so nothing shows that it is worse"
            );
            return Ok(judged(verdict, memory.notes.scores.clone(), None));
        }
        Err(error) => return Err(error.into()),
    };
    decide(&mut verdict, &compared, round);
    let now = part.cuts.iter().zip(&compared.scores);
    let now: Vec<ScoreCounts> = now
        .map(|(cuts, rows)| ScoreCounts {
            cuts: cuts.clone(),
            rows: rows.clone(),
        })
        .collect();
    let moved = score_drift(&memory.notes.scores, &now);
    let kept = verdict.decision == Decision::Kept;
    Ok(judged(verdict, if kept { now } else { scores }, moved))
}

/// Fills in what the comparison says.
fn decide(verdict: &mut Verdict, compared: &Compared, round: u32) {
    let Compared {
        rows,
        old,
        new,
        gain,
        gain_se,
        ..
    } = *compared;
    verdict.rows = rows;
    if rows < 2 {
        verdict.decision = Decision::Kept;
        verdict.reason = format!(
            "no rows validate for both, so nothing shows that the champion of round {round} is worse"
        );
        return;
    }
    verdict.incumbent_loss = Some(old);
    verdict.challenger_loss = Some(new);
    verdict.gain = Some(gain);
    verdict.gain_se = Some(gain_se);
    let challenger = &verdict.challenger;
    let incumbent = verdict.incumbent.as_deref().unwrap_or_default();
    let difference = format!("{:.4} ± {gain_se:.4} a row", gain.abs());
    if gain > gain_se {
        verdict.decision = Decision::Replaced;
        verdict.reason = format!(
            "{challenger} (validation loss {new:.4}) is better than the champion of round {round}, \
             {incumbent} ({old:.4} on the same rows), by {difference}, more than one standard error"
        );
        return;
    }
    verdict.decision = Decision::Kept;
    let how = if gain == 0.0 && gain_se == 0.0 {
        "predicts the same as".to_owned()
    } else if gain > 0.0 {
        format!("is better, but within one standard error ({difference}), than")
    } else {
        format!("is not better ({difference}) than")
    };
    verdict.reason = format!(
        "{challenger} (validation loss {new:.4}) {how} the champion of round {round}, {incumbent} \
         ({old:.4} on the same rows)"
    );
}

/// A champion as a side of the comparison: all its models, with what it does to their mean.
fn contender(champion: &Champion, conductor: &mut Conductor<'_>) -> Result<Contender, SearchError> {
    let members = champion.published::<SearchError>(&mut |object| conductor.publish(object))?;
    let voices = champion.voices()?;
    let mut voters = Vec::new();
    for (member, voice) in members.into_iter().zip(voices) {
        let folds = u8::try_from(voice.model.folds());
        voters.push(Voter {
            pipeline: member.pipeline,
            model: member.model,
            folds: folds.map_err(|_| ChampionError::Inconsistent("it has more than 255 folds"))?,
            weight: voice.weight,
        });
    }
    Ok(Contender {
        voters,
        calibration: champion.calibration,
    })
}

/// The largest drift over the classes.
fn score_drift(then: &[ScoreCounts], now: &[ScoreCounts]) -> Option<Drift> {
    let drifts = then.iter().zip(now);
    drifts
        .map(|(then, now)| Drift::of("score", &then.rows, &now.rows))
        .max_by(|a, b| a.psi.total_cmp(&b.psi))
}

#[cfg(test)]
mod tests;
