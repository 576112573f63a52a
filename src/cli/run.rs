//! `redflag run`: the service under its supervisor. Tells systemd how it is, reloads on SIGHUP, drains on SIGTERM and SIGINT.

use clap::Args;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};

use super::{
    Exit, Global, counted, exit_of,
    supervisor::{self, tell},
    talk,
};
use crate::{
    alerts::Alarm,
    config::{self, Config, ConfigError, Problem},
    engine::{self, Origin, Running, ServiceError, reload::Report},
    model::{causes, severity::Severity, turn::Kept},
    store::SqliteStore,
    telemetry::Progress,
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
        tell(&[NotifyState::Stopping, NotifyState::Status(&reasons(error).join("; "))]);
    }
    ended
}

async fn serve(global: &Global) -> anyhow::Result<Exit> {
    // Before anything else: a signal that comes during the start must not be lost.
    let mut hangup = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let progress = Progress::default();
    let extending = tokio::spawn(supervisor::extend(progress.clone()));
    let started = tokio::select! {
        started = start(global, progress) => started,
        _ = terminate.recv() => return Ok(Exit::Fine),
        _ = interrupt.recv() => return Ok(Exit::Fine),
    };
    extending.abort();
    let (config, mut running) = started?;
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

/// Starts by the configuration, or by the last good one where that can't be used.
async fn start(global: &Global, progress: Progress) -> anyhow::Result<(Config, Running)> {
    let refused = match global.load() {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                tracing::warn!("{warning}");
            }
            let origin = Origin { texts: loaded.texts, lasting: true, progress: progress.clone(), ..Origin::default() };
            match engine::start_from(&loaded.config, origin).await.map_err(anyhow::Error::from) {
                Ok(running) => return Ok((loaded.config, running)),
                Err(error) if exit_of(&error) == Exit::Config => error,
                Err(error) => return Err(error),
            }
        }
        Err(error) => error,
    };
    let Some(config) = last_good(global) else { return Err(refused) };
    let reasons = reasons(&refused);
    tracing::error!(problems = reasons.len(), "the configuration can't be used: redflag runs on its last good one");
    for reason in &reasons {
        tracing::error!("the configuration can't be used: {reason}");
    }
    let mut alarm = Alarm::new("configuration", Severity::High, "The configuration can't be used; the last good one is in force");
    for reason in reasons.iter().take(NAMED) {
        alarm = alarm.note(reason);
    }
    if reasons.len() > NAMED {
        alarm = alarm.note(format!("There are {} more.", reasons.len() - NAMED));
    }
    let alarm = alarm.note(
        "Nothing of what was changed since is in force. `redflag config show` tells what is wrong, the log which secret can't be read; mend it and restart.",
    );
    let finding = format!(
        "runs on its last good configuration: the one in the files can't be used ({}), and nothing of it is in force; mend it and restart: {}",
        counted(reasons.len(), "problem"),
        reasons.first().map_or("", String::as_str)
    );
    let origin = Origin { texts: Vec::new(), alarms: vec![alarm], findings: vec![finding], lasting: true, progress };
    match engine::start_from(&config, origin).await {
        Ok(running) => Ok((config, running)),
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "nor can the last good configuration be used");
            Err(refused)
        }
    }
}

/// So many mistakes are named in one alarm.
const NAMED: usize = 10;

/// Each thing that is wrong, as a line of its own.
fn reasons(error: &anyhow::Error) -> Vec<String> {
    if let Some(ConfigError::Problems(problems)) = error.downcast_ref() {
        return problems.iter().map(Problem::line).collect();
    }
    if let Some(ServiceError::Several(errors)) = error.downcast_ref() {
        return errors.iter().map(|error| causes::chain(error)).collect();
    }
    vec![causes::chain(error.as_ref())]
}

/// What this configuration said when the service last started by it. It is in the store, wherever that may be.
fn last_good(global: &Global) -> Option<Config> {
    let lookup = global.lookup();
    let main = std::path::absolute(lookup.main_file()?).ok()?;
    let texts = config::data_dirs(&lookup).iter().find_map(|folder| {
        let kept = SqliteStore::read_only(folder).ok()?.last_kept(Kept::Configuration).ok()??;
        engine::kept_configuration(kept, &main)
    })?;
    Some(config::load_texts(&lookup, texts).ok()?.config)
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
            for reason in reasons(&error) {
                tracing::error!("the configuration can't be used, a restart would fail: {reason}");
            }
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
