//! What was looked up after a gap: outcomes that the journal lacks become events, and the gap is closed or narrowed with them.

use super::{Batch, Intake};
use crate::{
    alerts::Alarm,
    model::{
        event::{Frame, Origin},
        lookup::{LookedUp, Narrowed},
        severity::Severity,
    },
    store::StoreError,
};

impl Intake {
    pub(super) fn looked_up(&mut self, looked: LookedUp, batch: &mut Batch) -> Result<(), StoreError> {
        let LookedUp { feed, gap, upto, found, report, first } = looked;
        let outcomes = self.journal.outcomes(&feed, upto)?;
        let at = self.clock.now();
        let mut brought = 0;
        for found in found {
            // It came by itself meanwhile.
            if outcomes.iter().any(|outcome| outcome.is(&found)) {
                continue;
            }
            let frame = Frame { feed: feed.clone(), received_at: at, origin: Origin::Rest, bytes: found.message, position: None };
            // No socket has counted it.
            batch.books.of(&feed, &self.nothing, at).frames += 1;
            let Some(decoded) = self.decode(&frame, batch) else { continue };
            for quarantined in decoded.quarantined {
                self.quarantine(quarantined, batch);
            }
            for mut element in decoded.elements {
                batch.books.of(&feed, &element.topic, at).elements += 1;
                element.warnings.push(format!("looked up because of gap {gap}: when and why it ended so is not known"));
                self.append(element, batch);
                brought += 1;
            }
        }
        let (words, closes, done) = (report.words(brought), report.open.is_empty(), !report.unfinished);
        tracing::info!(%feed, gap, closes, done, words, "a gap was looked up");
        if closes || done || first {
            let (severity, what) =
                if closes { (Severity::Low, "is closed") } else { (Severity::Medium, "was looked up and stays open") };
            let mut alarm = Alarm::new(format!("gap {gap} {what}"), severity, format!("Feed {feed}: gap {gap} {what}"));
            alarm = alarm.note(format!("{words}."));
            if !closes {
                alarm = alarm
                    .note("`redflag gaps list` shows it, `redflag gaps close` closes it once somebody knows what was in it.");
            }
            batch.alarms.push(alarm);
        }
        batch.narrowed.push(Narrowed { gap, at, words, closes, done });
        Ok(())
    }
}
