//! What the operators are told of a store that was set aside.

use crate::{alerts::Alarm, model::severity::Severity, store::SetAside};

pub(super) fn alarm(aside: &SetAside) -> Alarm {
    let SetAside { folder, found, last, judged, owed_carried, receipts_known, verdicts_carried, quiet_carried, .. } = aside;
    let alarm = Alarm::new(format!("set aside {folder}"), Severity::Critical, "The store was damaged: a fresh one was begun")
        .note(format!("Found: {found}. The damaged files lie in {folder}, below data_dir; nothing of them was deleted."))
        .note(format!(
            "Trusted up to event {judged}. New events are numbered above {last}; those between are asked of the feeds again."
        ));
    let alarm = if *owed_carried {
        alarm.note("What was owed to the channels then was sound, and goes out.")
    } else {
        alarm.note("What was owed to the channels then can't be believed, and is not sent.")
    };
    let alarm = if *receipts_known && !*owed_carried {
        alarm.note(
            "The feeds are asked again from a day earlier, so that its alerts come once more, others of that day a second time.",
        )
    } else {
        alarm
    };
    let alarm = if *receipts_known {
        alarm
    } else {
        alarm.note("When the feeds were last heard is not known: they are asked from start_from on. Compare with the provider's records.")
    };
    let alarm = alarm.note(if *verdicts_carried {
        "Events that were owed a verdict then are owed it still."
    } else {
        "Which events were owed a verdict then can't be believed, and nothing judges them: see the table undecided of the damaged files, and look at those events yourself."
    });
    let alarm = if *quiet_carried {
        alarm
    } else {
        alarm.note("Quiet periods begin anew, so that what was a repeat then raises an alert once more.")
    };
    let alarm = alarm.note("Earlier alerts, the quarantine and the books are in the damaged files only.");
    alarm.note("Look at the disk and the memory of this machine before anything else. History for rules that count begins anew.")
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::model::{ids::Seq, time::Timestamp};

    #[test]
    fn the_alarm_tells_what_is_trusted_and_what_comes_again() {
        let mut aside = SetAside {
            at: Timestamp::UNIX_EPOCH,
            folder: "damaged-20260301T031500Z".to_owned(),
            found: "1 of 812 pages have changed".to_owned(),
            last: Seq(31_415),
            judged: Seq(31_410),
            owed_carried: true,
            receipts_known: true,
            verdicts_carried: true,
            quiet_carried: true,
        };
        insta::assert_snapshot!(alarm(&aside).notes.join("\n"));
        (aside.owed_carried, aside.receipts_known) = (false, false);
        (aside.verdicts_carried, aside.quiet_carried) = (false, false);
        insta::assert_snapshot!(alarm(&aside).notes.join("\n"));
    }
}
