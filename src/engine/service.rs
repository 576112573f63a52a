//! The life of the service: build everything from the configuration, start it in the order in which it depends on each other, stop it in reverse.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, broadcast, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::{
    auditor::Auditor,
    build, caretaker, control,
    crew::Crew,
    disk,
    health::{self, Health},
    heartbeat,
    intake::Intake,
    last_good,
    leak::Leak,
    lookups,
    pipeline::{BATCH, Control, Parts, Pipeline, first_asked},
    reload::{ReloadError, Reloader, Report, Request},
    rhythm::Rhythm,
    scout::{self, Found, Ground},
    senders::ChannelSender,
    warden::Warden,
    ways::{Source, Ways},
};
use crate::{
    alerts::{Alarm, Alarms, Desk},
    channels::{Channel, ChannelError},
    config::{ChannelConfig, Config, FeedConfig, secret::SecretError},
    model::{
        causes,
        ids::{Ids, Seq},
        names::{ChannelName, FeedName},
        severity::Severity,
        signal::{Heard, LastTry, Latest, Meter},
        steady::SteadyClock,
        time::Clock,
    },
    outbox,
    render::{self, Templates},
    rules::{evaluate, set::Generation},
    source::{Resume, concedus},
    store::{self, Journal, Outbox, Space, SqliteStore, StoreError},
    telemetry::{Metrics, Progress},
};

/// Frames that may wait between the sockets and the engine; a full queue stops reading the socket.
const SIGNALS: usize = 4_096;

/// How long stopping may take before what is left is abandoned (it is on disk, and goes on at the next start).
const DRAIN: Duration = Duration::from_secs(20);

/// Why the service could not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    #[error("the store can't be opened")]
    Store(#[from] StoreError),
    #[error(transparent)]
    Channel(#[from] ChannelError),
    #[error(transparent)]
    Feed(#[from] concedus::SourceError),
    #[error("feed `{feed}`: its password can't be read")]
    Password { feed: FeedName, source: SecretError },
    /// All that the configuration alone decides.
    #[error("{} settings can't be used{}", .0.len(), listed(.0))]
    Several(Vec<ServiceError>),
    #[error("the rules can't be loaded")]
    Rules(#[from] ReloadError),
    #[error("the templates can't be loaded: {0}")]
    Templates(String),
    #[error("the health page can't listen on {listen}")]
    Listen { listen: SocketAddr, source: std::io::Error },
    #[error("the engine's thread can't be started")]
    Thread(#[source] std::io::Error),
    #[error("the engine stopped")]
    Engine(#[source] StoreError),
    #[error("the engine broke")]
    EngineGone,
    #[error("{name} broke; the log has the place")]
    Broke { name: String },
    #[error("{name} ended, and nobody had told it to")]
    Ended { name: String },
    #[error("channel `{name}` stopped")]
    Dispatcher { name: ChannelName, source: StoreError },
}

fn listed(errors: &[ServiceError]) -> String {
    errors.iter().flat_map(|error| ["\n\n  ".to_owned(), causes::chain(error)]).collect()
}

/// A service that runs.
pub struct Running {
    pub store: SqliteStore,
    pub metrics: Arc<Metrics>,
    /// Whether the path gets on.
    pub progress: Progress,
    pub live: Arc<ArcSwap<Generation>>,
    /// Where `/healthz`, `/readyz` and `/metrics` are.
    pub http: SocketAddr,
    pub reports: broadcast::Sender<Report>,
    /// How the first load went.
    pub first_load: Report,
    /// Events that an earlier run had left unjudged.
    pub caught_up: u64,
    reload: mpsc::Sender<Request>,
    health: Health,
    stop_feeds: CancellationToken,
    stop_rest: CancellationToken,
    /// The feeds, and the reloader, which ends with them.
    feeds: Crew,
    engine: oneshot::Receiver<Result<(), StoreError>>,
    dispatchers: Crew,
    /// Everything else that goes on until the stop.
    watchers: Crew,
    /// None: it could not be served, which the operators were told.
    control: Option<control::Served>,
}

/// The configuration that a service starts with, and how it came about.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// Its files as they were read, to be kept for a start that finds them broken. None: not kept.
    pub texts: Vec<(PathBuf, String)>,
    /// What the operators have to be told of it.
    pub alarms: Vec<Alarm>,
    /// Its store is to last: that there was none is told.
    pub lasting: bool,
    /// Whether the start gets on, and then the path.
    pub progress: Progress,
    /// What somebody should look at for as long as this service runs.
    pub findings: Vec<String>,
}

/// Builds and starts everything; ready when it answers.
///
/// # Errors
/// When the configuration can't be used, or the store can't be opened.
pub async fn start(config: &Config) -> Result<Running, ServiceError> {
    start_from(config, Origin::default()).await
}

/// As [`start`].
///
/// # Errors
/// As [`start`].
pub async fn start_from(config: &Config, origin: Origin) -> Result<Running, ServiceError> {
    // A second call finds the provider installed: that is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let clock: Arc<dyn Clock> = Arc::new(SteadyClock::start());
    let metrics = Arc::new(Metrics::new());
    let Ways { channels, mut sources, beat } = Ways::build(config, &clock)?;
    let routes = build::routes(config, &channels);

    let space = Arc::new(Space::new(&config.data_dir, config.disk.reserve.0));
    // The store's lock before the port: who starts a second redflag is told that, and who holds it.
    let (store, opened) = open_store(config, &space, &clock, &origin.progress)?;
    let listener =
        health::bind(config.http.listen).await.map_err(|source| ServiceError::Listen { listen: config.http.listen, source })?;
    let http = listener.local_addr().map_err(|source| ServiceError::Listen { listen: config.http.listen, source })?;
    if opened.unclean {
        tracing::warn!("the last run did not stop by itself; going on from the journal");
    }
    let journal: Arc<dyn Journal> = Arc::new(store.clone());
    let outbox: Arc<dyn Outbox> = Arc::new(store.clone());

    let template_options =
        render::Options { directory: config.templates.directory.clone(), language: config.language, zone: config.time_zone.0 };
    let templates = last_good::templates(&template_options, store.reader())?;
    let live_templates = Arc::new(ArcSwap::from_pointee(templates));
    let live = Arc::new(ArcSwap::from_pointee(Generation::empty()));
    let (reports, _) = broadcast::channel(64);
    let reloader = Reloader {
        rules: config.rules.directory.clone(),
        watch: config.rules.watch,
        templates: template_options,
        declared: build::declared(config, &routes),
        live: Arc::clone(&live),
        live_templates: Arc::clone(&live_templates),
        journal: Arc::clone(&journal),
        clock: Arc::clone(&clock),
        metrics: Arc::clone(&metrics),
        reports: reports.clone(),
    };
    let (latest, first_load) = reloader.first(store.reader().last_generation()?).await?;
    let generation = Arc::clone(&latest.generation);
    live.store(Arc::clone(&generation));
    let ground = Ground {
        data_dir: config.data_dir.clone(),
        declared: build::declared(config, &routes),
        after: journal.judged()?,
        to: ahead(journal.as_ref(), opened.unclean)?,
        pairs: first_asked(journal.as_ref(), &generation, opened.unclean)?,
    };
    let scouted = if ground.is_empty() { Found::default() } else { scout::explore(&ground).await };

    let (signals, signals_in) = mpsc::channel(SIGNALS);
    let (control, control_in) = mpsc::channel(256);
    let (gaps, gaps_in) = watch::channel(());
    let wake: HashMap<ChannelName, Arc<Notify>> = channels.keys().map(|name| (name.clone(), Arc::new(Notify::new()))).collect();
    let received = build::received(config, journal.as_ref())?;
    let resumes: HashMap<FeedName, watch::Receiver<_>> =
        received.iter().map(|(feed, sender)| (feed.clone(), sender.subscribe())).collect();
    let meters: HashMap<FeedName, Meter> = config.feeds.keys().map(|feed| (feed.clone(), Meter::default())).collect();
    let tries: BTreeMap<FeedName, LastTry> = config.feeds.keys().map(|feed| (feed.clone(), LastTry::default())).collect();
    let leak = Leak::from_environment(config.environment);
    let auditor = Auditor::new(store.reader().clone(), Arc::clone(&clock), Arc::clone(&metrics), meters.clone())?;
    let last = journal.last()?;
    metrics.last_sequence.set(i64::try_from(last.0).unwrap_or(i64::MAX));
    let progress = origin.progress;
    let trouble = Arc::new(Notify::new());
    let warden = Warden::new(&store, routes.clone(), Arc::clone(&clock), Ids::random(), Arc::clone(&metrics))?;
    let parts = Parts {
        journal: Arc::clone(&journal),
        clock: Arc::clone(&clock),
        ids: Ids::random(),
        intake: Intake::new(
            Arc::clone(&journal),
            build::decoders(config),
            config.feeds.values().flat_map(build::declared_topics).cloned().collect(),
            last,
            Arc::clone(&clock),
            Ids::random(),
            Arc::clone(&metrics),
            meters.clone(),
            leak.clone(),
        )
        .listening(Rhythm::new(config.feeds.iter().filter_map(build::expected)))
        .trying(tries.clone()),
        desk: Desk::new(config.environment.as_str(), journal.quiet_periods()?),
        alarms: Alarms::new(config.environment.as_str(), config.operators.send_to.clone()),
        routes,
        generation,
        live: Arc::clone(&live),
        metrics: Arc::clone(&metrics),
        wake: wake.clone(),
        latest: received,
        signals: signals_in,
        control: control_in,
        leak,
        progress: progress.clone(),
        space: Arc::clone(&space),
        trouble: Arc::clone(&trouble),
        gaps,
        scouted,
    };
    let (stop_feeds, stop_rest) = (CancellationToken::new(), CancellationToken::new());
    let (caught_up, engine) = spawn_engine(parts, stop_feeds.clone()).await?;

    // Ahead of everything else that writes, so that it is told once, however often it is killed before that is on disk.
    if origin.lasting && store.reader().is_untouched()? {
        let _ = control.send(Control::Alarm(super::first::alarm(config))).await;
    }
    let health = Health::new(Arc::clone(&metrics), tries.clone(), Arc::clone(&clock));
    let mut watchers = Crew::from_environment(config.environment);
    watchers.spawn("the health page", &stop_rest, health.clone().serve(listener, stop_rest.clone()));
    let (notices, told) = mpsc::channel(256);
    watchers.spawn("telling of deliveries", &stop_feeds, tell_notices(told, control.clone()));
    let dispatchers =
        spawn_dispatchers(config, channels, &outbox, &live_templates, &clock, &wake, &notices, &progress, &stop_rest);
    let (reload, requests) = mpsc::channel(8);
    let last_load = Arc::new(ArcSwap::from_pointee(first_load.clone()));
    watchers.spawn("keeping the last report", &stop_rest, keep_last(Arc::clone(&last_load), reports.subscribe()));
    let live_parts = control::Live {
        metrics: Arc::clone(&metrics),
        health: health.clone(),
        generation: Arc::clone(&live),
        last_load,
        reload: reload.clone(),
        engine: control.clone(),
        wake,
        since: clock.now(),
        findings: origin.findings.into(),
    };
    let office = control::Office {
        config: Arc::new(config.clone()),
        store: store.clone(),
        clock: Arc::clone(&clock),
        live: Some(live_parts),
    };
    let control_socket = serve_control(office, &control, &stop_feeds).await;
    super::reload::announce(&first_load, &live.load(), &control).await;
    for alarm in origin.alarms {
        let _ = control.send(Control::Alarm(alarm)).await;
    }
    if !origin.texts.is_empty() {
        journal.keep_set(last_good::configuration(origin.texts, clock.now())).committed().await?;
    }
    // Told once, however often it is killed before that is on disk.
    for aside in store.reader().untold_set_aside(clock.now() - chrono::TimeDelta::days(7))? {
        let _ = control.send(Control::Alarm(super::damage::alarm(&aside))).await;
    }
    let owed = store.reader().owed()?.into_iter().filter(|(channel, _)| !config.channels.contains_key(channel));
    for (channel, count) in owed {
        tracing::error!(%channel, count, "deliveries are owed on a channel that the configuration no longer has");
        // The engine is gone only when it broke, and that ends the service.
        let _ = control.send(Control::Alarm(stranded(&channel, count))).await;
    }
    let alarms = control.clone();
    watchers.spawn("the warden", &stop_feeds, warden.run(control.clone(), trouble, stop_feeds.clone()));
    let disk = disk::Watch::new(space, config.disk, Arc::clone(&clock), Arc::clone(&metrics), progress.clone());
    watchers.spawn("the watch of the disk", &stop_rest, disk.run(control.clone(), stop_rest.clone()));
    let caretaker = caretaker::run(config.retention, store.clone(), Arc::clone(&clock), stop_feeds.clone());
    watchers.spawn("the caretaker", &stop_feeds, caretaker);
    if let (Some(beat), Some(heartbeat)) = (beat, &config.heartbeat) {
        let every = heartbeat.every.get();
        let beats = heartbeat::run(beat, every, store.clone(), progress.clone(), Arc::clone(&metrics), stop_feeds.clone());
        watchers.spawn("the heartbeat", &stop_feeds, beats);
    }
    watchers.spawn("the auditor", &stop_feeds, auditor.run(control.clone(), stop_feeds.clone()));
    let look_ups = look_ups(config, &mut sources, &store, &clock, &gaps_in, &signals, &meters);
    let mut feeds = Crew::from_environment(config.environment);
    spawn_sources(&mut feeds, sources, journal.as_ref(), resumes, &meters, &tries, &signals, &alarms, &stop_feeds)?;
    feeds.spawn("the reloader", &stop_feeds, reloader.run(latest, control, requests, stop_feeds.clone()));
    for work in look_ups {
        feeds.spawn(format!("the look-ups of feed {}", work.feed), &stop_feeds, work.run(stop_feeds.clone()));
    }
    drop(signals);
    health.set_ready(true);
    Ok(Running {
        store,
        metrics,
        progress,
        live,
        http,
        reports,
        first_load,
        caught_up,
        reload,
        health,
        stop_feeds,
        stop_rest,
        feeds,
        engine,
        dispatchers,
        watchers,
        control: control_socket,
    })
}

/// Who looks up what a gap may have swallowed, for each feed whose configuration says so.
fn look_ups(
    config: &Config,
    sources: &mut [(FeedName, Source)],
    store: &SqliteStore,
    clock: &Arc<dyn Clock>,
    gaps: &watch::Receiver<()>,
    signals: &mpsc::Sender<Heard>,
    meters: &HashMap<FeedName, Meter>,
) -> Vec<lookups::Work> {
    let work = |(feed, source): &mut (FeedName, Source)| {
        let (Source::Concedus(source), Some(FeedConfig::Concedus(settings))) = (source, config.feeds.get(feed)) else {
            return None;
        };
        Some(lookups::Work {
            feed: feed.clone(),
            config: settings.lookups.clone()?,
            client: source.lookups()?,
            reader: store.reader().clone(),
            clock: Arc::clone(clock),
            keep: config.retention.journal,
            gaps: gaps.clone(),
            signals: signals.clone(),
            meter: meters.get(feed).cloned().unwrap_or_default(),
        })
    };
    sources.iter_mut().filter_map(work).collect()
}

/// Keeps what was loaded last, for whoever asks how that went.
async fn keep_last(last: Arc<ArcSwap<Report>>, mut reports: broadcast::Receiver<Report>) {
    loop {
        match reports.recv().await {
            Ok(report) => last.store(Arc::new(report)),
            // The newer ones come.
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// Hands what the dispatchers tell on to the engine.
async fn tell_notices(mut notices: mpsc::Receiver<outbox::Notice>, engine: mpsc::Sender<Control>) {
    while let Some(notice) = notices.recv().await {
        if engine.send(Control::Notice(notice)).await.is_err() {
            return;
        }
    }
}

/// Alerts go out without it, so a socket that can't be served is an alarm and no reason not to start.
async fn serve_control(
    office: control::Office,
    engine: &mpsc::Sender<Control>,
    stop: &CancellationToken,
) -> Option<control::Served> {
    match control::serve(office, stop.clone()) {
        Ok(served) => Some(served),
        Err(error) => {
            tracing::error!(%error, "no command can reach this service");
            let alarm = Alarm::new("control socket", Severity::High, "The control socket can't be served")
                .note(format!("{error}."))
                .note("Alerts go out as ever; `redflag status`, `alerts`, `outbox` and `reload` can't reach this service. Mend the cause and restart it.");
            let _ = engine.send(Control::Alarm(alarm)).await;
            None
        }
    }
}

impl Running {
    /// How it is, in one line.
    #[must_use]
    pub fn status(&self) -> String {
        self.status_line()()
    }

    /// [`Running::status`] for whoever outlives the borrow.
    pub fn status_line(&self) -> impl Fn() -> String + Send + 'static {
        let (live, health) = (Arc::clone(&self.live), self.health.clone());
        move || {
            let live = live.load();
            let count = live.rules.len();
            let rules = format!("{count} rule{} live, generation {}", if count == 1 { "" } else { "s" }, live.hash.short());
            let reasons = health.reasons();
            if reasons.is_empty() { rules } else { format!("{rules}; not ready: {}", reasons.join("; ")) }
        }
    }

    /// Asks for a reload. The answer is none when the service is stopping or the load failed as a whole (the log and an alarm say why).
    pub async fn reload(&self, confirm: bool) -> Option<Report> {
        let (answer, report) = oneshot::channel();
        self.reload.send(Request { confirm, answer: Some(answer) }).await.ok()?;
        report.await.ok()
    }

    /// Resolves when the engine or any long-lived task has stopped by itself, which is always an error.
    pub async fn failed(&mut self) -> ServiceError {
        let socket = async {
            match &mut self.control {
                Some(socket) => socket.ended().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // The engine first: who works for it ends when it is gone.
            biased;
            ended = &mut self.engine => match ended {
                Ok(Err(error)) => ServiceError::Engine(error),
                Ok(Ok(())) | Err(_) => ServiceError::EngineGone,
            },
            error = self.feeds.failed() => error,
            error = self.dispatchers.failed() => error,
            error = self.watchers.failed() => error,
            () = socket => ServiceError::Ended { name: "the control socket".to_owned() },
        }
    }

    /// Stops in the order of the data path: the feeds, the engine, the channels, the store. What can't be sent within the limit stays owed.
    ///
    /// # Errors
    /// When the store failed on the way.
    pub async fn stop(mut self) -> Result<(), ServiceError> {
        self.health.set_ready(false);
        self.stop_feeds.cancel();
        if let Some(control) = &mut self.control {
            control.ended().await;
        }
        let drained = tokio::time::timeout(DRAIN, async {
            while let Some(ended) = self.feeds.next().await {
                if let Err(error) = ended {
                    tracing::error!(%error, "while stopping");
                }
            }
            self.engine.await.unwrap_or(Err(StoreError::WriterGone)).map_err(ServiceError::Engine)
        })
        .await;
        self.stop_rest.cancel();
        if let Ok(result) = drained {
            result?;
        } else {
            tracing::warn!(
                seconds = DRAIN.as_secs(),
                "the engine did not drain in time; the journal goes on from here at the next start"
            );
        }
        let dispatchers = async {
            while let Some(ended) = self.dispatchers.next().await {
                match ended {
                    Err(error @ ServiceError::Broke { .. }) => tracing::error!(%error, "while stopping"),
                    ended => ended?,
                }
            }
            Ok::<_, ServiceError>(())
        };
        if let Ok(result) = tokio::time::timeout(DRAIN, dispatchers).await {
            result?;
        } else {
            tracing::warn!("an attempt did not end in time; its delivery stays owed");
        }
        self.store.close().committed().await?;
        Ok(())
    }
}

/// How far judging may have been when the last run ended: two batches behind the cursor at most. After a clean stop there is nothing to fear.
fn ahead(journal: &dyn Journal, unclean: bool) -> Result<Seq, StoreError> {
    let judged = journal.judged()?;
    if !unclean {
        return Ok(judged);
    }
    Ok(journal.last()?.min(Seq(judged.0 + 2 * BATCH as u64)))
}

/// Opens the store, and makes its reserve where there is room for it. On a disk that is full already the reserve is given up at once.
fn open_store(
    config: &Config,
    space: &Arc<Space>,
    clock: &Arc<dyn Clock>,
    progress: &Progress,
) -> Result<(SqliteStore, store::Opened), ServiceError> {
    // Of the opening only, however long the store keeps its options: a loop that is over must not look like one that hangs.
    let checking = Arc::new(progress.hand("checking the store"));
    let options = || {
        let checking = Arc::downgrade(&checking);
        let options = store::Options::new(config.data_dir.clone()).clock(Arc::clone(clock)).space(Arc::clone(space));
        options.on_checked(move || {
            if let Some(checking) = checking.upgrade() {
                checking.tick();
            }
        })
    };
    let (store, opened) = match SqliteStore::open(options()) {
        Err(error) if error.is_full() && space.ran_out() => SqliteStore::open(options())?,
        other => other?,
    };
    if !space.is_short() {
        match space.set_up() {
            Ok(true) => {}
            Ok(false) => tracing::warn!("there is no room for the reserve ([disk] reserve)"),
            Err(source) if store::breaks_trust(&source) => {
                return Err(StoreError::Guard { operation: "making the reserve", source }.into());
            }
            Err(error) => tracing::warn!(%error, "the reserve can't be made ([disk] reserve)"),
        }
    }
    Ok((store, opened))
}

/// Deliveries that no dispatcher will ever take.
fn stranded(channel: &ChannelName, count: u64) -> Alarm {
    Alarm::new(
        format!("stranded {channel}"),
        Severity::High,
        format!("Channel {channel} is gone from the configuration and owes {count} deliveries"),
    )
    .note("They were written before the channel went, and nothing sends them now.")
    .note("Put the channel back until they are sent, or see to it that their readers learn of them.")
}

/// Starts the engine's thread; answers when it has judged what an earlier run left.
async fn spawn_engine(
    parts: Parts,
    stop: CancellationToken,
) -> Result<(u64, oneshot::Receiver<Result<(), StoreError>>), ServiceError> {
    let (ended, engine) = oneshot::channel();
    let (caught_up, ready) = oneshot::channel();
    evaluate::thread()
        .spawn(move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return tracing::error!(%error, "the engine's runtime can't be built"),
            };
            // It goes only after its end is told: who works for it ends then, and that would look like the cause.
            let mut pipeline = Pipeline::new(parts);
            let result = runtime.block_on(async {
                let count = pipeline.catch_up().await?;
                // Nobody waits any more only when the start was given up.
                let _ = caught_up.send(count);
                pipeline.run(stop).await
            });
            if let Err(error) = &result {
                tracing::error!(error = error as &dyn std::error::Error, "the engine stops: the store failed");
            }
            let _ = ended.send(result);
        })
        .map_err(ServiceError::Thread)?;
    match ready.await {
        Ok(count) => Ok((count, engine)),
        Err(_) => Err(match engine.await {
            Ok(Err(error)) => ServiceError::Engine(error),
            _ => ServiceError::EngineGone,
        }),
    }
}

#[expect(clippy::too_many_arguments, reason = "one call site; a struct would only rename them")]
fn spawn_dispatchers(
    config: &Config,
    channels: BTreeMap<ChannelName, Arc<dyn Channel>>,
    outbox: &Arc<dyn Outbox>,
    templates: &Arc<ArcSwap<Templates>>,
    clock: &Arc<dyn Clock>,
    wake: &HashMap<ChannelName, Arc<Notify>>,
    notices: &mpsc::Sender<outbox::Notice>,
    progress: &Progress,
    stop: &CancellationToken,
) -> Crew {
    let mut dispatchers = Crew::from_environment(config.environment);
    for (name, channel) in channels {
        let Some(settings) = config.channels.get(&name) else { continue };
        let parallel = match settings {
            ChannelConfig::Email(email) => usize::from(email.connections.max(1)),
            ChannelConfig::Slack(_) | ChannelConfig::Webhook(_) | ChannelConfig::File(_) => 4,
        };
        let options = outbox::Options { channel: name.clone(), retry: *settings.retry(), parallel };
        let work = outbox::Work {
            outbox: Arc::clone(outbox),
            sender: Arc::new(ChannelSender { channel, templates: Arc::clone(templates) }),
            clock: Arc::clone(clock),
            ids: Ids::random(),
            wake: wake.get(&name).cloned().unwrap_or_default(),
            notices: notices.clone(),
            progress: progress.hand(format!("channel {name}")),
        };
        let (task, stop) = (format!("channel {name}"), stop.clone());
        dispatchers.spawn_finite(task, async move {
            outbox::run(options, work, stop).await.map_err(|source| ServiceError::Dispatcher { name, source })
        });
    }
    dispatchers
}

#[expect(clippy::too_many_arguments, reason = "one call site; a struct would only rename them")]
fn spawn_sources(
    feeds: &mut Crew,
    sources: Vec<(FeedName, Source)>,
    journal: &dyn Journal,
    mut resumes: HashMap<FeedName, watch::Receiver<Latest>>,
    meters: &HashMap<FeedName, Meter>,
    tries: &BTreeMap<FeedName, LastTry>,
    signals: &mpsc::Sender<Heard>,
    control: &mpsc::Sender<Control>,
    stop: &CancellationToken,
) -> Result<(), StoreError> {
    for (name, source) in sources {
        let Some(latest) = resumes.remove(&name) else { continue };
        let meter = meters.get(&name).cloned().unwrap_or_default();
        let last_try = tries.get(&name).cloned().unwrap_or_default();
        let resume = Resume { latest, position: journal.position(&name)?, meter, last_try: last_try.clone() };
        let (signals, control, stop) = (signals.clone(), control.clone(), stop.clone());
        let task = format!("feed {name}");
        match source {
            Source::Concedus(source) => feeds.spawn(task, &stop.clone(), source.run(resume, signals, stop)),
            Source::Jsonl(source) => feeds.spawn_finite(task, async move {
                if let Err(error) = source.run(resume, signals, stop).await {
                    tracing::error!(feed = %name, error = &error as &dyn std::error::Error, "the feed can't be read");
                    last_try.failed(causes::chain(&error), None);
                    let alarm = Alarm::new(format!("feed {name}"), Severity::Critical, format!("Feed {name} can't be read"))
                        .note(format!("{}.", causes::chain(&error)))
                        .note("No events arrive from it. Mend the cause and restart redflag.");
                    let _ = control.send(Control::Alarm(alarm)).await;
                }
                Ok(())
            }),
        }
    }
    Ok(())
}
