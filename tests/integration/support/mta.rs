//! A real mail server: Debian's Postfix, an instance of its own on loopback with its own configuration, queue and mailboxes in a temporary
//! folder. Submission with STARTTLS on one port, TLS from the start on another; AUTH is Postfix's, and whom it lets in is asked of
//! [`doorman`], which speaks the protocol by which Postfix asks Dovecot.
//!
//! Needs root (Postfix changes its user) and the package in tests/setup/packages.txt.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use tempfile::TempDir;

pub const USERNAME: &str = "redflag";
pub const PASSWORD: &str = "s3cret-pass";
/// Has a mailbox.
pub const MAILBOX: &str = "kyc@redflag.test";
/// Is told to come back later, always.
pub const GREY: &str = "grey@redflag.test";

const PATIENCE: Duration = Duration::from_secs(20);
const DAEMONS: &str = "/usr/lib/postfix/sbin";

/// The running server. It stops when dropped.
pub struct Mta {
    folder: TempDir,
    master: Child,
    submission: u16,
    implicit: u16,
}

impl Mta {
    pub async fn start() -> Self {
        assert!(
            Path::new(DAEMONS).join("master").exists(),
            "Postfix is missing: apt-get install the packages in tests/setup/packages.txt"
        );
        let folder = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir().unwrap();
        let (submission, implicit) = free_ports();
        lay_out(folder.path(), submission, implicit);
        doorman(&folder.path().join("queue/private/auth"));
        let master = Command::new(Path::new(DAEMONS).join("master"))
            .arg("-c")
            .arg(folder.path().join("conf"))
            .arg("-d")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        let mta = Self { folder, master, submission, implicit };
        mta.until("the server answers", || greets(submission).then_some(())).await;
        mta
    }

    /// `smtp://` with STARTTLS.
    pub fn submission(&self) -> String {
        format!("smtp://localhost:{}", self.submission)
    }

    /// `smtps://`.
    pub fn implicit(&self) -> String {
        format!("smtps://localhost:{}", self.implicit)
    }

    /// The same server by an address that its certificate does not name.
    pub fn misnamed(&self) -> String {
        format!("smtp://127.0.0.1:{}", self.submission)
    }

    /// What signed the server's certificate.
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("conf/cert.pem")
    }

    /// The mails in the mailbox, oldest first, as soon as there are `count`.
    pub async fn mails(&self, count: usize) -> Vec<Vec<u8>> {
        self.until(&format!("{count} mails in the mailbox"), || {
            let mails = self.mailbox();
            (mails.len() >= count).then_some(mails)
        })
        .await
    }

    /// What lies in the mailbox now.
    pub fn mailbox(&self) -> Vec<Vec<u8>> {
        let Ok(entries) = fs::read_dir(self.folder.path().join("mail/kyc/new")) else { return Vec::new() };
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths.iter().map(|path| fs::read(path).unwrap()).collect()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    async fn until<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(start.elapsed() < PATIENCE, "waited in vain until {what}; the server's log:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Mta {
    fn drop(&mut self) {
        // The master passes it on to its own process group.
        let _ = Command::new("kill").arg(self.master.id().to_string()).status();
        let _ = self.master.wait();
    }
}

fn free_ports() -> (u16, u16) {
    let both = [TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap()];
    (both[0].local_addr().unwrap().port(), both[1].local_addr().unwrap().port())
}

fn greets(port: u16) -> bool {
    let Ok(stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).is_ok() && line.starts_with("220")
}

/// Folders, certificate and configuration.
fn lay_out(root: &Path, submission: u16, implicit: u16) {
    let shown = root.display();
    for folder in ["conf", "data", "mail", "queue/pid"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    for folder in ["active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private", "saved", "trace"] {
        make(&root.join("queue").join(folder), 0o700);
    }
    make(&root.join("queue/maildrop"), 0o730);
    make(&root.join("queue/public"), 0o710);
    let queues = fs::read_dir(root.join("queue")).unwrap().map(|entry| entry.unwrap().path());
    run(Command::new("chown").arg("postfix").arg(root.join("data")).args(queues.filter(|path| !path.ends_with("pid"))));
    run(Command::new("chgrp").arg("postdrop").arg(root.join("queue/maildrop")).arg(root.join("queue/public")));
    run(Command::new("chown").arg("nobody").arg(root.join("mail")));

    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(root.join("conf/cert.pem"), made.cert.pem()).unwrap();
    fs::write(root.join("conf/key.pem"), made.signing_key.serialize_pem()).unwrap();
    fs::write(
        root.join("conf/main.cf"),
        format!(
            "compatibility_level = 3.6\n\
             queue_directory = {shown}/queue\n\
             data_directory = {shown}/data\n\
             command_directory = /usr/sbin\n\
             daemon_directory = {DAEMONS}\n\
             mail_owner = postfix\n\
             setgid_group = postdrop\n\
             maillog_file = {shown}/log\n\
             maillog_file_prefixes = {shown}\n\
             inet_interfaces = 127.0.0.1\n\
             inet_protocols = ipv4\n\
             myhostname = mail.redflag.test\n\
             mydestination =\n\
             mynetworks =\n\
             default_transport = error:nothing leaves this machine\n\
             virtual_mailbox_domains = redflag.test\n\
             virtual_mailbox_base = {shown}/mail\n\
             virtual_mailbox_maps = inline:{{ {MAILBOX}=kyc/, {GREY}=grey/ }}\n\
             virtual_uid_maps = static:65534\n\
             virtual_gid_maps = static:65534\n\
             smtpd_tls_security_level = may\n\
             smtpd_tls_auth_only = yes\n\
             smtpd_tls_cert_file = {shown}/conf/cert.pem\n\
             smtpd_tls_key_file = {shown}/conf/key.pem\n\
             smtpd_sasl_auth_enable = yes\n\
             smtpd_sasl_type = dovecot\n\
             smtpd_sasl_path = private/auth\n\
             smtpd_relay_restrictions = permit_sasl_authenticated, reject\n\
             smtpd_recipient_restrictions = check_recipient_access inline:{{ {{ {GREY} = 450 4.7.1 come back later }} }},\n\
             \x20   permit_sasl_authenticated, reject\n"
        ),
    )
    .unwrap();
    fs::write(
        root.join("conf/master.cf"),
        format!(
            "127.0.0.1:{submission} inet n - n - - smtpd\n\
             127.0.0.1:{implicit} inet n - n - - smtpd\n\
             \x20 -o smtpd_tls_wrappermode=yes\n\
             cleanup unix n - n - 0 cleanup\n\
             qmgr unix n - n 300 1 qmgr\n\
             rewrite unix - - n - - trivial-rewrite\n\
             bounce unix - - n - 0 bounce\n\
             defer unix - - n - 0 bounce\n\
             trace unix - - n - 0 bounce\n\
             tlsmgr unix - - n 1000? 1 tlsmgr\n\
             proxymap unix - - n - - proxymap\n\
             virtual unix - n n - - virtual\n\
             error unix - - n - - error\n\
             retry unix - - n - - error\n\
             anvil unix - - n - 1 anvil\n\
             postlog unix-dgram n - n - 1 postlogd\n"
        ),
    )
    .unwrap();
}

fn make(folder: &Path, mode: u32) {
    fs::create_dir(folder).unwrap();
    fs::set_permissions(folder, fs::Permissions::from_mode(mode)).unwrap();
}

fn run(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?} failed; these tests run as root");
}

/// Decides who may log in: one name, one password, by PLAIN. Ends with the last connection of the test process.
fn doorman(socket: &Path) {
    let listener = UnixListener::bind(socket).unwrap();
    fs::set_permissions(socket, fs::Permissions::from_mode(0o666)).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            std::thread::spawn(move || answer(&stream));
        }
    });
}

/// `AUTH <id> PLAIN service=smtp … resp=<base64 of \0name\0password>`, tab-separated, answered by `OK <id> user=…` or `FAIL <id>`.
fn answer(mut stream: &UnixStream) -> std::io::Result<()> {
    stream.write_all(
        b"VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nSPID\t1\nCUID\t1\nCOOKIE\t0123456789abcdef0123456789abcdef\nDONE\n",
    )?;
    let right = BASE64_STANDARD.encode(format!("\0{USERNAME}\0{PASSWORD}"));
    for line in BufReader::new(stream).lines() {
        let line = line?;
        let fields: Vec<_> = line.split('\t').collect();
        if let ["AUTH", id, "PLAIN", rest @ ..] = fields.as_slice() {
            let known = rest.iter().any(|field| field.strip_prefix("resp=") == Some(&right));
            let verdict = if known { format!("OK\t{id}\tuser={USERNAME}\n") } else { format!("FAIL\t{id}\n") };
            stream.write_all(verdict.as_bytes())?;
        }
    }
    Ok(())
}
