//! What the rows about the feed share: outages at the feed server, and what the journal and the gaps come to after them.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use redflag::model::{event::Event, ids::Seq};
use rusqlite::{Connection, OpenFlags};

use crate::harness::{PATIENCE, world::World};

/// The feed's sockets are gone, and no new one is to be had.
pub async fn cut(world: &World) {
    world.feed.set("closed=1").await;
    world.feed.drop_sockets().await;
}

/// Sockets are to be had again; waits until redflag owes no question any more.
pub async fn mend(world: &World) -> anyhow::Result<()> {
    let asked = requests(world).await;
    world.feed.set("closed=0").await;
    let begun = Instant::now();
    while requests(world).await == asked {
        patient(begun, world, "it does not ask for past messages")?;
    }
    let mut since = Instant::now();
    while since.elapsed() < Duration::from_millis(500) {
        if owes(world)? {
            since = Instant::now();
        }
        patient(begun, world, "it does not end asking for past messages")?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

fn patient(begun: Instant, world: &World, missing: &str) -> anyhow::Result<()> {
    if begun.elapsed() > PATIENCE * 4 {
        bail!("{missing}; the log:\n{}", world.home.tail());
    }
    Ok(())
}

async fn requests(world: &World) -> usize {
    let stats = world.feed.stats().await;
    let asked = stats["requests"].as_array().into_iter().flatten();
    asked.filter(|request| request["method"] == "getLastMessages").count()
}

/// Whether the feed's position says that messages may be missing.
fn owes(world: &World) -> anyhow::Result<bool> {
    let connection = Connection::open_with_flags(world.home.database(), OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    let position: String = connection
        .query_row("SELECT position FROM positions WHERE feed = 'concedus'", [], |row| row.get(0))
        .context("the feed's position")?;
    let position: serde_json::Value = serde_json::from_str(&position)?;
    Ok(position.get("since").is_some())
}

/// Everything in the journal, in order.
pub fn journal(world: &World) -> anyhow::Result<Vec<Event>> {
    let reader = world.home.reader()?;
    let mut events: Vec<Event> = Vec::new();
    loop {
        let after = events.last().map_or(Seq(0), |event| event.seq);
        let more = reader.events_after(after, 10_000)?;
        if more.is_empty() {
            return Ok(events);
        }
        events.extend(more);
    }
}

/// Waits until the journal holds so many events.
pub async fn journaled(world: &World, count: u64) -> anyhow::Result<()> {
    let reader = world.home.reader()?;
    let there = async || reader.last().is_ok_and(|last| last.0 >= count);
    world.until(&format!("{count} events are journaled"), PATIENCE * 4, there).await.map(drop)
}

/// How often each text is there.
pub fn multiset<'a>(texts: impl IntoIterator<Item = &'a str>) -> BTreeMap<&'a str, u64> {
    let mut counts = BTreeMap::new();
    for text in texts {
        *counts.entry(text).or_default() += 1;
    }
    counts
}

/// A plain event with this ident; `failed` alerts.
pub fn frame(ident: &str, failed: bool) -> String {
    let status = if failed { "failed" } else { "success" };
    format!(
        r#"{{"topic":"identResult","kyc":"WEBID","identId":"{ident}","personKey":"P{ident}","reason":null,"status":"{status}"}}"#
    )
}

/// Waits until nothing is owed after the start.
pub async fn settled(world: &World) -> anyhow::Result<()> {
    world.until("nothing is owed", PATIENCE, async || owes(world).is_ok_and(|owes| !owes)).await.map(drop)
}
