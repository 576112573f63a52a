//! R10: the server takes a mail, and its answer is lost.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use crate::harness::{
    Bench, PATIENCE, Row,
    smtp::{Act, Step},
    world::{ALERTING, Plan, World},
};

const INCIDENTS: usize = 100;

pub async fn run(bench: &Bench) -> anyhow::Result<Row> {
    let incidents = bench.trials(INCIDENTS);
    let world = World::new(bench.folder(), Plan { channels: vec!["mail"], ..Plan::default() }).await?;
    // Every second mail is taken without a word, by turns with a reset, an end, and silence after the final dot.
    let lost = Arc::new(Mutex::new(0_usize));
    let counter = Arc::clone(&lost);
    world.smtp.follow(Arc::new(move |visit| {
        if visit.step != Step::Dot || visit.nth.is_multiple_of(2) {
            return Act::Usual;
        }
        *counter.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        match visit.nth % 6 {
            1 => Act::Reset,
            3 => Act::Close,
            _ => Act::Say("2"),
        }
    }));
    let daemon = world.home.start().await?;
    world.connected(&daemon).await?;
    let mut rounds = 0_u64;
    while *lost.lock().unwrap_or_else(PoisonError::into_inner) < incidents {
        world.send(ALERTING * 10).await;
        world.drained(PATIENCE * 4).await?;
        rounds += 1;
    }
    world.smtp.follow(Arc::new(|_| Act::Usual));
    let judgement = world.settle(daemon, PATIENCE * 2).await?;
    let lost = *lost.lock().unwrap_or_else(PoisonError::into_inner);
    let mut by_id: BTreeMap<String, BTreeSet<Vec<u8>>> = BTreeMap::new();
    let letters = world.smtp.letters();
    for letter in &letters {
        by_id.entry(letter.header("Message-ID").unwrap_or_default()).or_default().insert(letter.bytes.clone());
    }
    let once = by_id.len() == judgement.alerts && by_id.values().all(|copies| copies.len() == 1);
    let duplicates = judgement.duplicates();
    Ok(Row::new(
        lost,
        "at most 1 duplicate an incident, 100 % under the same Message-ID; by it the reader has each once",
        format!("{lost} answers lost in {rounds} rounds; {judgement}; {} mails under {} Message-IDs", letters.len(), by_id.len()),
        once && duplicates <= lost && judgement.renamed.is_empty(),
    ))
}
