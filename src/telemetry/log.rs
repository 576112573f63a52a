//! The log: one line an event on stderr, as text for people or JSON for collectors.

use tracing::Level;
use tracing_subscriber::{EnvFilter, filter::filter_fn, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Style {
    #[default]
    Text,
    Json,
}

/// Starts the log for the whole process. `$REDFLAG_LOG` filters it, `info` by default. A second call changes nothing.
pub fn start(style: Style) {
    let filter = EnvFilter::try_from_env("REDFLAG_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // Below info, libraries write what they handle: frames, credentials, the text of mails. No setting may let them.
    let ours = filter_fn(|metadata| metadata.target().starts_with("redflag") || *metadata.level() <= Level::INFO);
    let registry = tracing_subscriber::registry().with(filter).with(ours);
    // Under systemd the journal stamps each line itself.
    let journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let line = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let _ = match style {
        Style::Json => registry.with(line.json()).try_init(),
        Style::Text if journal => registry.with(line.without_time().with_ansi(false)).try_init(),
        Style::Text => registry.with(line.with_ansi(false)).try_init(),
    };
}
