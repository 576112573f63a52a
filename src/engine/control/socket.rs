//! The socket of a running service: where it lies, who may open it, one question and one answer a connection.
//!
//! It is made in a folder that nobody else may enter, gets its owner and mode there, and is then renamed to its place: at no moment may
//! the wrong people open it, and what an earlier run left is replaced in the same step.

use std::{
    fs, io,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::{
        fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
        net::UnixStream,
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::{UnixListener, unix::UCred},
    sync::Semaphore,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::{Answer, Office, Refusal, Reply, Request, VERSION, Why, people, store_of};
use crate::{config::Config, store::SqliteStore};

/// The socket's name in its folder.
pub const SOCKET: &str = "control.sock";

/// systemd makes it for the service (`RuntimeDirectory=redflag`), or an administrator by hand.
pub const RUN: &str = "/run/redflag";

/// Conversations at once; who comes then waits.
const AT_ONCE: usize = 8;

/// The longest question.
const LONGEST: u64 = 1 << 20;

/// How long the other end may take to ask, and to take the answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A socket that is served.
#[derive(Debug)]
pub struct Served {
    pub path: PathBuf,
    /// None: it is gone.
    task: Option<JoinHandle<()>>,
}

impl Served {
    /// Waits until it is gone, which it is only after the stop that it was given, or when it broke.
    pub async fn ended(&mut self) {
        if let Some(task) = &mut self.task {
            // A task that broke has nothing left to close.
            drop(task.await);
            self.task = None;
        }
    }
}

/// Binds the socket and serves it until `stop`.
///
/// # Errors
/// No folder takes it, or the configured group is not there.
pub fn serve(office: Office, stop: CancellationToken) -> io::Result<Served> {
    let folder = folder(&office.config);
    let path = folder.join(SOCKET);
    let group = office.config.control.group.as_deref();
    let named = |error: io::Error| io::Error::new(error.kind(), format!("the control socket {}: {error}", path.display()));
    let listener = bind(&folder, &path, group).map_err(named)?;
    if group.is_some() && folder == office.config.data_dir {
        tracing::warn!(path = %path.display(), "the control socket lies in data_dir, which its group may not enter; give the service a {RUN}");
    }
    if let Err(error) = SqliteStore::announce(&office.config.data_dir, &path) {
        tracing::warn!(error = &error as &dyn std::error::Error, "commands find the control socket only in its usual places");
    }
    tracing::info!(path = %path.display(), "commands are taken here");
    let task = tokio::spawn(accept(listener, path.clone(), office, stop));
    Ok(Served { path, task: Some(task) })
}

/// Where it belongs: the service's folder below /run, else with the store.
fn folder(config: &Config) -> PathBuf {
    let given = std::env::var("RUNTIME_DIRECTORY").ok();
    let given = given.as_deref().and_then(|folders| folders.split(':').next()).filter(|folder| !folder.is_empty());
    let usable = |folder: &Path| {
        let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
        // One that answers belongs to another service.
        folder.is_dir() && rustix::fs::access(folder, access).is_ok() && UnixStream::connect(folder.join(SOCKET)).is_err()
    };
    [given, Some(RUN)].into_iter().flatten().map(PathBuf::from).find(|folder| usable(folder)).unwrap_or(config.data_dir.clone())
}

fn bind(folder: &Path, path: &Path, group: Option<&str>) -> io::Result<UnixListener> {
    let gid = group
        .map(|name| people::group(name).ok_or_else(|| io::Error::other(format!("/etc/group has no group `{name}`"))))
        .transpose()?;
    let private = folder.join(format!(".{}", std::process::id()));
    // What a process of the same number left.
    let _ = fs::remove_dir_all(&private);
    fs::DirBuilder::new().mode(0o700).create(&private)?;
    let beside = private.join("s");
    let bound = UnixListener::bind(&beside).and_then(|listener| {
        fs::set_permissions(&beside, fs::Permissions::from_mode(if gid.is_some() { 0o660 } else { 0o600 }))?;
        // A sandbox may refuse even what would change nothing: the shipped unit does, and has the group as its own (`Group=`).
        if let (Some(gid), Some(name)) = (gid, group)
            && fs::metadata(&beside)?.gid() != gid
        {
            std::os::unix::fs::chown(&beside, None, Some(gid)).map_err(|error| {
                io::Error::new(
                    error.kind(),
                    format!("it can't be given to the group `{name}` ({error}); set Group={name} in the unit"),
                )
            })?;
        }
        fs::rename(&beside, path)?;
        Ok(listener)
    });
    let _ = fs::remove_dir_all(&private);
    bound
}

async fn accept(listener: UnixListener, path: PathBuf, office: Office, stop: CancellationToken) {
    let free = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        let ready = accepted.and_then(|(stream, _)| {
            let peer = stream.peer_cred()?;
            let stream = stream.into_std()?;
            stream.set_nonblocking(false)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok((stream, peer))
        });
        match ready {
            Ok((stream, peer)) => {
                // Never closed.
                let Ok(place) = Arc::clone(&free).acquire_owned().await else { break };
                let office = office.clone();
                tokio::task::spawn_blocking(move || {
                    converse(&stream, peer, &office);
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a command could not be taken");
                // Too many open files don't go away by asking at once.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    // The lock is still held: nobody else's socket can be here.
    let _ = fs::remove_file(&path);
}

/// One question, one answer. Whoever hangs up early gets none; what was asked is done all the same.
fn converse(stream: &UnixStream, peer: UCred, office: &Office) {
    let answer = match read(stream) {
        Ok(request) => match answer(request, peer, office) {
            Ok(json) => Answer::Ok(json),
            Err(refusal) => Answer::Refused(refusal),
        },
        Err(error) => Answer::Refused(Refusal { why: Why::Failed, text: format!("the question can't be read: {error}") }),
    };
    let reply = Reply { version: VERSION, answer };
    let written = serde_json::to_vec(&reply).map_err(io::Error::from).and_then(|mut line| {
        line.push(b'\n');
        let mut stream = stream;
        stream.write_all(&line)
    });
    if let Err(error) = written {
        tracing::debug!(%error, "a command did not wait for its answer");
    }
}

fn read(stream: &UnixStream) -> io::Result<Json> {
    let mut line = String::new();
    BufReader::new(stream.take(LONGEST)).read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}

type Json = serde_json::Value;

fn answer(request: Json, peer: UCred, office: &Office) -> Result<Json, Refusal> {
    // Before anything else of it is looked at: another version may ask in other words.
    if request["version"] != VERSION {
        let text =
            format!("this redflag speaks version {VERSION} of its control protocol, the command another: use the same version");
        return Err(Refusal { why: Why::Version, text });
    }
    let request: Request = serde_json::from_value(request)
        .map_err(|error| Refusal { why: Why::Failed, text: format!("the question can't be read: {error}") })?;
    let store = store_of(&office.config.data_dir);
    // Whoever may not look into the folders on the way names it as the settings do: with `DynamicUser=` that is a link to a closed one.
    let named = std::path::absolute(&office.config.data_dir).ok();
    if request.store != store && Some(&request.store) != named.as_ref() {
        return Err(Refusal { why: Why::OtherStore, text: format!("this redflag serves {}", store.display()) });
    }
    let actor = people::peer(peer.uid(), peer.pid().and_then(|pid| u32::try_from(pid).ok()), request.claims.as_deref());
    office.answer(request.ask, &actor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_socket_is_for_its_owner_or_for_a_group_and_replaces_what_was_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(SOCKET);
        drop(bind(folder.path(), &path, None).unwrap());
        assert!(UnixStream::connect(&path).is_err(), "nobody listens");
        // A group that this process is a member of, whoever runs the test.
        let gid = rustix::process::getegid().as_raw();
        let groups = fs::read_to_string("/etc/group").unwrap();
        let mine = groups.lines().find(|line| line.split(':').nth(2) == Some(&gid.to_string())).unwrap();
        let _listener = bind(folder.path(), &path, mine.split(':').next()).unwrap();
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!((metadata.mode() & 0o777, metadata.gid()), (0o660, gid));
        assert!(UnixStream::connect(&path).is_ok());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let error = bind(folder.path(), &path, Some("no-such-group")).unwrap_err();
        assert!(error.to_string().contains("/etc/group has no group `no-such-group`"), "{error}");
    }
}
