//! `redflag run`: the service under its supervisor. Tells systemd how it is, reloads on SIGHUP, drains on SIGTERM and SIGINT.

use clap::Args;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};

use super::{
    Exit, Global, counted,
    supervisor::{self, tell},
    talk,
};
use crate::{
    config::Config,
    engine::{self, Running, reload::Report},
};

#[derive(Args, Debug)]
pub struct RunArgs {}

/// # Errors
/// The configuration can't be used, the service can't start, or it broke.
pub async fn run(_: &RunArgs, global: &Global) -> anyhow::Result<Exit> {
    global.start_log();
    let ended = serve(global).await;
    if let Err(error) = &ended {
        // `systemctl status` shows it beside the exit code.
        tell(&[NotifyState::Stopping, NotifyState::Status(&engine::chain(error.as_ref()))]);
    }
    ended
}

async fn serve(global: &Global) -> anyhow::Result<Exit> {
    // Before anything else: a signal that comes during the start must not be lost.
    let mut hangup = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let loaded = global.load()?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let config = loaded.config;
    let mut running = tokio::select! {
        started = engine::start(&config) => started?,
        _ = terminate.recv() => return Ok(Exit::Fine),
        _ = interrupt.recv() => return Ok(Exit::Fine),
    };
    talk(&format!(
        "redflag {} runs: {}, {}, {}; health and metrics on http://{}",
        env!("CARGO_PKG_VERSION"),
        counted(config.feeds.len(), "feed"),
        counted(running.live.load().rules.len(), "rule"),
        counted(config.channels.len(), "channel"),
        running.http
    ));
    tell(&[NotifyState::Ready, NotifyState::Status(&running.status())]);
    if let Some(period) = supervisor::watchdog() {
        // Until the process ends: a stop that hangs must not hang for ever, either.
        tokio::spawn(supervisor::feed(running.progress.clone(), period, running.status_line()));
    }
    loop {
        tokio::select! {
            Some(()) = hangup.recv() => reload(&running, &config, global).await,
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            error = running.failed() => return Err(error.into()),
        }
    }
    tell(&[NotifyState::Stopping]);
    tracing::info!("stopping: what was received is judged, what is being sent is finished; a second signal stops at once");
    tokio::select! {
        stopped = running.stop() => stopped?,
        _ = terminate.recv() => at_once(),
        _ = interrupt.recv() => at_once(),
    }
    tracing::info!("stopped");
    Ok(Exit::Fine)
}

/// What is not done is on disk and goes on at the next start.
fn at_once() {
    talk("redflag: stopped at once; what was owed goes out after the next start");
    std::process::exit(Exit::Findings as i32);
}

async fn reload(running: &Running, config: &Config, global: &Global) {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "systemd can't be told of the reload"),
    }
    // Rules, lists and templates are read again. Settings are not; better to hear now than at the next start what it would bring.
    match global.load() {
        Ok(on_disk) if on_disk.config != *config => tracing::warn!("the configuration has changed; a restart puts it in force"),
        Ok(_) => {}
        Err(error) => {
            tracing::error!(error = engine::chain(error.as_ref()), "the configuration can't be used: a restart would fail");
        }
    }
    // The log and the operators' alarms tell how it went.
    let report: Option<Report> = running.reload(false).await;
    let state = match &report {
        Some(report) if report.is_good() => running.status(),
        _ => format!("{}; the last reload had errors, see the log", running.status()),
    };
    tell(&[NotifyState::Ready, NotifyState::Status(&state)]);
}
