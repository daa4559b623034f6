//! Calibration and threshold of what was chosen.

use crate::calibrate::{self, Platt, Rule, Threshold};
use crate::family::Head;
use crate::metric::Curve;
use crate::search::ensemble::Chosen;
use crate::task::{Kind, Task};

/// The calibration that these groups of rows ask for, if any: only two classes have groups.
pub(super) fn calibration(groups: &[Curve]) -> Option<Platt> {
    if groups.is_empty() {
        return None;
    }
    calibrate::calibration(groups)
}

/// The threshold of two classes, from the validation rows.
pub(super) fn threshold(task: &Task, chosen: &Chosen) -> Option<Threshold> {
    let (first, _) = chosen.members.first()?;
    match (first.entrant.setting.head, &chosen.validation.curves[..]) {
        (Head::Binary, [curve]) => {
            let usual = || Rule::of(task.metric_for(Kind::Classification));
            let rule = task.decision.unwrap_or_else(usual);
            calibrate::threshold(curve, chosen.calibration, rule)
        }
        _ => None,
    }
}
