//! The command's end: asks the running service, or answers itself while nothing runs.

use std::{
    io,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use super::{
    Answer, Ask, Office, Refusal, Reply, Request, VERSION, Why, people,
    socket::{RUN, SOCKET},
    store_of,
};
use crate::{
    config::Config,
    model::time::SystemClock,
    store::{Holder, Options, SqliteStore, StoreError},
};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The socket is there, and it is not for this user.
    #[error("the control socket {} is not for {user}: run the command as its owner or as root, or join the group of [control]", path.display())]
    Denied { path: PathBuf, user: String },
    #[error(
        "redflag ({holder}) holds the store, and does not answer on its control socket: it starts or stops; try again in a moment"
    )]
    Silent { holder: Holder },
    #[error("the control socket {} broke off", path.display())]
    Broken { path: PathBuf, source: io::Error },
    #[error("redflag does not run, and its store can't be opened")]
    Store(#[source] StoreError),
    #[error("redflag does not run, and its configuration can't be used: `redflag config show` says why")]
    NoConfig,
}

/// An answer, and where it is from.
#[derive(Debug)]
pub struct Answered<T> {
    pub answer: T,
    /// Whether a running service gave it.
    pub live: bool,
}

/// Asks whoever owns the store in `data_dir`. `config` is what a command without a service works by; a service has its own. `what` is the
/// command, for the lock and whoever finds it taken. Blocks.
///
/// # Errors
/// Nobody can be asked, or the answer is no.
pub fn ask<T: DeserializeOwned>(
    data_dir: &Path,
    config: Option<&Config>,
    what: &str,
    ask: Ask,
) -> Result<Answered<T>, ClientError> {
    let request = Request { version: VERSION, store: store_of(data_dir), claims: Some(people::caller()), ask };
    let mut denied = None;
    for path in places(data_dir) {
        match over(&path, &request) {
            Ok(Answer::Ok(json)) => return Ok(Answered { answer: read(json)?, live: true }),
            Ok(Answer::Refused(refusal)) if refusal.why == Why::OtherStore => {}
            Ok(Answer::Refused(refusal)) => return Err(refusal.into()),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => denied = Some(path),
            // Nothing there, or what a run left that is gone.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {}
            Err(source) => return Err(ClientError::Broken { path, source }),
        }
    }
    match directly(config, what, request.ask) {
        Ok(json) => Ok(Answered { answer: read(json)?, live: false }),
        // The folder is closed to whoever may not open the socket either: the socket is the better explanation.
        Err(ClientError::Store(error)) if denied.is_some() && !matches!(error, StoreError::SecondOwner { .. }) => {
            Err(denied.map_or(ClientError::Store(error), denied_to))
        }
        Err(ClientError::Silent { .. }) if denied.is_some() => Err(denied_to(denied.unwrap_or_default())),
        Err(error) => Err(error),
    }
}

fn denied_to(path: PathBuf) -> ClientError {
    ClientError::Denied { path, user: people::myself().name }
}

/// Where the owner said it listens, and where it would.
fn places(data_dir: &Path) -> Vec<PathBuf> {
    let told = Holder::of(data_dir).and_then(|holder| holder.control);
    let mut places: Vec<PathBuf> = told.into_iter().chain([Path::new(RUN).join(SOCKET), data_dir.join(SOCKET)]).collect();
    let mut seen = std::collections::HashSet::new();
    places.retain(|place| seen.insert(place.clone()));
    places
}

fn over(path: &Path, request: &Request) -> io::Result<Answer> {
    let mut stream = UnixStream::connect(path)?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut reply = String::new();
    BufReader::new(stream).read_line(&mut reply)?;
    if reply.is_empty() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it closed without an answer"));
    }
    let reply: Reply = serde_json::from_str(&reply)?;
    Ok(reply.answer)
}

/// Nothing runs: the command is the owner for a moment.
fn directly(config: Option<&Config>, what: &str, ask: Ask) -> Result<Json, ClientError> {
    let config = config.ok_or(ClientError::NoConfig)?;
    let opened = SqliteStore::open(Options::new(config.data_dir.clone()).visiting(what));
    let (store, _) = opened.map_err(|error| match error {
        StoreError::SecondOwner { holder: Some(holder), .. } => ClientError::Silent { holder: *holder },
        other => ClientError::Store(other),
    })?;
    let office = Office { config: Arc::new(config.clone()), store: store.clone(), clock: Arc::new(SystemClock), live: None };
    let answer = office.answer(ask, &people::myself());
    store.close().wait().map_err(ClientError::Store)?;
    Ok(answer?)
}

fn read<T: DeserializeOwned>(json: Json) -> Result<T, Refusal> {
    serde_json::from_value(json).map_err(|error| Refusal::failed(&error))
}
