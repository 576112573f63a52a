//! The heartbeat: a sign of life to somebody outside, for a dead man's switch.
//!
//! It beats only when the whole path gets on: every loop of the engine and the channels has ticked since the last beat was due, and the store
//! has just made something durable. A beat that is not taken is logged and counted; nothing waits for it.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::{
    channels::beat::Beat,
    model::causes,
    store::SqliteStore,
    telemetry::{
        Metrics,
        metrics::ResultLabel,
        progress::{IDLE_TICK, Progress},
    },
};

/// How long the store may take to make a sign of life durable.
const PATIENCE: Duration = Duration::from_secs(10);

/// Beats until `stop`.
pub async fn run(
    beat: Beat,
    every: Duration,
    store: SqliteStore,
    progress: Progress,
    metrics: std::sync::Arc<Metrics>,
    stop: CancellationToken,
) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut failed = false;
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let outcome = attempt(&beat, every, &store, &progress).await;
        let result = if outcome.is_ok() { "sent" } else { "missed" };
        metrics.heartbeats.get_or_create(&ResultLabel { result: result.to_owned() }).inc();
        match outcome {
            Ok(()) if failed => tracing::info!("the heartbeat is taken again"),
            Ok(()) => {}
            Err(reason) => tracing::warn!(reason, "no heartbeat: whoever watches will raise the alarm if this goes on"),
        }
        failed = result == "missed";
    }
}

async fn attempt(beat: &Beat, every: Duration, store: &SqliteStore, progress: &Progress) -> Result<(), String> {
    if !progress.moves(every.max(IDLE_TICK * 3)) {
        let step = progress.longest().map_or_else(|| "nothing runs".to_owned(), |lag| format!("{} stands still", lag.step));
        return Err(step);
    }
    match tokio::time::timeout(PATIENCE, store.alive().committed()).await {
        Ok(Ok(())) => beat.send().await,
        Ok(Err(error)) => Err(causes::chain(&error)),
        Err(_) => Err("the store writes nothing".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;
    use crate::{
        config::{
            Secret,
            upkeep::{HeartbeatConfig, HeartbeatMethod},
        },
        model::time::{Span, SystemClock},
        store::Options,
    };

    struct Scene {
        _folder: tempfile::TempDir,
        listener: TcpListener,
        beat: Beat,
        store: SqliteStore,
        progress: Progress,
    }

    impl Scene {
        async fn set(method: HeartbeatMethod) -> Self {
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
            let folder = tempfile::tempdir().unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let file = folder.path().join("url");
            std::fs::write(&file, format!("http://{}/ping/secret", listener.local_addr().unwrap())).unwrap();
            let config = HeartbeatConfig { url: Secret::File(file), every: Span::from_secs(60), method };
            let beat = Beat::new(&config, Arc::new(SystemClock)).unwrap();
            let (store, _) = SqliteStore::open(Options::new(folder.path().join("data"))).unwrap();
            Self { _folder: folder, listener, beat, store, progress: Progress::default() }
        }

        /// One beat; what whoever watches got of it, and what came of it.
        async fn beat(&self, status: &str) -> (String, Result<(), String>) {
            let watcher = async {
                let (mut stream, _) = self.listener.accept().await.unwrap();
                let mut head = [0; 4_096];
                let length = stream.read(&mut head).await.unwrap();
                stream
                    .write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").as_bytes())
                    .await
                    .unwrap();
                String::from_utf8_lossy(&head[..length]).lines().next().unwrap_or_default().to_owned()
            };
            let beat = attempt(&self.beat, Duration::from_mins(1), &self.store, &self.progress);
            tokio::pin!(watcher);
            tokio::select! {
                biased;
                (line, outcome) = async { tokio::join!(&mut watcher, beat) } => (line, outcome),
                () = tokio::time::sleep(Duration::from_secs(20)) => panic!("no beat"),
            }
        }
    }

    #[tokio::test]
    async fn a_path_that_gets_on_beats_and_what_is_not_taken_is_said_without_the_address() {
        for (method, line) in
            [(HeartbeatMethod::Get, "GET /ping/secret HTTP/1.1"), (HeartbeatMethod::Post, "POST /ping/secret HTTP/1.1")]
        {
            let scene = Scene::set(method).await;
            let _hand = scene.progress.hand("judging");
            assert_eq!(scene.beat("200 OK").await, (line.to_owned(), Ok(())));
            assert_eq!(scene.beat("404 Not Found").await.1, Err("answered 404".to_owned()));
        }
    }

    #[tokio::test]
    async fn nothing_beats_when_a_step_stands_still_or_the_store_writes_nothing() {
        let scene = Scene::set(HeartbeatMethod::Get).await;
        let missed = async || attempt(&scene.beat, Duration::ZERO, &scene.store, &scene.progress).await.unwrap_err();
        assert_eq!(missed().await, "nothing runs");
        let _hand = scene.progress.hand("judging");
        scene.store.close().committed().await.unwrap();
        assert_eq!(missed().await, "the store's writer has stopped");
    }
}
