//! One file a message in a folder: the archive, and the last way out when every server is down.
//!
//! A file is whole or absent (written beside, synced, renamed, the folder synced). Its name comes from the delivery, so that a second
//! attempt replaces the first. Readable by the owner alone: it may hold personal data.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use lettre::message::Mailbox;

use super::{Channel, ChannelError, chain, eml};
use crate::{
    config::{FileConfig, channels::FileFormat},
    model::{
        delivery::{Outcome, Parcel},
        ids::DeliveryId,
        names::ChannelName,
        rendered::{Clearance, Form, Rendered},
    },
};

/// The file channel.
pub struct Folder {
    name: ChannelName,
    path: PathBuf,
    format: FileFormat,
    from: Mailbox,
    to: Vec<Mailbox>,
    clearance: Clearance,
    recipients: [String; 1],
}

impl Folder {
    /// # Errors
    /// When an address is none, or the folder can't be made.
    pub fn new(name: &ChannelName, config: &FileConfig) -> Result<Self, ChannelError> {
        let from = config.from.as_deref().unwrap_or("redflag@localhost");
        let from = eml::mailbox(from).map_err(|problem| ChannelError::setting(name, "from", problem))?;
        let mut to = Vec::with_capacity(config.to.len().max(1));
        for text in &config.to {
            to.push(eml::mailbox(text).map_err(|problem| ChannelError::setting(name, "to", problem))?);
        }
        if to.is_empty() {
            to.push(from.clone());
        }
        fs::create_dir_all(&config.path).map_err(|source| ChannelError::Folder {
            channel: name.clone(),
            path: config.path.clone(),
            source,
        })?;
        Ok(Self {
            recipients: [name.to_string()],
            name: name.clone(),
            path: config.path.clone(),
            format: config.format,
            from,
            to,
            clearance: config.clearance,
        })
    }

    fn contents(&self, parcel: &Parcel) -> Result<(Vec<u8>, &'static str), String> {
        match &parcel.rendered {
            Rendered::Mail(mail) => {
                let bytes = eml::bytes(parcel, mail, &self.from, &self.to).map_err(|error| chain(&error))?;
                Ok((bytes, "eml"))
            }
            Rendered::Json(json) => Ok((format!("{json:#}\n").into_bytes(), "json")),
        }
    }
}

impl Channel for Folder {
    fn name(&self) -> &ChannelName {
        &self.name
    }

    fn kind(&self) -> &'static str {
        "file"
    }

    fn form(&self) -> Form {
        match self.format {
            FileFormat::Eml => Form::Mail,
            FileFormat::Json => Form::Json,
            FileFormat::Slack => Form::Slack,
        }
    }

    fn clearance(&self) -> Clearance {
        self.clearance
    }

    fn recipients(&self) -> &[String] {
        &self.recipients
    }

    fn identity(&self, delivery: DeliveryId) -> String {
        match self.format {
            FileFormat::Eml => eml::identity(delivery.0, &self.name, self.from.email.domain()),
            FileFormat::Json | FileFormat::Slack => delivery.to_string(),
        }
    }

    fn host(&self) -> &'static str {
        "localhost"
    }

    fn send<'a>(&'a self, parcel: &'a Parcel) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let (bytes, ending) = match self.contents(parcel) {
                Ok(contents) => contents,
                Err(detail) => return Outcome::Reject { detail },
            };
            let made: DateTime<Utc> = eml::made_at(parcel.delivery.0).into();
            let name = format!("{}-{}.{ending}", made.format("%Y%m%dT%H%M%SZ"), parcel.delivery);
            let folder = self.path.clone();
            let detail = format!("written to {name}");
            match tokio::task::spawn_blocking(move || write_whole(&folder, &name, &bytes)).await {
                Ok(Ok(())) => Outcome::Delivered { detail },
                Ok(Err(error)) => Outcome::Retry { detail: format!("the file can't be written: {error}"), after: None },
                Err(_) => Outcome::Retry { detail: "the writing task was stopped".to_owned(), after: None },
            }
        })
    }
}

fn write_whole(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let beside = folder.join(format!(".{name}.part"));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, folder.join(name))?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::ids::Ids;

    fn parcel(rendered: Rendered) -> Parcel {
        let at = DateTime::from_timestamp(1_790_000_000, 0).unwrap();
        let mut ids = Ids::seeded(3);
        let delivery = ids.delivery(at);
        let identity = delivery.to_string();
        Parcel { delivery, message: ids.message(at), recipient: "archive".to_owned(), identity, attempt: 1, rendered }
    }

    fn folder(path: &Path, format: FileFormat) -> Folder {
        let config = FileConfig {
            path: path.join("out"),
            format,
            from: None,
            to: Vec::new(),
            clearance: Clearance::Masked,
            retry: crate::config::channels::RetryConfig::default(),
        };
        Folder::new(&ChannelName::new("archive"), &config).unwrap()
    }

    fn names(path: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(path.join("out")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn a_second_attempt_replaces_the_first() {
        let place = tempfile::tempdir().unwrap();
        let channel = folder(place.path(), FileFormat::Json);
        let parcel = parcel(Rendered::Json(json!({"severity": "high"})));
        assert!(matches!(channel.send(&parcel).await, Outcome::Delivered { .. }));
        assert!(matches!(channel.send(&parcel).await, Outcome::Delivered { .. }));
        let names = names(place.path());
        assert_eq!(names.len(), 1, "{names:?}");
        assert_eq!(fs::read_to_string(place.path().join("out").join(&names[0])).unwrap(), "{\n  \"severity\": \"high\"\n}\n");
        assert!(names[0].starts_with("20260921T"), "{names:?}");
    }

    #[tokio::test]
    async fn a_mail_lies_there_as_eml_with_its_message_id() {
        let place = tempfile::tempdir().unwrap();
        let channel = folder(place.path(), FileFormat::Eml);
        let mail = crate::model::rendered::Mail { subject: "Größe".to_owned(), text: "Text".to_owned(), html: None };
        let mut parcel = parcel(Rendered::Mail(mail));
        parcel.identity = channel.identity(parcel.delivery);
        assert!(matches!(channel.send(&parcel).await, Outcome::Delivered { .. }));
        let bytes = fs::read(place.path().join("out").join(&names(place.path())[0])).unwrap();
        let parsed = mail_parser::MessageParser::default().parse(&bytes).unwrap();
        assert_eq!(parsed.subject(), Some("Größe"));
        assert_eq!(format!("<{}>", parsed.message_id().unwrap()), parcel.identity);
    }

    #[tokio::test]
    async fn a_folder_that_went_away_is_tried_again_later() {
        let place = tempfile::tempdir().unwrap();
        let channel = folder(place.path(), FileFormat::Json);
        fs::remove_dir(place.path().join("out")).unwrap();
        assert!(matches!(channel.send(&parcel(Rendered::Json(json!({})))).await, Outcome::Retry { .. }));
    }
}
